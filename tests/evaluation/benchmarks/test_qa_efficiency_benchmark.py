"""Question answering against its cost: models with known answers, and the memory of a real process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Generation, ModelCard, Sampling, Usage
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks import qa_efficiency_benchmark as part
from steelyard.evaluation.benchmarks.qa_efficiency_benchmark import (
    Row,
    qa_efficiency_benchmark,
    spread,
    squad_rows,
)
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.peak_memory import MemoryReading, loadable, read_memory
from steelyard.evaluation.statistics import Interval
from steelyard.models.loading import load_model

FILE = Path(__file__).parents[1] / "fixtures" / "qa_efficiency_benchmark" / "questions.json"


@dataclasses.dataclass
class Clerk:
    """Answers from a table; its time is what the clock below says."""

    name: str
    answers: dict[str, str]
    seconds: float
    clock: list[float]

    @property
    def card(self) -> ModelCard:
        return ModelCard(self.name, fingerprint=f"print-of-{self.name}", memory_bytes=1000)

    def score(self, requests: Sequence[Any], *, top: int = 0, detail: bool = False) -> list[Any]:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Any], sampling: Any = None) -> list[Generation]:
        self.clock[0] += self.seconds * len(prompts)
        asked = [prompt[-1].content for prompt in prompts]
        found = [next((a for q, a in self.answers.items() if q in text), "") for text in asked]
        return [Generation(text, usage=Usage(9, 4)) for text in found]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(part.time, "perf_counter", lambda: now[0])
    return now


def measured(models: Sequence[Any], **settings: Any) -> Measurement:
    return qa_efficiency_benchmark(models, data=str(FILE), memory_readings=0, **settings)


def test_quality_and_cost_of_models_with_known_answers(clock: list[float]) -> None:
    right = {"When was": "1871", "Who was": "the keeper Hale"}
    slow = Clerk("slow", right, 2.0, clock)
    quick = Clerk("quick", {"When was": "1871"}, 0.5, clock)
    idle = Clerk("idle", {}, 1.0, clock)
    found = measured([slow, quick, idle], readings=3)
    assert found.values["exact match, slow"].value == 0.5
    assert found.values["F1, slow"].value == pytest.approx((1 + 2 / 3) / 2)
    assert found.values["median seconds, slow"].value == 2.0
    assert found.values["tokens per second, quick"].value == pytest.approx(8.0)
    lines = {str(line[0]): line for line in found.tables[0].rows}
    assert [lines[name][-1] for name in ("slow", "quick", "idle")] == ["yes", "yes", "no"]
    assert found.notes[0] == "Best for their cost: quick, slow."


def test_no_model_on_the_front_is_dominated() -> None:
    def row(f1: float, seconds: float, peak: float | None) -> Row:
        one = Interval(f1, f1, f1, 1)
        return Row(one, one, Interval(seconds, seconds, seconds, 1), one, one, peak, None)

    grid = [(f / 4, s, float(p)) for f in range(4) for s in (0.1, 0.2, 0.4) for p in (5, 6)]
    rows = {str(i): row(f, s * (1 + (i % 3)), p + i % 2) for i, (f, s, p) in enumerate(grid)}
    front = part._front(rows)
    for name in front:
        mine = rows[name]
        for other in rows.values():
            assert mine.peak is not None
            assert other.peak is not None
            no_worse = other.f1[0] >= mine.f1[0] and other.median[0] <= mine.median[0] and other.peak <= mine.peak
            better = other.f1[0] > mine.f1[0] or other.median[0] < mine.median[0] or other.peak < mine.peak
            assert not (no_worse and better)
    assert part._front({**rows, "remote": row(1.0, 0.01, None)}) == front


def test_equal_names_are_told_apart(clock: list[float]) -> None:
    found = measured([Clerk("one", {}, 1.0, clock), Clerk("one", {}, 1.0, clock)], readings=1)
    assert [line[0] for line in found.tables[0].rows] == ["one", "one #2"]


def test_uneven_readings_are_said_to_be_so(clock: list[float]) -> None:
    tired = Clerk("tired", {}, 1.0, clock)
    original = tired.generate

    def slower(prompts: Sequence[Any], sampling: Any = None) -> list[Generation]:
        tired.seconds *= 1.3
        return original(prompts, sampling)

    tired.generate = slower  # type: ignore[method-assign]
    assert any("readings of throughput lie" in note for note in measured([tired]).notes)
    assert spread([100.0, 115.0]) <= 0.15 + 1e-9


def test_questions_without_answers_are_left_out() -> None:
    rows = list(squad_rows(FILE))
    assert [row.id for row in rows] == ["own-1", "own-2"]
    assert rows[1].data["answers"] == ["Tom Hale", "Hale"]


@pytest.mark.parametrize("content", ["[]", '{"data": [{}]}', "{", '{"data": 3}'])
def test_damaged_files(content: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(InputError, match="not a SQuAD file"):
        list(squad_rows(file))


def test_choices_are_refused(tmp_path: Path, clock: list[float]) -> None:
    file = tmp_path / "choices.jsonl"
    row = {"prompt": "1+1?", "choices": ["2", "3"], "answer": 0}
    mixed = {"prompt": "1+1?", "answers": ["2"]}
    file.write_text(json.dumps(row) + "\n" + json.dumps(mixed) + "\n")
    with pytest.raises(UsageError, match="cannot be ranked by"):
        qa_efficiency_benchmark([Clerk("one", {}, 1.0, clock)], data=str(file), memory_readings=0)


def test_memory_of_a_process_of_its_own(tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder))
    with loadable(model) as name:
        assert name is not None
        reading = read_memory(name, ["Who keeps the lamp?"], Sampling(max_tokens=4))
        assert Path(name).is_dir()
    assert not Path(name).exists()
    assert 0 < reading.before <= reading.loaded <= reading.peak
    assert isinstance(reading, MemoryReading)
    assert reading.added == reading.peak - reading.before


def test_what_is_not_on_this_machine_has_no_memory(clock: list[float]) -> None:
    with loadable(Clerk("remote", {}, 1.0, clock)) as name:
        assert name is None
