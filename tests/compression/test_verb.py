from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steelyard.compression.verb import compress
from steelyard.contracts import Continuation
from steelyard.errors import InputError, UsageError
from steelyard.models.loading import load_model

SLEB = {"sleb": {"remove": 2, "tokens": 96, "window": 32}}


def test_compress_measures_and_saves(tiny: Any, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(" ".join(texts))
    record = compress(
        tiny, [SLEB, "int8"], out=tmp_path / "small", calibration=texts, held_out=tmp_path / "texts.txt"
    )
    assert record.memory_ratio < 0.5
    assert record.bits_before is not None
    assert record.difference.value == pytest.approx(record.bits_after.value - record.bits_before.value)
    assert [part.name for part in record.after.parts] == ["sleb", "int8"]
    loaded = load_model(record.folder)
    assert [part.name for part in loaded.card.parts] == ["sleb", "int8"]
    from steelyard.compression.apply import apply_parts

    request = [Continuation("A merchant", " of wool")]
    expected = apply_parts(tiny, [SLEB, "int8"], texts).score(request)[0].logprob
    assert loaded.score(request)[0].logprob == pytest.approx(expected, abs=1e-4)


def test_sizes_alone_need_no_text(tiny: Any) -> None:
    record = compress(tiny, [{"sleb": {"blocks": [1, 2, 3]}}])
    assert record.parameter_ratio < 1
    assert record.bits_before is record.bits_after is record.difference is record.folder is None


def test_wrong_use(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not an empty folder"):
        compress(tiny, ["int8"], out=tmp_path / "mine")
    with pytest.raises(UsageError, match="at least one part"):
        compress(tiny, [])
    with pytest.raises(InputError, match="no such file"):
        compress(tiny, ["int8"], held_out=tmp_path / "nothing.txt")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
