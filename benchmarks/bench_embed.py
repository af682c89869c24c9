"""Embedding texts of mixed length: Steelyard against sentence-transformers, all-MiniLM-L6-v2.

    python benchmarks/bench_embed.py [--data FOLDER] [--rounds 5] [--scale 1.0]

Both embed the same texts in turns, in one process with the same weights and threads; sentence-transformers at its
default batch of 32 and at the best of 8 to 128, found first. Printed is the median of the ratios of a round, the
share of padding each way, and the largest cosine distance between the two.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from tables import section
from timing import seconds

from steelyard.models.length_batches import length_batches
from steelyard.models.loading import load_model
from steelyard.models.pull import pull
from steelyard.models.quiet import quiet

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SIZES = (8, 16, 32, 64, 128)


class Row(NamedTuple):
    """One line of the table."""

    texts: str
    n: int
    padding: float
    their_padding: float
    ratio: float
    spread: tuple[float, float]
    best: float
    best_size: int
    distance: float


def main() -> None:
    """Print a table in markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with cranfield/ and sts/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts to use")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    from sentence_transformers import SentenceTransformer

    folder = pull("minilm")
    ours = load_model(str(folder))
    with quiet():
        theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    with section("bench_embed", write=chosen.write):
        print(
            "| texts | n | padding | theirs | ratio (batch 32) | spread | ratio (best batch) | cosine distance |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name, texts in mixtures(chosen.data, chosen.scale).items():
            row = measure(name, texts, ours, theirs, chosen.rounds)
            low, high = row.spread
            print(
                f"| {row.texts} | {row.n} | {row.padding:.1%} | {row.their_padding:.1%} | {row.ratio:.2f} | "
                f"{low:.2f} to {high:.2f} | {row.best:.2f} ({row.best_size}) | {row.distance:.1e} |"
            )


def mixtures(data: Path, scale: float) -> dict[str, list[str]]:
    """Texts by name: sentences, questions, abstracts, and a mixture of them in no order."""
    lines = (data / "cranfield" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    abstracts = [str(json.loads(line)["text"]) for line in lines]
    lines = (data / "cranfield" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [str(json.loads(line)["text"]) for line in lines]
    sentences: list[str] = []
    for file in sorted((data / "sts").glob("*.tsv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for record in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                sentences += [record["sentence1"], record["sentence2"]]

    def some(texts: list[str], count: int) -> list[str]:
        step = max(1, len(texts) // max(1, int(count * scale)))
        return texts[::step]

    mixed = [*some(abstracts, 60), *some(questions, 225), *some(sentences, 1000)]
    order = np.random.default_rng(0).permutation(len(mixed))
    return {
        "sentences (sts)": some(sentences, 1000),
        "questions (cranfield)": some(questions, 225),
        "abstracts (cranfield)": some(abstracts, 60),
        "mixed": [mixed[i] for i in order],
    }


def measure(name: str, texts: list[str], ours: Any, theirs: Any, rounds: int) -> Row:
    """Both in turns, ``rounds`` times, after one run each to warm up and to compare the vectors."""
    found = ours.embed(texts)
    expected = theirs.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    distance = float((1 - (found * expected).sum(axis=1)).max())

    def encode(size: int) -> None:
        theirs.encode(texts, batch_size=size, normalize_embeddings=True, show_progress_bar=False)

    best = min(SIZES, key=lambda size: seconds(lambda: encode(size)))
    ratios, bests = [], []
    for number in range(rounds):
        mine = seconds(lambda: ours.embed(texts))
        ratios.append(seconds(lambda: encode(32)) / mine)
        bests.append(ratios[number] if best == 32 else seconds(lambda: encode(best)) / mine)
    padding, others = paddings(texts, ours.tokenizer)
    spread = (min(ratios), max(ratios))
    median = statistics.median(ratios)
    return Row(name, len(texts), padding, others, median, spread, statistics.median(bests), best, distance)


def paddings(texts: list[str], tokenizer: Any, limit: int = 256) -> tuple[float, float]:
    """Share of padding tokens in all tokens run: here, and in batches of 32 texts sorted by characters."""
    rows = [tuple(row[:limit]) for row in tokenizer(texts, verbose=False)["input_ids"]]
    mine = [len(row) for row in dict.fromkeys(rows)]
    run = sum(len(batch) * max(mine[i] for i in batch) for batch in length_batches(mine, 4096))
    lengths = [len(rows[i]) for i in sorted(range(len(texts)), key=lambda i: -len(texts[i]))]
    batches = [lengths[i : i + 32] for i in range(0, len(lengths), 32)]
    others = sum(max(batch) * len(batch) for batch in batches)
    return 1 - sum(mine) / run, 1 - sum(lengths) / others


if __name__ == "__main__":
    main()
