"""What an index in PostgreSQL holds at one moment, searched in SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.contracts import Hit
from steelyard.retrieval.index.analysis import Query
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.searching import Found
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.served.filters import Clause, clause
from steelyard.retrieval.served.place import run
from steelyard.retrieval.served.schema import Facts
from steelyard.retrieval.served.served_writer import term_key, written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection

EXPLORED = 64
"""Candidates that the graph keeps at least; it takes a thousand at most."""
PAGE = 1000

_BM25 = """
WITH held AS MATERIALIZED (
    SELECT term, passage, uses::float8 AS uses, length FROM postings WHERE term = ANY(%(terms)s::text[])
), weights AS (
    SELECT term, a.asked * ln(1 + (%(passages)s::float8 - h.holding + 0.5) / (h.holding + 0.5)) AS weight
    FROM unnest(%(terms)s::text[], %(asked)s::float8[]) AS a(term, asked)
    JOIN (SELECT term, count(*)::float8 AS holding FROM held GROUP BY term) AS h USING (term)
)
SELECT passage, round(1e10 * sum(
    weight * uses / (uses + %(k1)s::float8 * (1 - %(b)s::float8 + %(b)s::float8 * held.length / %(average)s))
)) / 1e10 AS score
FROM held JOIN weights USING (term) {condition}
GROUP BY passage ORDER BY score DESC, passage LIMIT %(k)s"""
_DENSE = """
SELECT number, -(embedding <#> %(vector)s::vector) AS score FROM passages AS s WHERE {condition}
ORDER BY embedding <#> %(vector)s::vector LIMIT %(k)s"""


class ServedState:
    """One moment of an index, within a transaction.

    BM25 is Lucene's formula over our own terms, as in the embedded index, and not PostgreSQL's full-text rank:
    scores are equal to 1e-9. They are rounded to 1e-10, since sums in another order differ by less and equal
    passages would come in any order. All postings of a query's terms are read.
    """

    def __init__(self, connection: Connection, facts: Facts) -> None:
        self._connection = connection
        self._facts = facts

    @property
    def settings(self) -> IndexSettings:
        """What the index was made with."""
        return self._facts.settings

    @property
    def version(self) -> tuple[str, int]:
        """The index's own mark, and how often it was committed to."""
        return self._facts.version

    @property
    def passages(self) -> int:
        """How many there are."""
        return self._facts.passages

    def allowed(self, where: Filter | None) -> Clause | None:
        """The filter in SQL; None lets all through."""
        return None if where is None else clause(where)

    def lexical(self, query: Query, k: int, k1: float, b: float, allowed: Clause | None) -> list[Found]:
        """The ``k`` best by BM25; phrases must occur, their words count like others."""
        counted = Counter(map(term_key, query.terms))
        if not counted or not self.passages:
            return []
        values: dict[str, Any] = dict(allowed.values) if allowed else {}
        conditions = [_phrase(phrase, i, values) for i, phrase in enumerate(query.phrases)]
        joined = ""
        if allowed:
            joined = "JOIN passages AS s ON s.number = held.passage "
            conditions.append(allowed.sql)
        rows = run(
            self._connection,
            _BM25.format(condition=joined + (f"WHERE {' AND '.join(conditions)}" if conditions else "")),
            terms=list(counted),
            asked=list(counted.values()),
            passages=self.passages,
            average=max(self._facts.terms / self.passages, 1e-12),
            k1=k1,
            b=b,
            k=k,
            **values,
        )
        return [Found(0, row.passage, row.score) for row in rows]

    def dense(self, queries: NDArray[np.float32], k: int, allowed: Clause | None) -> list[list[Found]]:
        """The ``k`` best of each query vector by inner product: float32 (m, d)."""
        if not self.settings.width:
            return [[] for _ in queries]
        explored = str(min(max(2 * k, EXPLORED), 1000))
        run(self._connection, "SELECT set_config('hnsw.ef_search', %(n)s, true)", n=explored)
        run(self._connection, "SELECT set_config('hnsw.iterative_scan', 'strict_order', true)")
        sql = _DENSE.format(condition=allowed.sql if allowed else "true")
        values = allowed.values if allowed else {}
        results = []
        for query in queries:
            rows = run(self._connection, sql, vector=written(query), k=k, **values)
            results.append(sorted((Found(0, r.number, r.score) for r in rows), key=lambda f: (-f.score, f.row)))
        return results

    def hits(self, found: Sequence[Found]) -> list[Hit]:
        """The passages found, with their texts."""
        numbers = [f.row for f in found]
        rows = run(self._connection, "SELECT * FROM passages WHERE number = ANY(%(n)s::bigint[])", n=numbers)
        by_number = {row.number: row for row in rows}
        return [_hit(by_number[f.row], f.score) for f in found]

    def living(self) -> Iterator[Hit]:
        """Every passage."""
        last = 0
        sql = "SELECT * FROM passages WHERE number > %(last)s ORDER BY number LIMIT %(page)s"
        while rows := run(self._connection, sql, last=last, page=PAGE).all():
            yield from (_hit(row, 0.0) for row in rows)
            last = rows[-1].number


def _hit(row: Any, score: float) -> Hit:
    return Hit(row.id, score, row.body, row.source, row.begins, row.ends, row.metadata)


def _phrase(phrase: Sequence[str], number: int, values: dict[str, Any]) -> str:
    """That the terms of ``phrase`` stand one behind the other in a passage."""
    names = [f"p{number}_{i}" for i in range(len(phrase))]
    values.update(zip(names, map(term_key, phrase), strict=True))
    tables = [f"postings AS t{i}" for i in range(len(phrase))]
    terms = [f"t{i}.term = %({name})s" for i, name in enumerate(names)]
    same = [f"t{i}.passage = t0.passage" for i in range(1, len(phrase))]
    follow = " AND ".join(f"x + {i} = ANY (t{i}.positions)" for i in range(1, len(phrase))) or "true"
    return (
        f"held.passage IN (SELECT t0.passage FROM {', '.join(tables)} WHERE {' AND '.join(terms + same)}"
        f" AND EXISTS (SELECT FROM unnest(t0.positions) AS x WHERE {follow}))"
    )
