"""Changes to an index in PostgreSQL: each commit is one transaction."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.contracts import Embedder, Hit
from steelyard.errors import UsageError
from steelyard.retrieval.index.analysis import Analyzer
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.index.writer import check_same, embedded
from steelyard.retrieval.served.place import ServedPlace, run
from steelyard.retrieval.served.schema import Facts, create, exists, read_facts

if TYPE_CHECKING:
    from sqlalchemy import Connection

LONGEST_TERM = 200
"""Longer terms are kept as their hash: PostgreSQL's trees take keys of some 2,700 bytes."""
WIDEST_GRAPH = 2000
"""Components of a vector that pgvector's graphs take; wider ones are searched exactly."""

_INSERT_PASSAGES = """
INSERT INTO passages (id, source, begins, ends, body, metadata, length)
SELECT id, source, begins, ends, body, metadata::jsonb, length
FROM unnest(%(ids)s::text[], %(sources)s::text[], %(begins)s::bigint[], %(ends)s::bigint[], %(bodies)s::text[],
            %(metadata)s::text[], %(lengths)s::int[]) AS n(id, source, begins, ends, body, metadata, length)
RETURNING id, number"""
_INSERT_POSTINGS = """
INSERT INTO postings (term, passage, uses, length, positions)
SELECT term, passage, uses, length, positions::int[]
FROM unnest(%(terms)s::text[], %(passages)s::bigint[], %(uses)s::int[], %(lengths)s::int[], %(positions)s::text[])
     AS n(term, passage, uses, length, positions)"""
_INSERT_DOCUMENTS = """
INSERT INTO documents (source, digest) SELECT * FROM unnest(%(sources)s::text[], %(digests)s::text[])
ON CONFLICT (source) DO UPDATE SET digest = excluded.digest WHERE excluded.digest <> ''"""


class ServedWriter(PassageWriter):
    """Changes an index in PostgreSQL; nothing of it is seen by readers before :meth:`commit`, then all at once.

    Made by :func:`open_served_writer`. Several writers may work at a time; their commits come one after the other.
    """

    def __init__(self, place: ServedPlace, facts: Facts, embedder: Embedder | None) -> None:
        super().__init__(facts.settings.language, embedder)
        self.place = place
        self.facts = facts
        self._gone_sources: set[str] = set()
        self._gone_ids: set[str] = set()

    @property
    def passages(self) -> int:
        """Passages that the index held after the last commit."""
        return self.facts.passages

    def documents(self) -> dict[str, str]:
        """Every committed document's digest by its name."""
        with self.place.transaction() as connection:
            return {row.source: row.digest for row in run(connection, "SELECT source, digest FROM documents")}

    def _forget(self, ids: Sequence[str]) -> None:
        self._gone_ids.update(ids)

    def _forget_document(self, source: str) -> None:
        self._gone_sources.add(source)

    def commit(self) -> None:
        """Make everything since the last commit durable and seen, or, after an error, nothing of it."""
        if not (self._waiting or self._documents or self._gone_ids or self._gone_sources):
            return
        added = list(self._waiting.values())
        vectors = self._vectors(added)
        with self.place.transaction(write=True) as connection:
            before = read_facts(connection, self.place, lock=True)
            passages, terms = self._deleted(connection)
            lengths = self._inserted(connection, added)
            settings = self._keep_vectors(connection, before.settings, added, vectors)
            self.facts = Facts(
                (before.version[0], before.version[1] + 1),
                settings,
                before.passages - passages + len(added),
                before.terms - terms + lengths,
            )
            self._make_graph(connection)
            sql = "UPDATE facts SET generation = %(g)s, settings = %(s)s::jsonb, passages = %(p)s, terms = %(t)s"
            _, generation = self.facts.version
            kept = json.dumps(asdict(settings))
            run(connection, sql, g=generation, s=kept, p=self.facts.passages, t=self.facts.terms)
        self._waiting, self._documents = {}, {}
        self._gone_ids, self._gone_sources = set(), set()

    def _deleted(self, connection: Connection) -> tuple[int, int]:
        """Passages deleted, and the sum of their lengths."""
        ids = [*self._gone_ids, *self._waiting]
        sources = list(self._gone_sources)
        row = run(
            connection,
            "WITH gone AS (DELETE FROM passages"
            " WHERE id = ANY(%(ids)s::text[]) OR source = ANY(%(sources)s::text[]) RETURNING length)"
            " SELECT count(*) AS passages, coalesce(sum(length), 0) AS terms FROM gone",
            ids=ids,
            sources=sources,
        ).one()
        run(connection, "DELETE FROM documents WHERE source = ANY(%(sources)s::text[])", sources=sources)
        return int(row.passages), int(row.terms)

    def _inserted(self, connection: Connection, added: Sequence[Hit]) -> int:
        """Insert documents and passages with their words; the sum of the passages' lengths."""
        digests = {**dict.fromkeys([passage.source for passage in added], ""), **self._documents}
        run(connection, _INSERT_DOCUMENTS, sources=list(digests), digests=list(digests.values()))
        texts = [self._analyzer.terms(passage.text) for passage in added]
        rows = run(
            connection,
            _INSERT_PASSAGES,
            ids=[passage.id for passage in added],
            sources=[passage.source for passage in added],
            begins=[passage.start for passage in added],
            ends=[passage.end for passage in added],
            bodies=[passage.text for passage in added],
            metadata=[json.dumps(dict(passage.metadata)) for passage in added],
            lengths=[len(terms) for terms in texts],
        )
        numbers = {row.id: row.number for row in rows}
        run(connection, _INSERT_POSTINGS, **_postings([numbers[passage.id] for passage in added], texts))
        return sum(map(len, texts))

    def _vectors(self, added: Sequence[Hit]) -> dict[str, str]:
        """What to write as the vector of every passage; one whose id and text are known keeps its own."""
        if not self.facts.settings.embedder:
            return {}
        kept: dict[str, str] = {}
        if self.facts.settings.width:
            with self.place.transaction() as connection:
                rows = run(
                    connection,
                    "SELECT id, body, embedding::text AS embedding FROM passages WHERE id = ANY(%(ids)s::text[])",
                    ids=[passage.id for passage in added],
                )
                known = {(row.id, row.body): row.embedding for row in rows}
            kept = {p.id: known[p.id, p.text] for p in added if (p.id, p.text) in known}
        fresh = [passage for passage in added if passage.id not in kept]
        if fresh:
            vectors, settings = embedded(
                [passage.text for passage in fresh], self.facts.settings, self.embedder, self.place.name
            )
            self.facts = self.facts._replace(settings=settings)
            kept |= {passage.id: written(vector) for passage, vector in zip(fresh, vectors, strict=True)}
        return kept

    def _keep_vectors(
        self, connection: Connection, stored: IndexSettings, added: Sequence[Hit], vectors: dict[str, str]
    ) -> IndexSettings:
        """Write the vectors; the settings, which say their width and model from the first ones on."""
        mine = self.facts.settings
        if not vectors:
            return stored
        if stored.width not in (0, mine.width):
            raise UsageError(f"{self.place.name}: holds vectors of width {stored.width}, not {mine.width}")
        run(connection, f"ALTER TABLE passages ADD COLUMN IF NOT EXISTS embedding vector({mine.width})")
        run(
            connection,
            "UPDATE passages AS s SET embedding = n.embedding::vector"
            " FROM unnest(%(ids)s::text[], %(vectors)s::text[]) AS n(id, embedding) WHERE s.id = n.id",
            ids=[passage.id for passage in added],
            vectors=[vectors[passage.id] for passage in added],
        )
        return replace(stored, width=mine.width, fingerprint=stored.fingerprint or mine.fingerprint)

    def _make_graph(self, connection: Connection) -> None:
        settings, passages = self.facts.settings, self.facts.passages
        if 0 < settings.width <= WIDEST_GRAPH and passages >= settings.approximate_from:
            run(
                connection,
                "CREATE INDEX IF NOT EXISTS passages_graph ON passages USING hnsw (embedding vector_ip_ops)"
                " WITH (m = 16, ef_construction = 128)",
            )


