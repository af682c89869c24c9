"""Scoring: log P(continuation | context) for many requests at once, no token computed twice.

Requests are encoded (:mod:`steelyard.models.requests`), their tokens form a prefix tree
(:mod:`steelyard.models.prefix_tree`), the tree is run in packs (:mod:`steelyard.models.packing`), and logits are
computed only where a continuation is read (:mod:`steelyard.models.readout`). The result of a request does not
depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

import torch

from steelyard.contracts import Continuation, Score
from steelyard.errors import ModelError
from steelyard.models.forward import Engine
from steelyard.models.packing import Target, Targets, Walk
from steelyard.models.prefix_tree import PrefixTree
from steelyard.models.readout import Asked, Reading, Readout
from steelyard.models.requests import Encoded, Window, encode_continuations, windows_of
from steelyard.models.shared_prefixes import chain_packs, rows_of

PACK_TOKENS = 1024
"""Tokens of one forward pass: more make no matrix product faster, and attention slower."""
ROW_TOKENS = 512
"""Longest row in which the beginning of several packs is computed."""
CHUNK = 2048
"""Requests encoded and planned together: enough to fill packs, and bounded memory whatever is asked."""

Key = tuple[int, int]


def score(engine: Engine, requests: Sequence[Continuation], top: int = 0, detail: bool = False) -> list[Score]:
    """Score requests in order; raises :class:`ModelError` where a model answers with NaN.

    Args:
        engine: the model.
        requests: what to score.
        top: that many alternatives at each token.
        detail: ranks and entropies as well.
    """
    ask = Asked(top, detail)
    walk = Walk(engine)

    def read(work: Mapping[Key, Window]) -> Mapping[Key, Reading]:
        if engine.encoder_decoder:
            from steelyard.models.sequence_pairs import read_pairs

            return read_pairs(engine, work, ask)
        return read_windows(walk, work, ask)

    return score_with(engine, requests, read)


class Reader(Protocol):
    """What scoring has to know of a model beside how it reads windows."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, in transformers' form."""

    @property
    def name(self) -> str:
        """What errors call the model."""
        ...

    @property
    def context_length(self) -> int | None:
        """How many tokens it takes at once; None where nothing limits it."""

    @property
    def encoder_decoder(self) -> bool:
        """Whether the context goes to an encoder of its own."""
        ...


def score_with(
    model: Reader, requests: Sequence[Continuation], read: Callable[[Mapping[Key, Window]], Mapping[Key, Reading]]
) -> list[Score]:
    """Score requests in order; ``read`` runs the windows of some requests, numbered (request, window)."""
    found: dict[int, Score] = {}
    for places in chunks(requests):
        chunk = [requests[place] for place in places]
        encoded = encode_continuations(model.tokenizer, chunk, model.name, separate=model.encoder_decoder)
        windows = [windows_of(e, model.context_length, model.name, model.encoder_decoder) for e in encoded]
        work = {(i, j): window for i, parts in enumerate(windows) for j, window in enumerate(parts)}
        readings = read(work)
        for i, place in enumerate(places):
            parts = [readings[i, j] for j in range(len(windows[i]))]
            if any(math.isnan(value) for reading in parts for value in reading.logprobs):
                raise ModelError(_not_a_number(model.name, place, chunk[i]))
            found[place] = _assemble(chunk[i], encoded[i], parts)
    return [found[place] for place in range(len(requests))]


def chunks(requests: Sequence[Continuation]) -> Iterator[list[int]]:
    """Places of requests, those with like contexts together, cut into chunks between two contexts."""
    order = sorted(range(len(requests)), key=lambda place: _order(requests[place]))
    chunk: list[int] = []
    for place in order:
        if len(chunk) >= 2 * CHUNK or (
            len(chunk) >= CHUNK and requests[place].context != requests[chunk[-1]].context
        ):
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk


def _order(request: Continuation) -> tuple[str, str]:
    context = request.context
    return context if isinstance(context, str) else "\0".join(
        f"{m.role}\0{m.content}" for m in context
    ), request.text


def read_windows(walk: Walk, work: Mapping[Key, Window], ask: Asked) -> dict[Key, Reading]:
    """Run windows through a causal model, each distinct computation once."""
    inputs = {key: (window.context + window.target)[:-1] for key, window in work.items()}
    tree = PrefixTree.of([tokens for tokens in inputs.values() if tokens])
    number = {tokens: index for index, tokens in enumerate(tree.sequences)}
    starts = dict(zip(work, accumulate((len(w.target) for w in work.values()), initial=0), strict=False))
    targets = [
        Target(number[inputs[key]], len(window.context) - 1 + i, starts[key] + i, token)
        for key, window in work.items()
        for i, token in enumerate(window.target)
    ]
    readout = Readout(walk.engine.tokenizer, len(targets), ask)
    if targets:
        _run(walk, tree, targets, readout)
    return {key: readout.reading(starts[key], starts[key] + len(window.target)) for key, window in work.items()}


def _run(walk: Walk, tree: PrefixTree, targets: Sequence[Target], readout: Readout) -> None:
    engine = walk.engine
    with torch.inference_mode():
        if engine.takes_masks:
            most = PACK_TOKENS if engine.plain_head else min(PACK_TOKENS, engine.logit_rows)
            most = min(most, engine.batch_tokens)
            held = walk.reach(tree, min(target.position for target in targets))
            chain = engine.batch_tokens if engine.plain_head else 0
            packs = tree.packs(most, held=held, row=ROW_TOKENS, chain=chain)
            walk.run(tree, packs, Targets(targets, tree.owners()), readout)
            return
        first = [len(tokens) for tokens in tree.sequences]
        for target in targets:
            first[target.sequence] = min(first[target.sequence], target.position)
        packs = chain_packs(tree, first, engine.batch_tokens, shared=engine.sharing != "none")
        walk.run(tree, packs, Targets(targets, [[(0, row)] for row in rows_of(tree)]), readout)


def _assemble(request: Continuation, encoded: Encoded, readings: Sequence[Reading]) -> Score:
    logprobs = tuple(value for reading in readings for value in reading.logprobs)
    return Score(
        logprob=math.fsum(logprobs),
        token_logprobs=logprobs,
        tokens=encoded.pieces,
        utf8_bytes=len(request.text.encode("utf-8", "surrogatepass")),
        greedy=all(reading.greedy for reading in readings),
        context_tokens=len(encoded.context),
        top=tuple(alternative for reading in readings for alternative in reading.top),
        ranks=tuple(rank for reading in readings for rank in reading.ranks),
        entropies=tuple(entropy for reading in readings for entropy in reading.entropies),
    )


def _not_a_number(name: str, index: int, request: Continuation) -> str:
    text = request.text if len(request.text) <= 40 else request.text[:37] + "..."
    return (
        f"{name}: log-probabilities of request {index} ({text!r}) are not numbers; its weights are damaged or "
        "overflow in this dtype: load it in float32"
    )
