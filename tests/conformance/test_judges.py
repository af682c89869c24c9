"""Every registered judge keeps its contract: models in, a verdict on each item in order, nothing guessed."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.contracts import Answers, Judge, Verdict
from steelyard.errors import UsageError
from steelyard.models.scripted import ScriptedModel

ROWS = rows("judge")
ITEMS = [Answers(f"Question {i}", "yes " * (i + 1), "no", reference="yes") for i in range(3)]
CONSTANTS = ("A", "True. So it is.", "A good thing, this.\nA", "no idea at all")


def test_every_judge_has_a_row() -> None:
    assert set(ROWS) == registered("judge")


def made(name: str, word: str) -> Judge:
    function: Any = parts.load(name)
    many = parts.inputs_of(function)[:1] == ["models"]
    models = [ScriptedModel(lambda prompt: word, name=f"{word}-{i}") for i in range(2)]
    judge: Judge = function(models if many else models[0], **parts.validate(function, ROWS[name]))
    return judge


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("word", CONSTANTS)
def test_verdicts_come_one_each_and_stay_in_range(name: str, word: str) -> None:
    judge = made(name, word)
    verbs = 0
    for verb in (judge.compare, judge.grade):
        try:
            found = verb(ITEMS)
        except UsageError:
            continue  # a judge may have only one of the verbs, and says so
        verbs += 1
        assert len(found) == len(ITEMS)
        assert all(isinstance(verdict, Verdict) for verdict in found)
        assert all(verdict.value is None or 0 <= verdict.value <= 1 for verdict in found)
        assert all(verdict.words for verdict in found)
        assert found == verb(ITEMS)
    assert verbs


@pytest.mark.parametrize("name", sorted(ROWS))
def test_words_that_say_nothing_give_no_verdict(name: str) -> None:
    judge = made(name, "no idea at all")
    for verb in (judge.compare, judge.grade):
        try:
            found = verb(ITEMS)
        except UsageError:
            continue
        assert [verdict.value for verdict in found] == [None] * len(ITEMS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_judge_that_names_the_first_place_decides_no_pair(name: str) -> None:
    try:
        found = made(name, "A").compare(ITEMS)
    except UsageError:
        pytest.skip("compares no pairs")
    assert [verdict.value for verdict in found] == [0.5] * len(ITEMS)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_fingerprint_follows_the_models(name: str) -> None:
    assert made(name, "A").card.fingerprint == made(name, "A").card.fingerprint
    assert made(name, "A").card.fingerprint != made(name, "B").card.fingerprint


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_is_documented(name: str) -> None:
    text = parts.load(name).__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