def written(vector: Any) -> str:
    """A vector as pgvector reads it.

    >>> written(np.array([0.5, -1.0], np.float32))
    '[0.5,-1.0]'
    """
    return f"[{','.join(map(repr, np.asarray(vector, dtype=np.float64).tolist()))}]"


def term_key(term: str) -> str:
    """What a term is kept as."""
    if len(term) <= LONGEST_TERM:
        return term
    return "sha256:" + hashlib.sha256(term.encode("utf-8")).hexdigest()


def _postings(numbers: Sequence[int], texts: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """Columns of the table of postings."""
    columns: dict[str, list[Any]] = {name: [] for name in ("terms", "passages", "uses", "lengths", "positions")}
    for number, terms in zip(numbers, texts, strict=True):
        places: dict[str, list[int]] = defaultdict(list)
        for place, term in enumerate(terms):
            places[term_key(term)].append(place)
        for term, positions in places.items():
            row = (term, number, len(positions), len(terms), f"{{{','.join(map(str, positions))}}}")
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return columns


@contextlib.contextmanager
def open_served_writer(
    place: ServedPlace, settings: IndexSettings | None = None, embedder: Embedder | None = None
) -> Iterator[ServedWriter]:
    """The writer of the index at ``place``, which is made where there is none; commits at the end of the block.

    Args:
        place: in a database that exists.
        settings: for a new index; for an existing one it must be what that was made with.
        embedder: makes vectors, where the settings name one.

    Raises:
        UsageError: Other settings, or such as cannot be kept here.
        StoreError: The server does not answer, refuses, or lacks pgvector.
    """
    if settings is not None and settings.storage != "float32":
        raise UsageError(f"{place.name}: an index in PostgreSQL keeps vectors as float32, not {settings.storage}")
    with place.transaction() as connection:
        made = exists(connection, place)
    if not made:
        Analyzer((settings or IndexSettings()).language).terms("checked")  # an unknown language fails here
        with place.transaction(write=True) as connection:
            create(connection, place, settings or IndexSettings())
    with place.transaction() as connection:
        facts = read_facts(connection, place)
    if settings is not None:
        check_same(place.name, facts.settings, settings)
    writer = ServedWriter(place, facts, embedder)
    yield writer
    writer.commit()
