"""Retrieval metrics: nDCG, reciprocal rank, recall and success of retrievers, and whether they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import PositiveInt

from steelyard import parts
from steelyard.contracts import Hit, Interval, Marks, Reranker, Result, Retriever
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.search.judged_queries import JudgedQueries, read_judged
from steelyard.evaluation.compare import Comparison, compare
from steelyard.evaluation.evaluate import unwrapped
from steelyard.evaluation.measurement import Cell, MeasuredItem, Measurement, Table
from steelyard.evaluation.significance import holm
from steelyard.evaluation.statistics import mean_interval
from steelyard.parts import part
from steelyard.retrieval.index.settings import SearchOptions
from steelyard.retrieval.opening import for_questions, open_index
from steelyard.retrieval.remembered import reranked
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.loading import load
from steelyard.systems.system_file import SUFFIXES

Values: TypeAlias = dict[str, dict[str, float]]
"""By query, the value of every metric."""
AUTO = "auto"
ALPHA = 0.05
"""A difference is called one where Holm's p-value is at most this."""


@part(kind="measure")
def retrieval_metrics(
    indexes: Sequence[str | Path | Retriever],
    *,
    data: str | None = None,
    queries: str = "",
    qrels: str = "",
    retrievers: list[str] | None = None,
    k: PositiveInt = 10,
    depth: PositiveInt = 100,
    document: str = AUTO,
) -> Measurement:
    """nDCG, reciprocal rank, recall and success of retrievers on judged queries, compared query by query.

    With g_i the grade of the document at rank i, R the relevant documents (grade above 0) and I the grades in the
    best order:

        ndcg@k       sum_{i <= k} g_i / log2(i + 1), over the same of I
        mrr          1 / rank of the first relevant document within ``depth``, 0 without
        recall@n     share of R within the first n, for n = k and ``depth``
        success@k    1 if any of R is within the first k

    Each is a mean over the queries that have a relevant document, with its interval over queries; success is a
    proportion and has Wilson's. Several retrievers are compared in pairs on the same queries by ndcg@k, with a
    sign-flip permutation test, the p-values corrected by Holm. Two runs can be compared in the same way
    (``steelyard compare``).

    An index returns passages: a document counts at the rank of its best passage, so that of ``depth`` passages
    fewer documents may come. Quotation marks in a query are not taken for phrases unless a retriever's settings
    say so.

    Args:
        indexes: Index folders, system files with documents (the order is then that of the system's retriever, with
            its candidates as its reranker puts them), or retrievers.
        data: A folder in BEIR's layout with queries.jsonl and qrels.tsv (or qrels/test.tsv).
        queries: A file of queries, in its place.
        qrels: A file of judgements, BEIR's table or TREC's four columns, in its place.
        retrievers: How each index is searched, such as ``[lexical, "hybrid:depth=50"]``; ``auto`` is hybrid where
            there are vectors and lexical otherwise.
        k: The cut of ndcg, success and the first recall.
        depth: Passages asked for.
        document: What names a passage's document in the judgements: ``id`` (of the passage), ``source``, or a
            field of its metadata; ``auto`` finds the first of ``_id``, ``id``, the passage's id and its source
            that names a judged document.

    Raises:
        UsageError: No queries or judgements are named, an unknown retriever, or ``depth`` below ``k``.
        InputError: They are damaged, no index is there, or no passage found can be told to be a judged document.

    Source:
        Cumulated gain-based evaluation of IR techniques (Järvelin and Kekäläinen, 2002) for nDCG, with linear
        gains as trec_eval has them; values are those of trec_eval, through ir-measures.

    Relations:
        ``alce`` measures answers that cite what was retrieved. ``lexical``, ``dense`` and ``hybrid`` are what is
        measured.

    Example:
        >>> found = retrieval_metrics(["cran.index"], data="cranfield", retrievers=["lexical"])  # doctest: +SKIP
        >>> found.values["ndcg@10"]                                                              # doctest: +SKIP
    """
    if depth < k:
        raise UsageError(f"retrieval-metrics: depth={depth} passages are fewer than the k={k} that are looked at")
    judged = read_judged(data, queries, qrels)
    named = _named(indexes, list(dict.fromkeys(retrievers or [AUTO])))
    texts = list(judged.texts.values())
    found = {name: one.search(texts, depth) for name, one in named.items()}
    ranked = {name: _documents(hits, judged, document) for name, hits in found.items()}
    values = {name: query_values(judged.grades, own, k, depth) for name, own in ranked.items()}
    pairs = _compared(values, f"ndcg@{k}")
    return Measurement(
        "retrieval-metrics",
        _means(values),
        (_metrics_table(values), *((_pairs_table(pairs, f"ndcg@{k}"),) if pairs else ())),
        tuple(_notes(judged, values, pairs)),
        {"queries": len(judged.texts), "retrievers": list(named)},
        items=tuple(
            MeasuredItem(
                query,
                own[query],
                judged.texts[query],
                " ".join(document for document, grade in judged.grades[query].items() if grade > 0),
                " ".join(ranked[name][query][:k]),
                name,
            )
            for name, own in values.items()
            for query in judged.texts
        ),
    )


