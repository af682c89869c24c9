"""Score matrices (systems, questions) of right and wrong answers, for ``bench_budget.py``.

Where a data set holds the answers of few systems, further ones are built from them, and the name says so.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

MEASURED = Path(__file__).with_name("score_matrix_piqa.json")


class Matrix(NamedTuple):
    """Systems by questions; ``note`` says what the systems are."""

    name: str
    systems: list[str]
    scores: np.ndarray
    note: str


def rows_of(data: Path, name: str) -> list[list[str]]:
    """The rows of a CSV file below the data folder."""
    file = data / name
    if not file.is_file():
        sys.exit(f"{file}: not found; give the folder of the public data sets with --data")
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.reader(opened))


def mmlu_routers(data: Path, seed: int = 0, questions: int = 600) -> Matrix:
    """Two models' measured answers to MMLU, and routers between them that are simulated on these answers.

    A router sends a question to the strong model where a noisy view of the benefit is above a threshold: the view
    is (strong right - weak right) plus normal noise of its own, so routers differ in skill and in how often they
    use the strong model. The answers are the published ones, the routing is not.
    """
    files = sorted((data / "routellm_mmlu").glob("*.csv"))
    columns = [row[1:3] for file in files for row in rows_of(file.parent, file.name)[1:]]
    if not columns:
        sys.exit(f"{data / 'routellm_mmlu'}: not found; give the folder of the public data sets with --data")
    rng = np.random.default_rng(seed)
    answers = (np.array(columns) == "True")[rng.permutation(len(columns))[:questions]]
    weak, strong = answers.T * 1.0
    systems, scores = ["Mixtral-8x7B alone", "GPT-4 alone"], [weak, strong]
    for noise in (0.5, 1.0, 2.0, 4.0):
        view = strong - weak + rng.normal(0, noise, len(weak))
        for share in (0.2, 0.4, 0.6, 0.8):
            routed = view >= np.quantile(view, 1 - share)
            systems.append(f"router, noise {noise:g}, {share:.0%} to GPT-4")
            scores.append(np.where(routed, strong, weak))
    for share in (0.25, 0.5, 0.75):
        systems.append(f"at random, {share:.0%} to GPT-4")
        scores.append(np.where(rng.random(len(weak)) < share, strong, weak))
    note = "two models' published answers (first two systems); the rest are routers simulated between them"
    return Matrix("MMLU, two models and simulated routers", systems, np.array(scores), note)


def headlines(data: Path, seed: int = 0, questions: int = 600) -> Matrix:
    """Classifiers of gold-price headlines, trained here on half of the file and measured on others of it.

    Naive Bayes over words, word pairs or letter triples; three amounts of training data; three smoothings.
    """
    rows = [(row[0], row[1]) for row in rows_of(data, "frugalgpt_headlines/train.csv") if len(row) >= 2]
    order = np.random.default_rng(seed).permutation(len(rows))
    texts, labels = [rows[i][0].lower() for i in order], [rows[i][1] for i in order]
    half, tested = len(rows) // 2, slice(len(rows) // 2, len(rows) // 2 + questions)
    systems, scores = [], []
    for kind, split in FEATURES.items():
        pieces = [split(text) for text in texts]
        for size in (100, 500, half):
            for smoothing in (0.01, 0.3, 3.0):
                guesses = naive_bayes(pieces[:size], labels[:size], pieces[tested], smoothing)
                systems.append(f"{kind}, {size} examples, smoothing {smoothing:g}")
                scores.append([float(g == label) for g, label in zip(guesses, labels[tested], strict=True)])
    note = "naive Bayes classifiers trained here: features x training examples x smoothing, all measured"
    return Matrix("HEADLINES, small classifiers", systems, np.array(scores), note)


FEATURES: dict[str, Callable[[str], list[str]]] = {
    "words": lambda text: text.split(),
    "word pairs": lambda text: text.split() + [" ".join(pair) for pair in pairwise(text.split())],
    "letter triples": lambda text: [text[i : i + 3] for i in range(len(text) - 2)],
}


def naive_bayes(train: list[list[str]], labels: list[str], tested: list[list[str]], smoothing: float) -> list[str]:
    """Multinomial naive Bayes: the class with the largest log prior + sum of log (count + smoothing) shares."""
    classes = sorted(set(labels))
    vocabulary = {piece: number for number, piece in enumerate(sorted({p for pieces in train for p in pieces}))}
    counts = np.zeros((len(classes), len(vocabulary)))
    for pieces, label in zip(train, labels, strict=True):
        np.add.at(counts[classes.index(label)], [vocabulary[p] for p in pieces], 1)
    shares = np.log((counts + smoothing) / (counts + smoothing).sum(axis=1, keepdims=True))
    prior = np.log([labels.count(c) / len(labels) for c in classes])
    known = [[vocabulary[p] for p in pieces if p in vocabulary] for pieces in tested]
    return [classes[int((prior + shares[:, at].sum(axis=1)).argmax())] for at in known]


def measured() -> Matrix:
    """SmolLM2-135M-Instruct on PIQA, measured by ``measure_score_matrix.py``."""
    record = json.loads(MEASURED.read_text(encoding="utf-8"))
    scores = np.array([[float(mark) for mark in row] for row in record["systems"].values()])
    return Matrix(
        "PIQA, SmolLM2-135M",
        list(record["systems"]),
        scores,
        "weights x prompt style x instruction, all measured here",
    )
