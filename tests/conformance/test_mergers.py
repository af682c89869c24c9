"""Every registered merger keeps its contract: several models in, one checkpoint of the same kind out.

What a merger takes says how it is run: tensors of one name, with the base's where it asks for it, or whole experts
with a fitness.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.contracts import Continuation, OpenWeights, Sampling
from steelyard.errors import UsageError
from steelyard.merging.methods import NAMES, find_method
from steelyard.merging.verb import Merged, merge
from steelyard.models.loading import load_model
from tiny import tiny_llama

ROWS = rows("merger")
REQUESTS = [Continuation("The quick brown", " fox jumps"), Continuation("", "Pack my box")]


def test_every_merger_has_a_row() -> None:
    assert set(ROWS) == registered("merger")


def test_other_names_stand_for_parts_with_settings_they_have() -> None:
    assert {name: part for name, (part, _) in NAMES.items()} == {
        name: part for part in ROWS for name in parts.find(part).also
    }
    for name, (_, preset) in NAMES.items():
        assert preset.items() <= find_method(name).settings.items()


@pytest.fixture(params=sorted(ROWS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models and their base."""
    root = tmp_path_factory.mktemp("mergers")
    return [str(tiny_llama(root / f"m{seed}", layers=1, seed=seed)) for seed in range(3)]


def fitness(model: OpenWeights) -> float:
    return math.exp(sum(score.logprob for score in model.score(REQUESTS)) / 20)


def merged(name: str, models: list[str], out: Path) -> Merged:
    takes = find_method(name).inputs
    return merge(
        models[:2],
        {name: ROWS[name]},
        base=models[2] if "base" in takes else None,
        fitness=fitness if "fitness" in takes else None,
        out=out,
    )


def content(folder: str | Path) -> str:
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


def test_result_loads_scores_and_tells_what_it_is_made_of(name: str, models: list[str], tmp_path: Path) -> None:
    before = [content(folder) for folder in models]
    done = merged(name, models, tmp_path / "out")
    assert [content(folder) for folder in models] == before
    result = done.load()
    sources = [load_model(folder) for folder in models]
    assert result.card.parameters == sources[0].card.parameters
    assert all(score.logprob < 0 for score in result.score(REQUESTS))
    assert result.generate(["The quick"], Sampling(max_tokens=3))[0].usage.completion_tokens > 0
    (part,) = result.card.parts
    assert part.name == name
    recorded = [entry["fingerprint"] for entry in part.settings["models"]]
    assert recorded == [source.card.fingerprint for source in sources[:2]]
    assert find_method(name).settings.keys() <= part.settings.keys()
    assert result.card.fingerprint not in {source.card.fingerprint for source in sources}


def test_same_settings_give_the_same_model(name: str, models: list[str], tmp_path: Path) -> None:
    first, second = (merged(name, models, tmp_path / out) for out in ("first", "second"))
    assert content(first.folder) == content(second.folder)
    assert first.load().card.fingerprint == second.load().card.fingerprint


def test_bad_settings_are_refused(name: str, models: list[str]) -> None:
    with pytest.raises(UsageError, match="has no setting 'no_such_setting'"):
        merge(models[:2], {name: {"no_such_setting": 1}})
    setting = next(iter(find_method(name).settings))
    with pytest.raises(UsageError, match=f"setting '{setting}'"):
        merge(models[:2], {name: {setting: "many"}})


def test_it_is_documented(name: str) -> None:
    function: Any = parts.load(name)
    text = function.__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
