"""Search by words and by vectors: Steelyard's index against bm25s, tantivy and usearch, on Zipfian passages.

    python benchmarks/bench_search.py [--passages 100000] [--queries 200] [--rounds 5] [--vectors 20000] [--write]

All peers index the same passages of some sixty words drawn by Zipf's law and answer the same queries of two to six
words in turns, in one process and one thread, and hand over ids and texts. Printed are the median ratios of times
and the share of results that both return: tantivy's BM25 rounds lengths, bm25s computes in single precision, and
passages of equal score may be exchanged at the end. Build times include writing to disk; opening is timed in this
process, with the file cache warm.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tables import section
from timing import seconds

from steelyard.contracts import Hit
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.index.vectors import Graph, Vectors, exact_search
from steelyard.retrieval.index.writer import open_writer

K = 10
COMMIT = 100_000
VOCABULARY = 200_000
Result = tuple[int, str]


class Peer(NamedTuple):
    """What a side needs to be timed: its build time, its size on disk, and how it answers one and many queries."""

    build: float
    size: int
    one: Callable[[str], Any]
    many: Callable[[Sequence[str]], Any]


def main() -> None:
    """Print a table for words and one for vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    chosen = parser.parse_args()
    with section("bench_search", write=chosen.write), tempfile.TemporaryDirectory() as folder:
        words(Path(folder), chosen.passages, chosen.queries, chosen.rounds)
        vectors(Path(folder), chosen.vectors, chosen.queries, chosen.rounds)
        print(f"\nPeak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def zipfian(count: int, low: int, high: int, seed: int) -> list[str]:
    """Texts of ``low`` to ``high`` words drawn by Zipf's law (exponent 1.07)."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, VOCABULARY + 1) ** 1.07
    cumulative = np.cumsum(weights / weights.sum())
    texts = []
    for length in random.integers(low, high + 1, size=count):
        drawn = np.searchsorted(cumulative, random.random(length))
        texts.append(" ".join(f"w{n}" for n in drawn))
    return texts


def queries_of(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Queries of two to six words that stand in one passage."""
    random = np.random.default_rng(seed)
    found = []
    for i in random.integers(0, len(texts), size=count):
        held = texts[i].split()
        found.append(" ".join(random.choice(held, size=min(len(held), int(random.integers(2, 7))), replace=False)))
    return found


def words(folder: Path, count: int, asked: int, rounds: int) -> None:
    """BM25 against bm25s and tantivy."""
    texts = zipfian(count, 20, 100, seed=0)
    queries = queries_of(texts, asked, seed=1)
    ours, opening = steelyard_words(folder / "ours", texts)
    print(f"Words: {count:,} passages, {asked} queries, k = {K}; opening the index: {opening * 1000:.0f} ms.\n")
    print("| peer | build | size | one by one | spread | in a batch | spread | same results |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, make in (("bm25s", bm25s_words), ("tantivy", tantivy_words)):
        peer = make(folder / name, texts)
        singles, batches = [], []
        for _ in range(rounds):
            mine = seconds(lambda: [ours.one(query) for query in queries])
            singles.append(seconds(lambda p=peer: [p.one(query) for query in queries]) / mine)  # type: ignore[misc]
            mine = seconds(lambda: ours.many(queries))
            batches.append(seconds(lambda p=peer: p.many(queries)) / mine)  # type: ignore[misc]
        print(
            f"| {name} | {peer.build / ours.build:.2f} | {peer.size / ours.size:.2f} | "
            f"{statistics.median(singles):.2f} | {spread(singles)} | {statistics.median(batches):.2f} | "
            f"{spread(batches)} | {agreement(ours, peer, queries):.1%} |"
        )
    mine = seconds(lambda: ours.many(queries))
    print(f"\nRatios are theirs to ours: above 1 ours is faster or smaller. Ours: {ours.build:.1f} s to build,")
    print(f"{ours.size / 1e6:.0f} MB, {asked / mine:.0f} queries a second.\n")


def spread(ratios: Sequence[float]) -> str:
    """The least and the largest."""
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def agreement(ours: Peer, theirs: Peer, queries: Sequence[str]) -> float:
    """Share of results that both return."""
    pairs = [(set(ours.one(query)), set(theirs.one(query))) for query in queries]
    return sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs))


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def steelyard_words(folder: Path, texts: Sequence[str]) -> tuple[Peer, float]:
    """This project's index, and the seconds that opening it takes."""

    def build() -> None:
        with open_writer(folder, IndexSettings(language="none")) as writer:
            for start in range(0, len(texts), COMMIT):
                part = texts[start : start + COMMIT]
                writer.add([Hit(str(start + i), 0.0, text) for i, text in enumerate(part)])
                writer.commit()

    taken = seconds(build)
    opening = seconds(lambda: DocumentIndex(folder).snapshot())
    index = DocumentIndex(folder, options=SearchOptions("lexical"))

    def many(queries: Sequence[str]) -> list[list[Result]]:
        return [[(int(hit.id), hit.text) for hit in hits] for hits in index.search(queries, K)]

    return Peer(taken, size_of(folder), lambda query: many([query])[0], many), opening


