"""Solved examples for a few-shot prompt, chosen for each query by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field

from steelyard.contracts import Embedder, Example, Hit, Retriever
from steelyard.errors import UsageError
from steelyard.parts import part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]

Side: TypeAlias = Literal["source", "target", "mix"]


@part(papers=[171], kind="example-chooser")
def icl_example_retrieval(
    pool: Sequence[Example],
    embedder: Embedder | None = None,
    retriever: Retriever | None = None,
    *,
    k: Annotated[int, Field(ge=1)] = 5,
    side: Side = "source",
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5,
    seed: int = 0,
) -> ExampleChooser:
    r"""Choose the k examples of a pool that are most like a query, such as sentences with their translations.

    With an ``embedder``, likeness is the cosine of sentence vectors. The k examples with the largest

        source  cos(x_i, x)          target  cos(y_i, x)          mix  alpha cos(x_i, x) + (1 - alpha) cos(y_i, x)

    are chosen, x_i and y_i being prompt and answer of example i and x the query; ``target`` and ``mix`` need an
    embedder that knows both languages. With a ``retriever`` they are its k best, such as by BM25; it gets the
    pool's prompts on the first use. With both, the two lists of k are merged by Borda count: an example earns k
    points for first place, one less for each place below, and none where it is absent. With neither they are drawn
    at random, anew for each query, by ``seed``.

    The most similar comes last in each answer, next to the query. Fewer than k are chosen only where the pool is
    smaller, or the retriever finds fewer.

    Args:
        pool: what to choose from; all different.
        embedder: makes sentence vectors; its role "query" is used for both sides, which are texts of one kind.
        retriever: an empty one.
        k: shots.
        side: what of an example is compared with the query.
        alpha: weight of the source in ``mix``.
        seed: of random choice.

    Raises:
        UsageError: An empty pool, or ``side`` is not "source" and there is no embedder.

    Source: Zebaze, Sagot and Bawden, "In-Context Example Selection via Similarity Search Improves Low-Resource
    Machine Translation", section 3, and the authors' code for the mixed and Borda variants.

    Relations: :func:`steelyard.systems.prompt_rendering.render` puts the examples into a prompt.

    Example:
        >>> pool = [Example("a cat", "un chat"), Example("a dog", "un chien")]
        >>> [e.answer for e in icl_example_retrieval(pool, k=1, seed=3).choose(["the dog"])[0]] in (
        ...     ["un chat"], ["un chien"]
        ... )
        True
    """
    if not pool:
        raise UsageError("icl-example-retrieval: the pool holds no examples")
    if side != "source" and embedder is None:
        raise UsageError(f"icl-example-retrieval: side={side} compares across languages, which needs an embedder")
    return ExampleChooser(tuple(pool), embedder, retriever, ChoiceSettings(k, side, alpha, seed))


class ChoiceSettings(NamedTuple):
    """The settings of :func:`icl_example_retrieval`."""

    k: int
    side: Side
    alpha: float
    seed: int


class ExampleChooser:
    """Chooses examples; made by :func:`icl_example_retrieval`."""

    def __init__(
        self,
        pool: Sequence[Example],
        embedder: Embedder | None,
        retriever: Retriever | None,
        settings: ChoiceSettings,
    ) -> None:
        self.pool = pool
        self.embedder = embedder
        self.retriever = retriever
        self.settings = settings
        self._vectors: tuple[Array | None, Array | None] | None = None
        self._added = False

    def choose(self, queries: Sequence[str]) -> list[list[Example]]:
        """The examples for each query, the most similar last."""
        if not queries:
            return []
        orders = self.orders(queries)
        return [[self.pool[place] for place in reversed(order)] for order in orders]

    def orders(self, queries: Sequence[str]) -> list[list[int]]:
        """Places in the pool of the examples for each query, the most similar first."""
        k = min(self.settings.k, len(self.pool))
        near = None if self.embedder is None else self._nearest(self.embedder, queries, k)
        worded = None if self.retriever is None else self._searched(self.retriever, queries, k)
        if near is not None and worded is not None:
            return [borda(lists, k) for lists in zip(near, worded, strict=True)]
        if near is not None or worded is not None:
            return near or worded or []
        return [
            np.random.default_rng((self.settings.seed, number)).choice(len(self.pool), k, replace=False).tolist()
            for number in range(len(queries))
        ]

    def _nearest(self, embedder: Embedder, queries: Sequence[str], k: int) -> list[list[int]]:
        side = self.settings.side
        if self._vectors is None:
            prompts = None if side == "target" else embedder.embed([e.prompt for e in self.pool], "query")
            answers = None if side == "source" else embedder.embed([e.answer for e in self.pool], "query")
            self._vectors = (prompts, answers)
        asked = embedder.embed(list(queries), "query")
        share = {"source": 1.0, "target": 0.0, "mix": self.settings.alpha}[side]
        likeness = np.zeros((len(queries), len(self.pool)), dtype=np.float32)
        for vectors, weight in zip(self._vectors, (share, 1 - share), strict=True):
            if vectors is not None:
                likeness += np.float32(weight) * (asked @ vectors.T)
        return nearest(likeness, k)

    def _searched(self, retriever: Retriever, queries: Sequence[str], k: int) -> list[list[int]]:
        if not self._added:
            retriever.add([Hit(str(place), 0.0, example.prompt) for place, example in enumerate(self.pool)])
            self._added = True
        return [[int(hit.id) for hit in hits] for hits in retriever.search(list(queries), k)]


def nearest(likeness: Array, k: int) -> list[list[int]]:
    """The k largest entries of each row, largest first, equal ones in order: likeness has shape (queries, pool).

    >>> nearest(np.array([[0.1, 0.9, 0.5]], dtype=np.float32), 2)
    [[1, 2]]
    """
    return [row[:k].tolist() for row in np.argsort(-likeness, axis=1, kind="stable")]


def borda(lists: Sequence[Sequence[int]], k: int) -> list[int]:
    """The k best of several ranked lists of at most k by Borda count; of equal ones that of the first list first.

    >>> borda([[4, 2, 7], [2, 9, 4]], 3)
    [2, 4, 9]
    """
    points: dict[int, int] = {}
    for ranked in lists:
        for place, item in enumerate(ranked[:k]):
            points[item] = points.get(item, 0) + k - place
    return sorted(points, key=lambda item: -points[item])[:k]
