"""Two judges talk: turns alternate, both read what was said, and every talk ends."""

from __future__ import annotations

import pytest

from evaluation.judging.scripted_judges import always, longer, model, shown
from steelyard.contracts import Answers
from steelyard.errors import UsageError
from steelyard.evaluation.judging.peer_discussion import peer_discussion

PAIR = Answers("Which?", "the longer of the two", "short")


def stubborn(word: str, name: str) -> object:
    return model(lambda prompt: f"I still think so.\n{word}", name)


def test_judges_that_agree_need_no_turn() -> None:
    found = peer_discussion([longer("one"), longer("two")]).discuss([PAIR])[0]
    assert found.agreed
    assert found.preference == "A"
    assert len(found.turns) == 2


@pytest.mark.parametrize("cap", [1, 4, 5])
def test_stubborn_judges_stop_at_the_cap_with_a_tie(cap: int) -> None:
    judge = peer_discussion([stubborn("A", "one"), stubborn("B", "two")], max_turns=cap)
    found = judge.discuss([PAIR])[0]
    assert len(found.turns) == 2 + cap
    assert found.preference == "Tie"
    assert not found.agreed
    assert judge.compare([PAIR])[0].value == 0.5


def test_the_second_is_convinced_by_what_it_reads() -> None:
    """It prefers B until the other's review stands in its prompt."""
    seen: list[str] = []

    def swayed(prompt: str) -> str:
        seen.append(prompt)
        first, second = shown(prompt)
        heard = "because length counts" in prompt
        return "Fine.\n" + ("A" if (len(first) > len(second)) == heard else "B")

    def leader(prompt: str) -> str:
        first, second = shown(prompt)
        return "It is better because length counts.\n" + ("A" if len(first) > len(second) else "B")

    judge = peer_discussion([model(leader, "leader"), model(swayed, "swayed")])
    found = judge.discuss([PAIR])[0]
    assert found.preferences == ("A", "B", "A", "A")  # two reviews, leader's turn, the other's turn
    assert found.preference == "A"
    assert "Reviewer 1:" in seen[-1]
    assert "You are reviewer 2" in seen[-1]
    assert judge.compare([PAIR])[0].orders == (1.0, 1.0)


def test_a_first_place_judge_ties_after_swapping() -> None:
    verdict = peer_discussion([always("A"), always("A", "other")]).compare([PAIR])[0]
    assert verdict.orders == (1.0, 0.0)
    assert verdict.value == 0.5


def test_the_cap_takes_the_last_word() -> None:
    judge = peer_discussion([stubborn("A", "one"), stubborn("B", "two")], until="cap", max_turns=3)
    found = judge.discuss([PAIR])[0]
    assert len(found.turns) == 5
    assert found.preference == "A"  # the opener speaks last after an odd number of turns


def test_what_cannot_be_read_gives_no_preference() -> None:
    found = peer_discussion([stubborn("A", "one"), always("Hard to say")]).discuss([PAIR])[0]
    assert found.preference is None
    with pytest.raises(UsageError, match="two reviewers"):
        peer_discussion([longer()])
    with pytest.raises(UsageError, match="compares pairs"):
        peer_discussion([longer(), longer("b")]).grade([PAIR])
