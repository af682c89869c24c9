"""SLEB: drop whole transformer blocks, least harmful first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn

from steelyard.compression.block_replay import BlockReplay, RecordedBatch, next_token_nll, share
from steelyard.compression.calibration import token_windows
from steelyard.compression.int8 import int8
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.quantized import int8_names
from steelyard.parts import part

TOKENS_PER_BATCH = 256


@part(papers=[287])
def sleb(
    model: OpenWeights,
    calibration: Texts | None = None,
    *,
    remove: PositiveInt = 3,
    blocks: tuple[NonNegativeInt, ...] | None = None,
    keep_first: NonNegativeInt = 1,
    keep_last: NonNegativeInt = 1,
    tokens: PositiveInt = 1024,
    window: PositiveInt = 256,
    seed: int = 0,
    fast: bool = False,
) -> OpenWeights:
    """Remove the transformer blocks that the calibration loss misses least, one at a time.

    In each round every block still there (but the first ``keep_first`` and the last ``keep_last``) is skipped in
    turn, the language-model loss of the *already reduced* network is measured on the calibration windows, and
    the block whose absence costs least is gone for good; of equals, the lowest. After ``remove`` rounds the
    result is a genuinely shallower model that shares its tensors with the input, which is left untouched.

    With ``blocks`` exactly those blocks (0 is the first) are removed and no calibration is needed. The applied
    settings record them in this form and in the order of their removal: a result can be written down and rebuilt
    exactly, and its first k blocks are what ``remove=k`` would have chosen.

    Cost: hidden states before a skipped block are computed once per round, so for L blocks and C tokens
    a round takes about C * (L * L / 2 * block + L * head) operations, half of trying every block afresh. For
    SmolLM2-135M (30 blocks, a head worth 8) a round costs about 17 forward passes over the calibration tokens.
    Memory: the hidden states of all calibration tokens, and the logits of one batch of 256 tokens.

    Args:
        model: a decoder with a list of blocks.
        calibration: texts like those the model will read; some thousand words are enough.
        remove: how many blocks to remove.
        blocks: numbers of the blocks to remove, instead of a search.
        keep_first: blocks at the input end that stay.
        keep_last: blocks at the output end that stay.
        tokens: calibration tokens, at most; shorter texts are used whole.
        window: tokens in one window (no more than the model's context).
        seed: draws the windows from the texts.
        fast: try blocks in int8 arithmetic (``int8`` with one digit), more than twice as fast on CPU. The choice
            is then that of the int8 network; blocks of nearly equal loss may change places.

    Raises:
        UsageError: no calibration texts and no ``blocks``, or more blocks to remove than there are to try.
        ModelError: a family without a list of blocks, or whose blocks cannot be run one by one.

    Source:
        SLEB: Streamlining LLMs through Redundancy Verification and Elimination of Transformer Blocks
        (ICML 2024), section 4, algorithm 1; its barriers are ``keep_first`` and ``keep_last``.

    Relations:
        ``int8`` shrinks what remains; apply it after ``sleb``.

    Example:
        >>> shallower = sleb(model, ["A few paragraphs of ordinary text ..."], remove=3)  # doctest: +SKIP
        >>> shallower.card.parts[-1].settings  # doctest: +SKIP
        {'blocks': [25, 12, 10]}
    """
    depth = len(model.family.layers(model.module))
    if blocks is None:
        if calibration is None:
            raise UsageError("part 'sleb' needs calibration texts to choose blocks; give some, or name blocks")
        candidates = range(keep_first, depth - keep_last)
        blocks = tuple(_search(model, calibration, _Windows(tokens, window, seed, fast), remove, candidates))
    return without_blocks(model, blocks)


def without_blocks(model: OpenWeights, blocks: Sequence[int]) -> OpenWeights:
    """``model`` without the blocks of these numbers, recorded as the part ``sleb``."""
    depth = len(model.family.layers(model.module))
    outside = [b for b in blocks if not 0 <= b < depth]
    if outside:
        raise UsageError(f"part 'sleb': {model.card.name} has blocks 0 to {depth - 1}, there is no {outside[0]}")
    removed = tuple(dict.fromkeys(blocks))
    if not removed or len(removed) == depth:
        raise UsageError(
            f"part 'sleb': blocks must name some but not all of the {depth} blocks of {model.card.name}"
        )
    return model.evolve(_shallower(model, removed), AppliedPart("sleb", {"blocks": list(removed)}))


def eliminate(
    alive: Sequence[int],
    candidates: range,
    count: int,
    losses: Callable[[Sequence[int], Sequence[int]], Mapping[int, float]],
) -> list[int]:
    """The greedy loop: ``count`` times remove the candidate of least loss; returns them in that order.

    ``losses(alive, tried)`` gives for each tried block the loss of the network of the others in ``alive``.

    >>> weight = {0: 1.0, 1: 0.2, 2: 0.5, 3: 0.2}
    >>> eliminate(range(4), range(1, 4), 2, lambda alive, tried: {b: weight[b] for b in tried})
    [1, 3]
    """
    left, removed = list(alive), list[int]()
    for _ in range(count):
        tried = [block for block in left if block in candidates]
        found = losses(left, tried)
        least = min(tried, key=lambda block: (found[block], block))
        left.remove(least)
        removed.append(least)
    return removed


def skip_losses(
    replay: BlockReplay, batches: Sequence[RecordedBatch], alive: Sequence[int], tried: Sequence[int]
) -> dict[int, float]:
    """Mean next-token loss (nats) of the network of blocks ``alive`` without each of ``tried`` in turn.

    One walk through the network serves all trials: at each tried block the pass branches off without it.
    """
    totals = dict.fromkeys(tried, 0.0)
    predicted = sum(batch.ids[:, 1:].numel() for batch in batches)
    for batch in batches:
        hidden = batch.hidden
        for place, block in enumerate(alive):
            if block in totals:
                skipped = replay.run(batch, hidden, alive[place + 1 :])
                totals[block] += next_token_nll(replay.logits(batch, skipped), batch.ids)
            if block == max(tried):
                break
            hidden = replay.run(batch, hidden, [block])
    return {block: total / predicted for block, total in totals.items()}


def _shallower(model: OpenWeights, removed: Sequence[int]) -> nn.Module:
    module = share(model.module)
    family = model.family
    family.set_layers(module, [layer for n, layer in enumerate(family.layers(module)) if n not in removed])
    return module


class _Windows(NamedTuple):
    """How calibration windows are drawn and run."""

    tokens: int
    window: int
    seed: int
    fast: bool


def _search(
    model: OpenWeights, calibration: Texts, windows: _Windows, remove: int, candidates: range
) -> list[int]:
    depth = len(model.family.layers(model.module))
    if remove > len(candidates):
        raise UsageError(
            f"part 'sleb': only {len(candidates)} blocks of {model.card.name} may go, {remove} were asked for; "
            "remove fewer, or lower keep_first and keep_last"
        )
    if "score" not in model.card.capabilities:
        raise CapabilityError(f"part 'sleb' measures language-model loss, but {model.card.name} cannot score text")
    _shallower(model, candidates[:1])  # an architecture whose layers cannot move is refused before the search
    window = min(windows.window, model.card.context_length or windows.window)
    ids = token_windows(model.tokenizer, calibration, window=window, tokens=windows.tokens, seed=windows.seed)
    replay = BlockReplay(int8(model, digits=1) if windows.fast and not int8_names(model.module) else model)
    batches = [replay.record(rows) for rows in torch.split(ids, max(1, TOKENS_PER_BATCH // ids.shape[1]))]
    return eliminate(
        range(depth), candidates, remove, lambda alive, tried: skip_losses(replay, batches, alive, tried)
    )
