"""Every registered ranking keeps its contract: battles or answers in, a JSON-ready order of merit out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from conformance.rows import registered, rows
from evaluation.ranking.simulated import multiple_choice, peer_battles
from steelyard import parts
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.ranking.records import Ranking

ROWS = rows("ranking")
SKILL = [2.0, 0.7, -0.5, -2.0]


def test_every_ranking_has_a_row() -> None:
    assert set(ROWS) == registered("ranking")


def ranked(name: str) -> Ranking:
    function: Any = parts.load(name)
    made = {
        "battles": lambda: peer_battles(SKILL, [0.95] * 4, questions=25, seed=0),
        "answers": lambda: multiple_choice([0.95, 0.75, 0.55, 0.3], questions=200, seed=1),
    }
    found: Ranking = function(made[parts.inputs_of(function)[0]](), **parts.validate(function, ROWS[name]))
    return found


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_finds_a_clear_order_and_is_json(name: str) -> None:
    found = ranked(name)
    assert found.method == name
    assert found.ranked == ("m0", "m1", "m2", "m3")
    assert list(found.order) == np.argsort([-score for score in found.scores], kind="stable").tolist()
    record = json.loads(json.dumps(found.to_record(), allow_nan=False))
    assert [row["rank"] for row in record["rows"]] == [1, 2, 3, 4]
    assert isinstance(found.to_measurement(), Measurement)
    json.dumps(found.to_measurement().to_record(), allow_nan=False)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_ranks_the_same_twice(name: str) -> None:
    assert ranked(name).to_record() == ranked(name).to_record()


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_is_documented(name: str) -> None:
    text = parts.load(name).__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
