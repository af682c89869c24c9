"""Scoring: log P(continuation | context) for many requests at once.

Requests are encoded (:mod:`steelyard.models.requests`), equal inputs are run once, neighbours in token order
share the computation of their common beginning, and logits are computed only where a continuation is read.
The result of a request does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

import torch

from steelyard.contracts import Continuation, Score
from steelyard.errors import ModelError
from steelyard.models.forward import Engine, Positions, PrefixCache, common_prefix, expanded
from steelyard.models.requests import Encoded, Window, encode_continuation, label_tokens, windows_of

RUN_COST = 16
"""Fixed cost of one forward pass in tokens: reading the weights once costs about as much as this many tokens."""
SHARED_AT_LEAST = 8
"""Rows that have fewer first tokens in common are batched by length instead."""


class Want(NamedTuple):
    """A run of target tokens to be read from a row: the logits at ``start + i`` predict ``target[i]``."""

    key: tuple[int, int]
    start: int
    target: tuple[int, ...]


@dataclass
class Row:
    """One token sequence to run, and what is read from it."""

    tokens: tuple[int, ...]
    wants: list[Want] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first position whose logits are read."""
        return min(want.start for want in self.wants)

    @property
    def positions(self) -> list[int]:
        """All positions whose logits are read."""
        return sorted({p for want in self.wants for p in range(want.start, want.start + len(want.target))})


class Reading(NamedTuple):
    """What was read for one want: per target token its log-probability, greediness and alternatives."""

    logprobs: list[float]
    greedy: bool
    top: list[Mapping[str, float]]


class Batch(NamedTuple):
    """Rows run together; the first ``shared`` tokens are common to all and computed once."""

    rows: list[Row]
    shared: int


def score(engine: Engine, requests: Sequence[Continuation], top: int = 0, detail: bool = False) -> list[Score]:
    """Score requests in order; raises :class:`ModelError` where a model answers with NaN."""
    encoded = [
        encode_continuation(engine.tokenizer, request, engine.name, separate=engine.encoder_decoder)
        for request in requests
    ]
    windows = [windows_of(e, engine.context_length, engine.name, engine.encoder_decoder) for e in encoded]
    work = {(i, j): window for i, parts in enumerate(windows) for j, window in enumerate(parts)}
    if engine.encoder_decoder:
        from steelyard.models.sequence_pairs import read_pairs

        readings = read_pairs(engine, work, top)
    else:
        readings = read_windows(engine, work, top)
    for (index, _), reading in readings.items():
        if any(math.isnan(value) for value in reading.logprobs):
            raise ModelError(_not_a_number(engine.name, index, requests[index]))
    return [
        _assemble(request, e, [readings[i, j] for j in range(len(windows[i]))])
        for i, (request, e) in enumerate(zip(requests, encoded, strict=True))
    ]


def read_windows(
    engine: Engine, work: Mapping[tuple[int, int], Window], top: int = 0
) -> dict[tuple[int, int], Reading]:
    """Run windows through a causal model, each distinct computation once."""
    rows = plan_rows(work)
    prefix = PrefixCache(engine)
    readings: dict[tuple[int, int], Reading] = {}
    for batch in plan_batches(rows, engine.batch_tokens, engine.logit_rows, shared=engine.sharing != "none"):
        readings.update(_run(engine, batch, prefix, top))
    return readings


def plan_rows(work: Mapping[tuple[int, int], Window]) -> list[Row]:
    """Distinct inputs in token order; an input that begins another one is read from that one."""
    distinct: dict[tuple[int, ...], Row] = {}
    for key, window in work.items():
        tokens = (window.context + window.target)[:-1]
        row = distinct.setdefault(tokens, Row(tokens))
        row.wants.append(Want(key, len(window.context) - 1, window.target))
    rows: list[Row] = []
    for row in sorted(distinct.values(), key=lambda r: r.tokens, reverse=True):
        if rows and common_prefix(row.tokens, rows[-1].tokens) == len(row.tokens):
            rows[-1].wants.extend(row.wants)
        else:
            rows.append(row)
    return rows[::-1]


def plan_batches(rows: Sequence[Row], tokens: int, positions: int, *, shared: bool) -> Iterator[Batch]:
    """Split rows in token order into batches of about least cost.

    Cost is counted in tokens computed, padding included, plus :data:`RUN_COST` per forward pass. No batch
    computes more than ``tokens`` tokens or reads more than ``positions`` positions, unless it is one row.
    """
    alone: list[Row] = []
    for cluster in _clusters(rows) if shared else [[row] for row in rows]:
        if len(cluster) == 1:
            alone += cluster
        else:
            yield from _cheapest(cluster, tokens, positions, shared=True)
    alone.sort(key=lambda row: len(row.tokens))
    yield from _cheapest(alone, tokens, positions, shared=False)


def _clusters(rows: Sequence[Row]) -> Iterator[list[Row]]:
    numbers: list[int] = []
    for index, row in enumerate(rows):
        near = index > 0 and common_prefix(rows[index - 1].tokens, row.tokens) >= SHARED_AT_LEAST
        numbers.append(numbers[-1] if near else index)
    for _, group in groupby(zip(numbers, rows, strict=True), key=lambda pair: pair[0]):
        yield [row for _, row in group]