def bm25s_words(folder: Path, texts: Sequence[str]) -> Peer:
    """bm25s' Lucene variant with numpy; its texts are kept beside, as ours are in the index."""
    import bm25s

    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")

    def build() -> None:
        index.index([text.split() for text in texts], show_progress=False)
        index.save(str(folder), corpus=[{"text": text} for text in texts])

    taken = seconds(build)
    index.corpus = None

    def many(queries: Sequence[str]) -> list[list[Result]]:
        tokens = [query.split() for query in queries]
        found, scores = index.retrieve(tokens, k=K, show_progress=False, n_threads=0)
        return [
            [(int(i), texts[i]) for i, score in zip(rows, row_scores, strict=True) if score > 0]
            for rows, row_scores in zip(found, scores, strict=True)
        ]

    return Peer(taken, size_of(folder), lambda query: many([query])[0], many)


def tantivy_words(folder: Path, texts: Sequence[str]) -> Peer:
    """Tantivy with one indexing thread, positions included, as ours."""
    import tantivy

    folder.mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", stored=True)
    builder.add_text_field("text", stored=True, tokenizer_name="whitespace", index_option="position")
    index = tantivy.Index(builder.build(), path=str(folder))

    def build() -> None:
        writer = index.writer(heap_size=200_000_000, num_threads=1)
        for i, text in enumerate(texts):
            writer.add_document(tantivy.Document(id=i, text=text))
        writer.commit()
        writer.wait_merging_threads()

    taken = seconds(build)
    index.reload()
    searcher = index.searcher()

    def one(query: str) -> list[Result]:
        hits = searcher.search(index.parse_query(query, ["text"]), K).hits
        documents = [searcher.doc(address) for _, address in hits]
        return [(int(document["id"][0]), str(document["text"][0])) for document in documents]

    return Peer(taken, size_of(folder), one, lambda queries: [one(query) for query in queries])


def vectors(folder: Path, count: int, asked: int, rounds: int) -> None:
    """Dense search against usearch: the graph beside its own, and exact search beside its brute force."""
    from usearch.index import Index, search

    random = np.random.default_rng(0)
    centres = random.normal(size=(200, 384))
    raw = (centres[random.integers(0, 200, size=count)] + random.normal(size=(count, 384))).astype(np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    queries = raw[random.integers(0, count, size=asked)] + 0.02 * random.normal(size=(asked, 384)).astype(
        np.float32
    )
    kept = Vectors.of(raw, "float32")
    exact = exact_search(kept, queries, K)
    print(f"Vectors: {count:,} of width 384.\n")
    print("| search | peer | ratio of times | spread | our recall | their recall |")
    print("|---|---|---:|---:|---:|---:|")

    def row(name: str, peer: str, mine: Callable[[], Any], theirs: Callable[[], Any]) -> None:
        ratios = [seconds(theirs) / seconds(mine) for _ in range(rounds)]
        found = recall([scored.rows for scored in mine()], exact), recall(theirs(), exact)
        median = statistics.median(ratios)
        print(f"| {name} | {peer} | {median:.2f} | {spread(ratios)} | {found[0]:.3f} | {found[1]:.3f} |")

    def brute() -> Any:
        return search(raw, queries, K, "ip", exact=True, threads=1).keys

    row("exact", "usearch, brute force", lambda: exact_search(kept, queries, K), brute)
    Graph.write(kept, folder / "graph.usearch")
    graph = Graph.open(folder / "graph.usearch", kept)
    peer = Index(ndim=384, metric="cos", dtype="f32", connectivity=16, expansion_add=128, expansion_search=64)
    peer.add(np.arange(count), raw, threads=1)
    row("graph", "usearch", lambda: graph.search(queries, K), lambda: peer.search(queries, K, threads=1).keys)


def recall(found: Sequence[Any], exact: Sequence[Any]) -> float:
    """Share of the true ``K`` nearest that were found."""
    return float(
        np.mean([len(set(map(int, f)) & set(e.rows.tolist())) / K for f, e in zip(found, exact, strict=True)])
    )


if __name__ == "__main__":
    main()
