"""Importance of what a retriever holds: sources that mislead the reader are found, and left out or played down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field

from steelyard.contracts import Hit, Retriever
from steelyard.errors import UsageError
from steelyard.parts import part
from steelyard.retrieval.content_fingerprint import passages_fingerprint, source_fingerprint
from steelyard.retrieval.multilinear_extension import Ranking, learn_importance

Count = Annotated[int, Field(ge=1)]
Unit: TypeAlias = Literal["source", "passage"]
Use: TypeAlias = Literal["prune", "reweight"]
Contribution: TypeAlias = Callable[[int, Hit], float]
"""What a passage contributes to the answer to a query, given by its number: 1 where the reader is right by it."""


@part(papers=[117])
def retrieval_data_importance(
    retriever: Retriever,
    queries: Sequence[str],
    contribution: Contribution,
    *,
    k: Count = 10,
    depth: Count = 50,
    unit: Unit = "source",
    use: Use = "prune",
    epsilon: Annotated[float, Field(ge=0)] = 0.0,
) -> Retriever:
    """Learn what each source or passage is worth on validation queries, and search with that knowledge.

    Each unit is in the corpus with a probability w, from 1/2 on. Projected gradient ascent (100 steps of length
    10) maximises the mean over queries of the multilinear extension

        F(w) = sum_S U(S) prod_{i in S} w_i prod_{i not in S} (1 - w_i)
        U(S) = 1/K sum of u_i over the K best-ranked i in S

    where u_i is the contribution of passage i to the query: how well the reader answers from it alone. Exact
    gradients take O(depth K) a query. Reader and retriever stay as they are.

    F is linear in each weight, so weights tend to 0 and 1, and where better sources fill the first K places a
    middling one may go to 0 with the bad ones. With ``prune``, passages of units below a threshold are never
    returned; it is the learned weight with the best mean U on the validation queries, the lowest of equal ones.
    With ``reweight`` a score is multiplied by its weight (scores below 0 by 2 - w), and hits are sorted anew among
    ``depth``. Units that no validation query found are left as they are.

    Args:
        retriever: what is searched.
        queries: validation queries.
        contribution: u of a query (by its number) and a hit; asked once for each hit within ``depth``.
        k: passages that the reader reads.
        depth: how far down the rankings importance is learned.
        unit: whether a source (``Hit.source``; the passage itself where that is empty) shares one weight.
        use: what is done with the weights.
        epsilon: 0 for exact gradients; otherwise they are sampled to within epsilon with probability 0.99.

    Raises:
        UsageError: There are no queries, they find nothing, or ``depth`` is below ``k``.

    Source: Lyu et al., "Improving Retrieval-Augmented Large Language Models via Data Importance Learning",
    section 3. Where the paper sums over distinct contributions, expectations are propagated here, so that real
    numbers cost no more than right and wrong. A source's passages share a weight and are drawn independently.

    Relations: rerankers order by relevance to the query, this by reliability.

    Example:
        >>> hits = [Hit("good", 2.0, "Paris.", "atlas"), Hit("bad", 3.0, "Rome.", "rumours")]
        >>> found = retrieval_data_importance(  # doctest: +SKIP
        ...     index, ["Capital of France?"], lambda query, hit: float("Paris" in hit.text), k=1
        ... )
        >>> found.weights["rumours"]  # doctest: +SKIP
        0.0
    """
    if depth < k:
        raise UsageError(f"retrieval-data-importance: depth={depth} must be at least k={k}")
    found = retriever.search(list(queries), depth)
    units = sorted({unit_of(hit, unit) for hits in found for hit in hits})
    if not units:
        raise UsageError("retrieval-data-importance: the validation queries find nothing; give others")
    passages = sorted({(unit_of(hit, unit), hit.id) for hits in found for hit in hits})
    place = {name: number for number, (_, name) in enumerate(passages)}
    rankings = [
        Ranking(
            np.array([place[hit.id] for hit in hits], dtype=np.int64),
            np.array([contribution(number, hit) for hit in hits], dtype=np.float64),
        )
        for number, hits in enumerate(found)
    ]
    groups = np.array([units.index(name) for name, _ in passages], dtype=np.int64)
    learned = learn_importance(rankings, groups, k, epsilon=epsilon)
    weights = {name: float(learned.weights[np.flatnonzero(groups == n)[0]]) for n, name in enumerate(units)}
    threshold = best_threshold(rankings, learned.weights, k) if use == "prune" else 0.0
    return ImportanceRetriever(retriever, weights, ImportanceSettings(threshold, depth, unit, use))


class ImportanceSettings(NamedTuple):
    """How :class:`ImportanceRetriever` uses its weights; hits below ``threshold`` are pruned."""

    threshold: float
    depth: int
    unit: Unit
    use: Use


class ImportanceRetriever:
    """A retriever whose units have weights; made by :func:`retrieval_data_importance`.

    Attributes:
        weights: inclusion probability of each unit that was seen.
        settings: what is done with them.
    """

    def __init__(self, retriever: Retriever, weights: Mapping[str, float], settings: ImportanceSettings) -> None:
        self.retriever = retriever
        self.weights = weights
        self.settings = settings

    @property
    def fingerprint(self) -> str:
        """Covers the retriever inside, the weights and how they are used."""
        inside = source_fingerprint("retriever", self.retriever)
        return passages_fingerprint(
            (), {"inside": inside, "weights": dict(self.weights), **self.settings._asdict()}
        )

    def add(self, documents: Sequence[Hit]) -> None:
        """Add passages to the retriever inside; those of unknown units are found as before."""
        self.retriever.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete passages from the retriever inside."""
        self.retriever.delete(ids)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best hits of each query that are left, or by their new scores."""
        if self.settings.use == "reweight":
            found = self.retriever.search(queries, max(k, self.settings.depth))
            return [sorted(map(self._weighed, hits), key=lambda hit: -hit.score)[:k] for hits in found]
        kept: list[list[Hit]] = [[] for _ in queries]
        waiting, asked = list(range(len(queries))), k
        while waiting:  # deeper, until there are k that stay or no more
            found = self.retriever.search([queries[i] for i in waiting], asked)
            for i, hits in zip(waiting, found, strict=True):
                kept[i] = [hit for hit in hits if self._weight(hit) >= self.settings.threshold][:k]
            waiting = [
                i for i, hits in zip(waiting, found, strict=True) if len(kept[i]) < k and len(hits) >= asked
            ]
            asked *= 2
        return kept

    def _weight(self, hit: Hit) -> float:
        return self.weights.get(unit_of(hit, self.settings.unit), 1.0)

    def _weighed(self, hit: Hit) -> Hit:
        weight = self._weight(hit)
        return dataclasses.replace(hit, score=hit.score * (weight if hit.score >= 0 else 2 - weight))


def unit_of(hit: Hit, unit: Unit) -> str:
    """What a hit's weight belongs to."""
    return (hit.source or hit.id) if unit == "source" else hit.id


def best_threshold(rankings: Sequence[Ranking], weights: np.ndarray, k: int) -> float:
    """The weight below which pruning gives the best mean U; the lowest of equal ones.

    Args:
        rankings: the validation queries.
        weights: of the passages: shape (items,).
        k: passages that are read.
    """

    def utility(threshold: float) -> float:
        kept = [r.contributions[weights[r.items] >= threshold][:k] for r in rankings]
        return float(np.mean([values.sum() / k for values in kept]))

    thresholds = np.unique(weights)
    return float(thresholds[int(np.argmax([utility(threshold) for threshold in thresholds]))])
