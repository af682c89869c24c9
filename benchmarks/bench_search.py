"""Search by words and by vectors: Steelyard's index against bm25s, tantivy and usearch, on Zipfian passages.

    python benchmarks/bench_search.py                                              # minutes: 100,000 passages
    python benchmarks/bench_search.py --passages 1000000 --rounds 3 --vectors 0    # some seven minutes

All sides index the same passages of some sixty words drawn by Zipf's law and answer the same queries of two to six
words in turns, in one process and one thread, and hand over ids and texts. Every round asks other queries, so that
nobody answers from what was kept of the last. Printed are the median ratios of times and the share of results
that both return: tantivy's BM25 rounds lengths, bm25s computes in single precision, and passages of equal score
may be exchanged at the end. Build times include writing to disk. Opening and memory are those of a process of its
own that opens the index, file cache warm, and answers the queries of one round; memory is what it has allocated by
then, without files that are mapped and, for bm25s, without the texts.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
Search = Callable[[Sequence[str]], list[list[Result]]]


class Side(NamedTuple):
    """How an index is built in a folder, and opened there; texts are for those that do not keep them."""

    build: Callable[[Path, Sequence[str]], None]
    open: Callable[[Path, Sequence[str]], Search]


def main() -> None:
    """Print a table for words at every size, and one for vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=int, default=20_000, help="0 leaves vectors out")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)  # a side and its folder: see facts
    chosen = parser.parse_args()
    if chosen.alone:
        alone(*chosen.alone)
        return
    for count in chosen.passages:
        name = f"bench_search {count}"
        with section(name, write=chosen.write), tempfile.TemporaryDirectory() as folder:
            words(Path(folder), count, chosen.queries, chosen.rounds, chosen.peers)
    if chosen.vectors:
        with section("bench_search vectors", write=chosen.write), tempfile.TemporaryDirectory() as folder:
            vectors(Path(folder), chosen.vectors, chosen.queries, chosen.rounds)


def zipfian(count: int, low: int, high: int, seed: int) -> list[str]:
    """Texts of ``low`` to ``high`` words drawn by Zipf's law (exponent 1.07)."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, VOCABULARY + 1) ** 1.07
    cumulative = np.cumsum(weights / weights.sum())
    known = [f"w{n}" for n in range(VOCABULARY)]
    texts = []
    for length in random.integers(low, high + 1, size=count):
        drawn = np.searchsorted(cumulative, random.random(length))
        texts.append(" ".join([known[n] for n in drawn.tolist()]))
    return texts


def queries_of(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Queries of two to six words that stand in one passage."""
    random = np.random.default_rng(seed)
    found = []
    for i in random.integers(0, len(texts), size=count):
        held = texts[i].split()
        found.append(" ".join(random.choice(held, size=min(len(held), int(random.integers(2, 7))), replace=False)))
    return found


def words(folder: Path, count: int, asked: int, rounds: int, peers: Sequence[str]) -> None:
    """BM25 against other indexes of words."""
    texts = zipfian(count, 20, 100, seed=0)
    rounds_of = [queries_of(texts, asked, seed=1 + number) for number in range(rounds + 1)]
    built = {name: seconds(partial(SIDES[name].build, folder / name, texts)) for name in ["ours", *peers]}
    print(f"Words: {count:,} passages, {rounds} times {asked} queries, k = {K}.\n")
    print(
        "| side | build | on disk | opening | memory | one by one | spread | in a batch | spread | same results |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    ours = SIDES["ours"].open(folder / "ours", texts)
    mine: list[float] = []
    for name in peers:
        theirs = SIDES[name].open(folder / name, texts)
        same = agreement(ours(rounds_of[0]), theirs(rounds_of[0]))
        singles, batches = [], []
        for queries in rounds_of[1:]:
            mine.append(seconds(partial(one_by_one, ours, queries)))
            singles.append(seconds(partial(one_by_one, theirs, queries)) / mine[-1])
            together = seconds(partial(ours, queries))
            batches.append(seconds(partial(theirs, queries)) / together)
        print(
            f"| {name} | {facts(name, folder / name, built[name], rounds_of[0])} | "
            f"**{statistics.median(singles):.2f}** | {spread(singles)} | **{statistics.median(batches):.2f}** | "
            f"{spread(batches)} | {same:.1%} |"
        )
        del theirs
    rate = asked / statistics.median(mine)
    print(f"| ours | {facts('ours', folder / 'ours', built['ours'], rounds_of[0])} | {rate:.0f}/s | | | | |")
    print("\nRatios of times to answer are theirs to ours: above 1 ours is faster.\n")


def one_by_one(search: Search, queries: Sequence[str]) -> None:
    for query in queries:
        search([query])


def facts(name: str, folder: Path, built: float, queries: Sequence[str]) -> str:
    """Seconds to build, megabytes on disk, milliseconds to open and megabytes allocated, as columns."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    command = [sys.executable, __file__, "--alone", name, str(folder)]
    run = subprocess.run(command, input="\n".join(queries), capture_output=True, text=True, check=True)
    opening, memory = map(float, run.stdout.split())
    return f"{built:.1f} s | {size / 1e6:.0f} MB | {opening * 1000:.0f} ms | {memory:.0f} MB"


def alone(name: str, folder: str) -> None:
    """Open an index, answer the queries on standard input, and print seconds to open and megabytes allocated."""
    queries = sys.stdin.read().splitlines()
    if name in PEERS:
        importlib.import_module(name)
    before = allocated()
    started = time.perf_counter()
    search = SIDES[name].open(Path(folder), [])
    opening = time.perf_counter() - started
    search(queries)
    print(opening, allocated() - before)


def allocated() -> float:
    """Megabytes of this process that are not mapped from files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def spread(ratios: Sequence[float]) -> str:
    """The least and the largest."""
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def agreement(ours: Sequence[Sequence[Result]], theirs: Sequence[Sequence[Result]]) -> float:
    """Share of our results that they return too."""
    pairs = [(set(mine), set(others)) for mine, others in zip(ours, theirs, strict=True)]
    return sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs))


