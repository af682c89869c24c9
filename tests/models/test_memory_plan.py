"""The memory of a forward pass: the formula, its inverse, and the measured peak of scoring."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import UsageError
from steelyard.models.loading import load_model
from steelyard.models.memory_plan import (
    LEAST_TOKENS,
    MOST_TOKENS,
    PackShape,
    pack_bytes,
    plan_tokens,
    shape_of,
    tokens_within,
)
from steelyard.models.quantized import replace_linears

SMALL = PackShape(hidden=10, queries=8, keys=4, inner=20, layers=3, heads=2, vocabulary=100)


def test_formula_by_hand() -> None:
    n = 7
    states = n * (8 * 10 + 3 * 8 + 5 * 4) + n * 3 * 20 + 2 * n * 4 * 3
    assert pack_bytes(SMALL, n) == 4 * states + n * n * 5 + 2 * n * 100 * 4
    assert pack_bytes(SMALL, 0) == 0


@given(st.integers(0, 10**9))
def test_tokens_within_is_the_inverse(memory: int) -> None:
    n = tokens_within(SMALL, memory)
    assert pack_bytes(SMALL, n) <= memory
    assert n == MOST_TOKENS or pack_bytes(SMALL, n + 1) > memory


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "opt", "bloom", "neox", "mamba", "t5", "bert"])
def test_shapes_of_families(engines: Any, kind: str) -> None:
    shape = shape_of(engines(kind).module)
    assert (shape.hidden, shape.vocabulary, shape.width) == (32, 300, 4)
    assert shape.layers in (2, 3)
    assert shape.inner in (64, 128)
    assert shape.masks == (2 if kind == "gemma3" else 1)
    if kind in ("llama", "gemma3"):
        assert (shape.queries, shape.keys, shape.heads) == (32, 16, 4)


def test_limits_that_cannot_be_kept(engines: Any) -> None:
    module = engines("llama").module
    with pytest.raises(UsageError, match=r"tiny: its weights take 2 MB, more than the limit of 1 MB"):
        plan_tokens(module, 10**6, weights=2 * 10**6, name="tiny")
    least = 10**6 + pack_bytes(shape_of(module), LEAST_TOKENS)
    with pytest.raises(UsageError, match=f"give --memory at least {-(-least // 10**6)}MB"):
        plan_tokens(module, least - 1, weights=10**6)
    assert plan_tokens(module, least, weights=10**6) == LEAST_TOKENS


def test_a_loaded_model_keeps_its_limit(tiny_folder: Path) -> None:
    free: Any = load_model(tiny_folder)
    weights = free.card.memory_bytes
    limited: Any = load_model(tiny_folder, memory=weights + 1_000_000)
    assert LEAST_TOKENS <= limited.batch_tokens < free.batch_tokens
    assert limited.engine.batch_tokens == limited.batch_tokens
    assert limited.pack_bytes <= 1_000_000 < free.pack_bytes
    from steelyard.contracts import AppliedPart

    smaller = limited.evolve(replace_linears(limited.module), AppliedPart("int8"))
    assert smaller.batch_tokens > limited.batch_tokens
    assert smaller.card.memory_bytes + smaller.pack_bytes <= weights + 1_000_000


def test_what_cannot_be_limited_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="more than the limit"):
        load_model(tiny_folder, memory="1kB")
    with pytest.raises(UsageError, match=r"limit memory=much: write a number and a unit"):
        load_model(tiny_folder, memory="much")
    with pytest.raises(UsageError, match="either memory"):
        load_model(tiny_folder, memory="1GB", batch_tokens=100)


PEAK = """
import json, re, sys
import torch
import steelyard.models.weights, steelyard.models.checkpoint
from steelyard.contracts import Continuation
from steelyard.models.loading import load_model

def held(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

torch.set_num_threads(1)
model = load_model("smollm2-135m", memory=sys.argv[1])
model.score([Continuation("One two", " three")])
before = held("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
texts = [" ".join(f"{word} {number}" for number in range(60)) for word in ("alpha", "beta", "gamma", "delta")]
model.score([Continuation("", text) for text in texts])
print(json.dumps([before, held("VmHWM"), model.card.memory_bytes, model.pack_bytes, model.batch_tokens]))
"""


@pytest.mark.real_model
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory through /proc (Linux)")
def test_peak_of_scoring_is_within_weights_and_a_pack(smollm2: Any) -> None:
    """The growth while scoring, against what is stated: weights plus one pack, times 1.3."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "800MB"], capture_output=True, text=True, check=True, timeout=300
    )
    before, peak, weights, pack, tokens = json.loads(done.stdout.splitlines()[-1])
    assert 64 <= tokens < 1000
    assert weights + pack <= 800_000_000
    assert weights + (peak - before) <= 1.3 * (weights + pack)
    assert peak - before <= 1.3 * pack
    assert peak - before > 0.1 * pack  # the pass did something worth planning
