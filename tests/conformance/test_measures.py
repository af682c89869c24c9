"""Every registered measure keeps its contract; rows in ``measures.yaml``.

A row gives ``settings`` and, under ``files``, settings that are paths below ``tests/evaluation/fixtures``. It says
``timed: true`` where the measure reports times, which differ from run to run. A measure of ``indexes`` gets an
index of the documents that the row names so under ``files``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.evaluation.measurement import Measurement
from steelyard.models.loading import load_model
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.verb import index

FIXTURES = Path(__file__).parents[1] / "evaluation" / "fixtures"
ROWS = rows("measure")


def test_every_measure_has_a_row() -> None:
    assert set(ROWS) == registered("measure")


def subject(takes: str, tiny_folder: Path, documents: str, folder: Path) -> Any:
    """What a measure is given: a tiny model, a list of one, or a list of one index of the row's documents."""
    if takes == "indexes":
        index(documents, folder / "index", IndexSettings())
        return [folder / "index"]
    model = load_model(str(tiny_folder))
    return [model] if takes == "models" else model


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_measures_the_same_twice_and_is_json(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    function: Any = parts.load(name)
    files = {key: str(FIXTURES / value) for key, value in ROWS[name].get("files", {}).items()}
    measured = subject(parts.inputs_of(function)[0], tiny_folder, files.pop("indexes", ""), tmp_path)
    settings = parts.validate(function, {**ROWS[name].get("settings", {}), **files})
    found = [function(measured, **settings) for _ in range(2)]
    assert all(isinstance(one, Measurement) for one in found)
    assert found[0].name == name
    assert found[0].values or found[0].tables
    steady = [{k: v for k, v in one.to_record().items() if k != "details"} for one in found]
    json.dumps(steady, allow_nan=False)
    if not ROWS[name].get("timed"):
        assert steady[0] == steady[1]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_it_is_documented(name: str) -> None:
    text = parts.load(name).__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
