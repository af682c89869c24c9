"""SmolLM2 through lm-evaluation-harness and through Steelyard: the same answers and marks, sample by sample."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

from evaluation.benchmarks.harness.harness_peer import THEIR_FILES, Pair, Shortening, compared, pair

pytestmark = pytest.mark.real_model

SHORT = Shortening(tokens=4, shots=0)


@pytest.fixture(scope="module")
def pairs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Pair]:
    folder = tmp_path_factory.mktemp("harness")
    found = []
    for name in THEIR_FILES:
        own = folder / name
        own.mkdir()
        found.append(pair(name, data, own, limit=1, short=SHORT))
    return found


def test_every_sample_of_every_task(pairs: Sequence[Pair], smollm2: Any) -> None:
    logging.disable(logging.WARNING)
    try:
        found = compared(pairs, smollm2)
    finally:
        logging.disable(logging.NOTSET)
    assert len(found) == len(THEIR_FILES)
    for name, one in found.items():
        assert one.samples > 0
        assert one.differing == (), name
        assert one.largest_gap < 5e-3, name