def build_ours(folder: Path, texts: Sequence[str]) -> None:
    with open_writer(folder, IndexSettings(language="none")) as writer:
        for start in range(0, len(texts), COMMIT):
            part = texts[start : start + COMMIT]
            writer.add([Hit(str(start + i), 0.0, text) for i, text in enumerate(part)])
            writer.commit()


def open_ours(folder: Path, _: Sequence[str]) -> Search:
    index = DocumentIndex(folder, options=SearchOptions("lexical"))
    index.snapshot()

    def search(queries: Sequence[str]) -> list[list[Result]]:
        return [[(int(hit.id), hit.text) for hit in hits] for hits in index.search(queries, K)]

    return search


def build_bm25s(folder: Path, texts: Sequence[str]) -> None:
    """bm25s' Lucene variant with numpy; texts are saved beside, as ours are in the index."""
    import bm25s

    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    index.index([text.split() for text in texts], show_progress=False)
    index.save(str(folder), corpus=[{"text": text} for text in texts], show_progress=False)


def open_bm25s(folder: Path, texts: Sequence[str]) -> Search:
    """Everything in memory, which is its fastest way; texts come from the list."""
    import bm25s

    index = bm25s.BM25.load(str(folder))

    def search(queries: Sequence[str]) -> list[list[Result]]:
        tokens = [query.split() for query in queries]
        found, scores = index.retrieve(tokens, k=K, show_progress=False, n_threads=0)
        return [
            [(int(i), texts[i] if texts else "") for i, score in zip(rows, values, strict=True) if score > 0]
            for rows, values in zip(found, scores, strict=True)
        ]

    return search


def build_tantivy(folder: Path, texts: Sequence[str]) -> None:
    """With one indexing thread, positions included, as ours."""
    import tantivy

    folder.mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", stored=True)
    builder.add_text_field("text", stored=True, tokenizer_name="whitespace", index_option="position")
    writer = tantivy.Index(builder.build(), path=str(folder)).writer(heap_size=200_000_000, num_threads=1)
    for i, text in enumerate(texts):
        writer.add_document(tantivy.Document(id=i, text=text))
    writer.commit()
    writer.wait_merging_threads()


def open_tantivy(folder: Path, _: Sequence[str]) -> Search:
    import tantivy

    index = tantivy.Index.open(str(folder))
    searcher = index.searcher()

    def one(query: str) -> list[Result]:
        hits = searcher.search(index.parse_query(query, ["text"]), K).hits
        documents = [searcher.doc(address) for _, address in hits]
        return [(int(document["id"][0]), str(document["text"][0])) for document in documents]

    return lambda queries: [one(query) for query in queries]


PEERS = ("bm25s", "tantivy")
SIDES: Mapping[str, Side] = {
    "ours": Side(build_ours, open_ours),
    "bm25s": Side(build_bm25s, open_bm25s),
    "tantivy": Side(build_tantivy, open_tantivy),
}


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
