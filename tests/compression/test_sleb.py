from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.compression.block_replay import next_token_nll
from steelyard.compression.calibration import token_windows
from steelyard.compression.sleb import eliminate, sleb, without_blocks
from steelyard.errors import CapabilityError, UsageError

SEARCH = {"tokens": 96, "window": 32}


def brute_force(model: Any, ids: torch.Tensor, count: int) -> list[int]:
    """Greedy removal, every trial a full forward pass of a freshly built shallower model."""
    removed: list[int] = []
    for _ in range(count):
        losses = {}
        for block in range(1, 5):
            if block not in removed:
                module = without_blocks(model, [*removed, block]).module
                with torch.no_grad():
                    losses[block] = next_token_nll(module(input_ids=ids).logits, ids)
        removed.append(min(losses, key=lambda block: (losses[block], block)))
    return removed


def test_each_removal_is_the_brute_force_argmin(tiny: Any, texts: list[str]) -> None:
    ids = token_windows(tiny.tokenizer, texts, window=32, tokens=96, seed=0)
    result = sleb(tiny, texts, remove=3, **SEARCH)
    assert list(result.card.parts[-1].settings["blocks"]) == brute_force(tiny, ids, 3)


def test_logits_equal_those_with_the_blocks_skipped(tiny: Any, texts: list[str]) -> None:
    """The shallower model computes what the original does when its removed blocks hand on their input."""
    result = sleb(tiny, texts, remove=2, **SEARCH)
    removed = result.card.parts[-1].settings["blocks"]
    hooks = [
        layer.register_forward_hook(lambda _module, args, _output: args[0])
        for number, layer in enumerate(tiny.module.model.layers)
        if number in removed
    ]
    ids = torch.randint(3, 250, (2, 20))
    with torch.no_grad():
        skipped = tiny.module(input_ids=ids).logits
        for hook in hooks:
            hook.remove()
        assert torch.allclose(result.module(input_ids=ids).logits, skipped, atol=1e-5)
        assert not torch.allclose(tiny.module(input_ids=ids).logits, skipped, atol=1e-2)


def test_result_is_shallower_shares_tensors_and_leaves_the_input(tiny: Any, texts: list[str]) -> None:
    result = sleb(tiny, texts, remove=2, **SEARCH)
    assert len(result.module.model.layers) == result.module.config.num_hidden_layers == 4
    assert len(tiny.module.model.layers) == tiny.module.config.num_hidden_layers == 6
    own = {id(p) for p in tiny.module.parameters()}
    assert all(id(p) in own for p in result.module.parameters())
    assert result.card.parameters < tiny.card.parameters
    assert result.card.fingerprint != tiny.card.fingerprint


def test_fewer_removals_are_a_prefix_of_more(tiny: Any, texts: list[str]) -> None:
    two, three = (sleb(tiny, texts, remove=n, **SEARCH).card.parts[-1].settings["blocks"] for n in (2, 3))
    assert two == three[:2]


def test_named_blocks_rebuild_the_result_without_calibration(tiny: Any, texts: list[str]) -> None:
    chosen = sleb(tiny, texts, remove=2, **SEARCH)
    rebuilt = sleb(tiny, **chosen.card.parts[-1].settings)
    assert rebuilt.card.fingerprint == chosen.card.fingerprint
    ids = torch.randint(3, 250, (1, 12))
    with torch.no_grad():
        assert torch.equal(rebuilt.module(input_ids=ids).logits, chosen.module(input_ids=ids).logits)


def test_generates_with_a_cache(tiny: Any) -> None:
    """The remaining blocks are renumbered, so cached generation equals generation without a cache."""
    module = without_blocks(tiny, [1, 3]).module
    ids = torch.randint(3, 250, (1, 8))
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached = module.generate(ids, use_cache=True, **settings)
    assert cached.shape == (1, 20)
    assert torch.equal(cached, module.generate(ids, use_cache=False, **settings))


