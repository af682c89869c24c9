"""Every registered compressor keeps its contract: open weights in, cheaper open weights out."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.compression.apply import apply_parts
from steelyard.compression.sizes import sizes_of
from steelyard.contracts import Continuation, OpenWeights, Sampling
from steelyard.errors import UsageError
from steelyard.models.loading import load_model

ROWS = rows("compressor")
TEXTS = ["The quick brown fox jumps over the lazy dog. " * 6, "Pack my box with five dozen liquor jugs. " * 6]
REQUESTS = [Continuation("The quick brown", " fox jumps"), Continuation("", "Pack my box")]


def test_every_compressor_has_a_row() -> None:
    assert set(ROWS) == registered("compressor")


@pytest.fixture(params=sorted(ROWS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(tiny_folder: Path) -> OpenWeights:
    loaded = load_model(str(tiny_folder))
    assert isinstance(loaded, OpenWeights)
    return loaded


def applied(model: OpenWeights, name: str) -> OpenWeights:
    return apply_parts(model, [{name: ROWS[name]}], TEXTS, cache=False)


def weights_hash(model: OpenWeights) -> str:
    digest = hashlib.sha256()
    for key, tensor in model.module.state_dict().items():
        digest.update(key.encode() + tensor.detach().float().numpy().tobytes())
    return digest.hexdigest()


def packed_bytes(model: OpenWeights) -> int:
    """What the weights come to without their redundancy: zeros and values that recur cost little."""
    tensors = model.module.state_dict().values()
    return sum(len(zlib.compress(tensor.detach().contiguous().numpy().tobytes(), 1)) for tensor in tensors)


def test_result_scores_generates_and_holds_less(model: OpenWeights, name: str) -> None:
    result = applied(model, name)
    assert all(score.logprob < 0 for score in result.score(REQUESTS))
    assert result.generate(["The quick"], Sampling(max_tokens=3))[0].usage.completion_tokens > 0
    assert model.card.memory_bytes is not None
    assert result.card.memory_bytes is not None
    assert result.card.memory_bytes <= model.card.memory_bytes
    assert packed_bytes(result) < packed_bytes(model)


def test_the_model_given_is_left_alone(model: OpenWeights, name: str) -> None:
    before, layers, scores = weights_hash(model), len(model.family.layers(model.module)), model.score(REQUESTS)
    applied(model, name)
    assert weights_hash(model) == before
    assert len(model.family.layers(model.module)) == layers
    assert model.score(REQUESTS) == scores


def test_history_and_fingerprint_tell_what_was_done(model: OpenWeights, name: str) -> None:
    result = applied(model, name)
    assert [part.name for part in result.card.parts] == [name]
    assert result.card.fingerprint != model.card.fingerprint
    assert applied(model, name).card.fingerprint == result.card.fingerprint


def test_same_settings_give_the_same_model(model: OpenWeights, name: str) -> None:
    assert applied(model, name).score(REQUESTS) == applied(model, name).score(REQUESTS)


def test_saved_and_loaded_again_it_is_the_same(model: OpenWeights, name: str, tmp_path: Path) -> None:
    result = applied(model, name)
    again = load_model(str(result.save(tmp_path / "saved")))
    assert isinstance(again, OpenWeights)
    assert again.card.parts == result.card.parts
    assert sizes_of(again) == sizes_of(result)
    for mine, theirs in zip(result.score(REQUESTS), again.score(REQUESTS), strict=True):
        assert theirs.logprob == pytest.approx(mine.logprob, abs=1e-4)


def test_unknown_setting_is_refused_with_the_nearest(model: OpenWeights, name: str) -> None:
    with pytest.raises(UsageError, match="has no setting 'no_such_setting'"):
        apply_parts(model, [{name: {"no_such_setting": 1}}], TEXTS, cache=False)


def test_it_is_documented(name: str) -> None:
    function: Any = parts.load(name)
    text = function.__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