def query_values(
    grades: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]], k: int, depth: int
) -> Values:
    """Every metric of every judged query; a query for which nothing is found earns 0.

    Args:
        grades: By query, the grades of its judged documents.
        ranked: By query, the documents found, best first.
        k: The cut of ndcg, success and the first recall.
        depth: The cut of reciprocal rank and the second recall.
    """
    if find_spec("ir_measures") is None:
        raise UsageError("retrieval-metrics needs the package ir-measures; install steelyard[evaluation]")
    import ir_measures
    from ir_measures import RR, R, Success, nDCG

    metrics = {nDCG @ k: f"ndcg@{k}", RR: "mrr", R @ k: f"recall@{k}", Success @ k: f"success@{k}"}
    if depth > k:
        metrics[R @ depth] = f"recall@{depth}"
    # the order is what counts: scores that fall with the rank keep it where trec_eval would break ties by name
    run = {
        query: {document: float(-rank) for rank, document in enumerate(ranked.get(query, ())[:depth])}
        for query in grades
    }
    values: Values = {query: {} for query in grades}
    for one in ir_measures.iter_calc(list(metrics), {q: dict(own) for q, own in grades.items()}, run):
        values[one.query_id][metrics[one.measure]] = float(one.value)
    return {query: {name: own[name] for name in metrics.values()} for query, own in values.items()}


def _named(indexes: Sequence[str | Path | Retriever], uses: Sequence[str]) -> dict[str, Retriever]:
    """Retrievers under names that tell them apart: the part's, the index's, or both."""
    named: dict[str, Retriever] = {}
    for number, index in enumerate(indexes, start=1):
        if not isinstance(index, str | Path):
            named[f"retriever {number}"] = index
            continue
        if str(index).lower().endswith(SUFFIXES):
            named[str(index)] = system_search(index)
            continue
        for use in uses:
            label = (
                use if len(indexes) == 1 else f"{Path(index).name}, {use}" if len(uses) > 1 else Path(index).name
            )
            retriever = open_retriever(index, use)
            place = getattr(retriever, "name", index)  # without a password, where the index is a URL
            named[label if label not in named else f"{place}, {use}"] = retriever
    if not named:
        raise UsageError("retrieval-metrics: give an index folder or a system file")
    return named


def open_retriever(index: str | Path, use: str = AUTO) -> Retriever:
    """A retriever over an index, a folder or a URL: ``auto``, or a part that takes an index, with its settings.

    Raises:
        UsageError: No such part, or one that needs more than an index.
    """
    if use == AUTO:
        return open_index(index, options=SearchOptions(phrases=False))
    name, settings = parts.parse_use(use)
    function = parts.load(name, kind="retriever")
    if parts.inputs_of(function)[:1] != ["index"]:
        raise UsageError(f"retriever {name!r} takes more than an index; pass it from Python")
    return for_questions(function(index, **parts.validate(function, settings)), index, settings)