def test_fast_chooses_as_the_int8_network_does(tiny: Any, texts: list[str]) -> None:
    """The trials run in int8, the result is the float model; an int8 model needs no conversion."""
    from steelyard.compression.int8 import int8
    from steelyard.models.quantized import int8_names

    fast = sleb(tiny, texts, remove=3, fast=True, **SEARCH)
    within = sleb(int8(tiny, digits=1), texts, remove=3, **SEARCH)
    assert fast.card.parts[-1].settings == within.card.parts[-1].settings
    assert within.card.parts[-1] == sleb(int8(tiny, digits=1), texts, remove=3, fast=True, **SEARCH).card.parts[-1]
    assert not int8_names(fast.module)
    assert int8_names(within.module)


def test_barriers_keep_both_ends(tiny: Any, texts: list[str]) -> None:
    result = sleb(tiny, texts, remove=2, keep_first=2, keep_last=2, **SEARCH)
    assert sorted(result.card.parts[-1].settings["blocks"]) == [2, 3]


def test_seed_draws_the_calibration(tiny: Any, texts: list[str]) -> None:
    first = sleb(tiny, texts, remove=1, seed=5, **SEARCH)
    again = sleb(tiny, texts, remove=1, seed=5, **SEARCH)
    assert first.card.fingerprint == again.card.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs calibration texts"),
        ({"calibration": ["word " * 80], "remove": 5}, "only 4 blocks of tiny may go"),
        ({"blocks": (1, 6)}, "blocks 0 to 5, there is no 6"),
        ({"blocks": ()}, "some but not all"),
        ({"blocks": (0, 1, 2, 3, 4, 5)}, "some but not all"),
        ({"calibration": ["word " * 80], "window": 4}, "at least 8 tokens"),
    ],
)
def test_wrong_use_is_refused(tiny: Any, arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sleb(tiny, **arguments)


def test_models_without_layers_or_scores_are_refused(tiny: Any) -> None:
    import dataclasses

    from steelyard.models.families import Family
    from steelyard.models.weights import TransformersModel

    mute = dataclasses.replace(tiny.card, capabilities=frozenset({"weights"}))
    with pytest.raises(CapabilityError, match="cannot score"):
        sleb(TransformersModel(tiny.module, tiny.tokenizer, mute, tiny.family), ["word " * 80])
    unknown = TransformersModel(tiny.module, tiny.tokenizer, tiny.card, Family("unknown:odd"))
    with pytest.raises(CapabilityError, match="layers of architecture 'odd'"):
        sleb(unknown, ["word " * 80])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 8).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 3), min_size=n, max_size=n),
            st.lists(st.lists(st.integers(-2, 2), min_size=n, max_size=n), min_size=n, max_size=n),
            st.integers(1, n - 2),
        )
    )
)
def test_elimination_is_greedy_with_lowest_index_on_ties(case: tuple[list[int], list[list[int]], int]) -> None:
    """Against a direct search, on losses with interactions between blocks and many ties."""
    single, pair, count = case
    n = len(single)

    def loss_without(gone: Sequence[int]) -> float:
        return sum(single[b] for b in gone) + sum(pair[a][b] for a in gone for b in gone)

    def losses(alive: Sequence[int], tried: Sequence[int]) -> dict[int, float]:
        gone = [b for b in range(n) if b not in alive]
        return {b: loss_without([*gone, b]) for b in tried}

    expected: list[int] = []
    for _ in range(count):
        options = [b for b in range(1, n - 1) if b not in expected]
        best = min(loss_without([*expected, b]) for b in options)
        expected.append(next(b for b in options if loss_without([*expected, b]) == best))
    assert eliminate(range(n), range(1, n - 1), count, losses) == expected


@pytest.mark.real_model
def test_a_trial_on_a_real_model_equals_its_shallower_checkpoint(smollm2: Any) -> None:
    """SmolLM2: the loss with block 12 skipped, against a full pass of the model without it."""
    from steelyard.compression.block_replay import BlockReplay
    from steelyard.compression.sleb import skip_losses

    text = "The steelyard is a balance with arms of unequal length, known since antiquity in many lands."
    ids = token_windows(smollm2.tokenizer, [text], window=16, tokens=16)
    replay = BlockReplay(smollm2)
    losses = skip_losses(replay, [replay.record(ids)], range(30), [12, 28])
    with torch.no_grad():
        logits = without_blocks(smollm2, [12]).module(input_ids=ids).logits
    assert losses[12] == pytest.approx(next_token_nll(logits, ids) / 15, abs=1e-4)
    assert losses[28] > losses[12] + 0.1  # the last blocks matter more