def _cheapest(rows: Sequence[Row], tokens: int, positions: int, *, shared: bool) -> Iterator[Batch]:
    """Dynamic programming over where to cut: ``best[i]`` is the least cost of the first ``i`` rows."""
    common = [0] + [common_prefix(a.tokens, b.tokens) for a, b in pairwise(rows)]
    reads = [len(row.positions) for row in rows]
    firsts = [row.first for row in rows]
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for end in range(1, len(rows) + 1):
        choices: list[tuple[float, int, int]] = []
        longest, first, read, prefix = 0, 1 << 60, 0, 1 << 60
        for start in range(end - 1, -1, -1):
            row = rows[start]
            longest, first = max(longest, len(row.tokens)), min(first, firsts[start])
            read += reads[start]
            prefix = min(prefix, common[start + 1]) if start < end - 1 else len(row.tokens)
            keep = min(prefix, first) if shared else 0
            count = end - start
            cost, keep = _batch_cost(count, longest, keep, common[start])
            if count > 1 and (
                count * (longest - keep) > tokens or count * longest > 8 * tokens or read > positions
            ):
                break
            choices.append((best[start][0] + cost, start, keep))
        best.append(min(choices))
    cuts = []
    end = len(rows)
    while end:
        _, start, keep = best[end]
        cuts.append(Batch(list(rows[start:end]), keep))
        end = start
    yield from reversed(cuts)


def _batch_cost(count: int, longest: int, shared: int, held: int) -> tuple[float, int]:
    """Cost of a batch and the prefix worth sharing; ``held`` tokens of it are probably cached already."""
    whole = RUN_COST + count * longest
    new = shared - min(shared, held)
    apart = RUN_COST + count * (longest - shared) + (new + RUN_COST if new else 0)
    return (apart, shared) if shared and apart < whole else (whole, 0)


def _run(engine: Engine, batch: Batch, prefix: PrefixCache, top: int) -> dict[tuple[int, int], Reading]:
    rows, shared = batch
    cache = expanded(prefix.reach(rows[0].tokens[:shared]), len(rows)) if shared else None
    reader = _Reader(engine, top)
    if len(rows) > 1 or engine.sharing == "none" or len(rows[0].positions) <= engine.logit_rows:
        pairs = [(r, p) for r, row in enumerate(rows) for p in row.positions]
        read = _positions(engine, [(r, p - shared) for r, p in pairs])
        logits = engine.forward(engine.tensor([row.tokens[shared:] for row in rows]), read, cache=cache).logits
        reader.add(rows, pairs, logits)
        return reader.readings(rows)
    row = rows[0]
    for start in range(shared, len(row.tokens), engine.logit_rows):  # a long text, a stretch at a time
        stretch = row.tokens[start : start + engine.logit_rows]
        pairs = [(0, p) for p in row.positions if start <= p < start + len(stretch)]
        here = _positions(engine, [(0, p - start) for _, p in pairs]) if pairs else None
        step = engine.forward(engine.tensor([stretch]), here, cache=cache, keep_cache=True)
        cache = step.cache
        if pairs:
            reader.add(rows, pairs, step.logits)
    return reader.readings(rows)


def _positions(engine: Engine, pairs: Sequence[tuple[int, int]]) -> Positions:
    index = torch.tensor(pairs, dtype=torch.long, device=engine.device)
    return Positions(index[:, 0], index[:, 1])


class _Reader:
    """Collects log-probabilities of wanted tokens from logits, position by position."""

    def __init__(self, engine: Engine, top: int) -> None:
        self.engine = engine
        self.top = top
        self.values: dict[tuple[int, int, int], float] = {}
        self.best: dict[tuple[int, int], int] = {}
        self.tops: dict[tuple[int, int], Mapping[str, float]] = {}

    def add(self, rows: Sequence[Row], pairs: Sequence[tuple[int, int]], logits: torch.Tensor) -> None:
        """Read ``logits`` (positions, vocabulary) computed at ``pairs`` of (row, position)."""
        place = {pair: index for index, pair in enumerate(pairs)}
        norms = logits.logsumexp(-1)
        wanted = [
            (r, want.start + i, token)
            for r, row in enumerate(rows)
            for want in row.wants
            for i, token in enumerate(want.target)
            if (r, want.start + i) in place
        ]
        where = torch.tensor([place[r, p] for r, p, _ in wanted], device=logits.device)
        tokens = torch.tensor([token for _, _, token in wanted], device=logits.device)
        values = (logits[where, tokens] - norms[where]).tolist()
        self.values.update(zip(wanted, values, strict=True))
        self.best.update(zip(pairs, logits.argmax(-1).tolist(), strict=True))
        if self.top:
            self.tops.update(zip(pairs, top_alternatives(self.engine, logits, norms, self.top), strict=True))

    def readings(self, rows: Sequence[Row]) -> dict[tuple[int, int], Reading]:
        """What each want of ``rows`` reads."""
        found = {}
        for r, row in enumerate(rows):
            for want in row.wants:
                places = [(r, want.start + i) for i in range(len(want.target))]
                found[want.key] = Reading(
                    [self.values[r, p, token] for (_, p), token in zip(places, want.target, strict=True)],
                    all(self.best[place] == token for place, token in zip(places, want.target, strict=True)),
                    [self.tops[place] for place in places] if self.top else [],
                )
        return found


def top_alternatives(
    engine: Engine, logits: torch.Tensor, norms: torch.Tensor, count: int
) -> list[Mapping[str, float]]:
    """The ``count`` most probable tokens at each position, by text, with their log-probabilities."""
    values, tokens = logits.topk(min(count, logits.shape[-1]), dim=-1)
    logprobs = (values - norms.unsqueeze(-1)).tolist()
    return [
        dict(zip(label_tokens(engine.tokenizer, ids), row, strict=True))
        for ids, row in zip(tokens.tolist(), logprobs, strict=True)
    ]


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
    )


def _not_a_number(name: str, index: int, request: Continuation) -> str:
    text = request.text if len(request.text) <= 40 else request.text[:37] + "..."
    return (
        f"{name}: log-probabilities of request {index} ({text!r}) are not numbers; its weights are damaged or "
        "overflow in this dtype: load it in float32"
    )