@dataclass(frozen=True)
class RerankedSearch:
    """A retriever whose first ``candidates`` hits are put into a reranker's order; the others follow."""

    retriever: Retriever
    reranker: Reranker
    candidates: int

    def add(self, documents: Sequence[Hit]) -> None:
        """Add to the retriever underneath."""
        self.retriever.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete from the retriever underneath."""
        self.retriever.delete(ids)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """``k`` hits for each query."""
        found = self.retriever.search(queries, max(k, self.candidates))
        several = [i for i, hits in enumerate(found) if len(hits) > 1]
        best = reranked(
            self.reranker, [queries[i] for i in several], [found[i][: self.candidates] for i in several]
        )
        for i, hits in zip(several, best, strict=True):
            found[i] = [*hits, *found[i][self.candidates :]]
        return [hits[:k] for hits in found]


def system_search(file: str | Path) -> Retriever:
    """What a system file's documents are searched with.

    Raises:
        UsageError: The system has no documents.
    """
    system = unwrapped(load(file))[0]
    if not isinstance(system, GroundedModel):
        raise UsageError(f"{file}: has no documents to search; give it a section `ground`")
    if system.reranker is None:
        return system.retriever
    return RerankedSearch(system.retriever, system.reranker, system.settings.candidates)


def _documents(found: Sequence[Sequence[Hit]], judged: JudgedQueries, document: str) -> dict[str, list[str]]:
    """By query, the documents of the passages found, each at its best passage's rank."""
    known = {name for own in judged.grades.values() for name in own}
    field = document if document != AUTO else _naming_field(found, known)
    return {
        query: list(dict.fromkeys(name for hit in hits if (name := _name(hit, field)) is not None))
        for query, hits in zip(judged.texts, found, strict=True)
    }


def _naming_field(found: Sequence[Sequence[Hit]], known: set[str]) -> str:
    for field in ("_id", "metadata id", "id", "source"):
        if any(_name(hit, field) in known for hits in found for hit in hits):
            return field
    some = next((hit for hits in found for hit in hits), None)
    if some is None:
        return "id"  # nothing was found, which the values say
    raise InputError(
        f"no passage found is a judged document (the first is {some.id!r} of {some.source!r}, the judgements have "
        f"{min(known)!r}); say what names documents as document=FIELD"
    )


def _name(hit: Hit, field: str) -> str | None:
    if field == "id":
        return hit.id
    if field == "source":
        return hit.source
    value = hit.metadata.get(field.removeprefix("metadata "))
    return None if value is None else str(value)


def _means(values: Mapping[str, Values]) -> dict[str, Interval]:
    several = len(values) > 1
    return {
        f"{metric}, {name}" if several else metric: interval
        for name, own in values.items()
        for metric, interval in _intervals(own).items()
    }


def _intervals(own: Values) -> dict[str, Interval]:
    metrics = next(iter(own.values()))
    return {m: mean_interval([values[m] for values in own.values()], bounds=(0.0, 1.0)) for m in metrics}


def _metrics_table(values: Mapping[str, Values]) -> Table:
    rows: list[tuple[Cell, ...]] = [(name, *_intervals(own).values()) for name, own in values.items()]
    metrics = next(iter(next(iter(values.values())).values()))
    return Table("Retrievers", ("retriever", *metrics), tuple(rows), "means over queries")


def _compared(values: Mapping[str, Values], metric: str) -> list[tuple[str, str, Comparison, float]]:
    """Every two retrievers with their comparison and its p-value among all of them."""
    results = {
        name: [Result(query, Marks({metric: marks[metric]})) for query, marks in own.items()]
        for name, own in values.items()
    }
    pairs = list(itertools.combinations(values, 2))
    made = [compare(results[a], results[b], metric, names=(a, b), higher_is_better=True) for a, b in pairs]
    adjusted = holm([one.p_value for one in made])
    return [(a, b, one, p) for (a, b), one, p in zip(pairs, made, adjusted, strict=True)]


def _pairs_table(pairs: Sequence[tuple[str, str, Comparison, float]], metric: str) -> Table:
    rows: tuple[tuple[Any, ...], ...] = tuple(
        (a, b, one.difference, float(f"{p:.4g}"), one.test) for a, b, one, p in pairs
    )
    columns = ("first", "second", f"{metric}, first minus second", "p (Holm)", "test")
    return Table("Differences", columns, rows, "paired by query")


def _notes(
    judged: JudgedQueries, values: Mapping[str, Values], pairs: Sequence[tuple[str, str, Comparison, float]]
) -> Iterator[str]:
    if judged.unjudged:
        yield f"{judged.unjudged} queries have no relevant document and were left out."
    for a, b, one, p in pairs:
        if p <= ALPHA:
            better, worse = (a, b) if one.difference.value > 0 else (b, a)
            yield f"{better} ranks better than {worse} (p = {p:.3g} by Holm's correction)."
        else:
            yield f"No difference between {a} and {b} is shown (p = {p:.3g} by Holm's correction)."
    if len(values) == 1 and len(judged.texts) < 2:
        yield "One query says nothing about the spread."
