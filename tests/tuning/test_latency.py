from __future__ import annotations

from steelyard.tuning.latency import in_turns


def test_sides_take_turns_and_who_begins_alternates() -> None:
    said: list[str] = []

    def side(name: str) -> object:
        return lambda turn: said.append(f"{name}{turn}")

    in_turns(side("a"), side("b"), 3)  # type: ignore[arg-type]
    assert said == ["a0", "b0", "b1", "a1", "a2", "b2"]
