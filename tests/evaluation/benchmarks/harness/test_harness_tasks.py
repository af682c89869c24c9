"""Prompts, samplers, filters and metrics against lm-evaluation-harness itself, on its own task files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

from evaluation.benchmarks.harness.harness_peer import THEIR_FILES, pair, their_requests
from steelyard.contracts import Ask, Continuation, PromptStyle
from steelyard.evaluation.benchmarks.harness.config import bundled

CHECKED = 6


@pytest.mark.parametrize("name", sorted(THEIR_FILES))
def test_requests_are_the_same(name: str, data: Path, tmp_path: Path) -> None:
    ours, theirs, ids = pair(name, data, tmp_path, limit=None if name == "gsm8k" else CHECKED)
    expected = their_requests(theirs, CHECKED)
    assert len(expected) == min(CHECKED, len(ids))
    by_id = {sample.id: sample for sample in ours.samples()}
    for sample, asked in zip([by_id[one] for one in ids[:CHECKED]], expected, strict=True):
        found = ours.requests(sample, PromptStyle())
        assert len(found) == len(asked)
        for request, arguments in zip(found, asked, strict=True):
            if isinstance(request, Ask):
                assert request.prompt == arguments[0]
                assert request.sampling.stop == tuple(arguments[1]["until"])
                assert request.sampling.max_tokens == arguments[1].get("max_gen_toks", 256)
            else:
                assert isinstance(request, Continuation)
                text = (request.text,) if len(arguments) == 1 else (request.context, request.text)
                assert text == arguments


def test_every_bundled_configuration_is_compared() -> None:
    assert set(bundled()) - {"arc_easy"} == set(THEIR_FILES)
