"""Ranking languages by how close a model's inner representation of them is to that of English."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval, OpenWeights, Texts
from steelyard.errors import CapabilityError, InputError, UsageError
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.parts import part

Floats = NDArray[np.float64]
Parallel: TypeAlias = Mapping[str, Texts]
"""Sentences by language, all of one length; the k-th of each say the same."""


@part(papers=[174], kind="measure")
def language_ranker(
    model: OpenWeights,
    sentences: Parallel | None = None,
    *,
    data: str = "",
    reference: str = "",
    target: str = "en",
    layers: list[int] | None = None,
    seed: int = 0,
) -> Measurement:
    """Score languages by the cosine similarity of last-token hidden states with their English translations.

        score(language) = mean over layers and sentence pairs of cos(h_layer(sentence), h_layer(English sentence))

    with h the hidden state at a sentence's last token. Raw cosines are inflated because hidden states share a few
    large directions (anisotropy): even a network with random weights ranks languages, by script and length alone.
    So a control pairs every sentence with another English sentence (a random cycle), and the gap of the score to
    it is reported. Near 0, the score says nothing about meaning.

    Args:
        model: its hidden states are read; needs the capability ``hidden``.
        sentences: parallel sentences by language.
        data: in their place a table (``.tsv``), its first row naming the languages, one sentence in each column.
        reference: a two-column table (``.tsv``: language, number) that the ranking is correlated with, such as
            shares of pretraining text or task accuracies; Spearman's rho with a bootstrap interval over languages.
        target: the language the others are compared with.
        layers: hidden states to use, 0 being the embeddings and the last one normalised; by default four, evenly
            spaced, the last among them.
        seed: of the control and the bootstrap.

    Returns:
        A value per language with its interval over sentences, the ranking with control and gap, and with
        ``reference`` the value ``correlation``.

    Raises:
        UsageError: no sentences, no target, or a layer that the model lacks.
        InputError: columns of unequal length or empty cells.
        CapabilityError: a model without hidden states.

    Source:
        Language Ranker: A Metric for Quantifying LLM Performance Across High and Low-Resource Languages (AAAI
        2025), sections "Similarity Measurement" and "Rank Correlation Measurement". The control is added here.

    Relations:
        ``compression-evaluation`` measures how well a model predicts text of a language, without a parallel
        corpus.

    Example:
        >>> language_ranker(model, {"en": ["Good day."], "de": ["Guten Tag."]}).values["de"]  # doctest: +SKIP
    """
    parallel = _checked(sentences if sentences is not None else read_parallel(Path(data)) if data else {}, target)
    if "hidden" not in model.card.capabilities:
        raise CapabilityError(
            f"part 'language-ranker' needs the capability 'hidden', which {model.card.name} lacks"
        )
    chosen = layers if layers is not None else spaced_layers(model)
    states = {language: last_states(model, texts, chosen) for language, texts in parallel.items()}
    count = len(parallel[target])
    other = derangement(count, seed)
    scores: dict[str, Interval] = {}
    rows: list[tuple[Cell, ...]] = []
    for language, found in states.items():
        pairs = similarities(found, states[target]).round(12)  # the same sentence is 1 exactly
        scores[language] = mean_interval(pairs, method="bootstrap", bounds=(-1, 1), seed=seed)
        if other is None:
            rows.append((language, scores[language], None, None))
            continue
        control = similarities(found, states[target][:, other])
        rows.append((language, scores[language], float(control.mean()), paired_difference(pairs, control)))
    rows.sort(key=lambda row: -scores[str(row[0])].value)
    table = Table(
        "Languages",
        ("rank", "language", "score", "shuffled pairs", "gap"),
        tuple((rank, *row) for rank, row in enumerate(rows, 1)),
        f"cosine of last-token hidden states with {target}, mean over layers {chosen} and {count} sentences",
    )
    values, notes = dict(scores), _notes(rows, target)
    if reference:
        values["correlation"] = rank_correlation(scores, read_reference(Path(reference)), target, seed=seed)
    return Measurement("language-ranker", values, (table,), notes, {"layers": chosen})


def spaced_layers(model: OpenWeights) -> list[int]:
    """Four hidden states, a quarter of the depth apart, the last one among them; not the embeddings."""
    depth = model.hidden(["a"])[0].shape[0] - 1
    return sorted({math.ceil(depth * quarter / 4) for quarter in (1, 2, 3, 4)})


def last_states(model: OpenWeights, texts: Texts, layers: Sequence[int]) -> Floats:
    """Hidden states of the last tokens: float64 (layers, texts, width)."""
    found = [states[:, -1] for states in model.hidden(list(texts), layers)]
    return np.stack(found, axis=1).astype(np.float64)


def similarities(first: Floats, second: Floats) -> Floats:
    """Cosines between the states (layers, texts, width) of two languages, mean over layers: float64 (texts,).

    >>> english = np.array([[[1.0, 1.0]], [[0.0, 1.0]]])
    >>> similarities(np.array([[[1.0, 0.0]], [[0.0, 2.0]]]), english).round(4).tolist()
    [0.8536]
    """
    products = (first * second).sum(axis=-1)
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    result: Floats = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0).mean(axis=0)
    return result


def derangement(count: int, seed: int) -> NDArray[np.int64] | None:
    """For each of ``count`` places another one, each used once: a random cycle; None for a single place.

    >>> sorted(derangement(5, 0).tolist()), bool((derangement(5, 0) == np.arange(5)).any())
    ([0, 1, 2, 3, 4], False)
    """
    if count < 2:
        return None
    order = np.random.default_rng(seed).permutation(count)
    result = np.empty(count, np.int64)
    result[order] = np.roll(order, 1)
    return result


def rank_correlation(
    scores: Mapping[str, Interval],
    reference: Mapping[str, float],
    target: str,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Spearman's rho of scores and reference over the languages that both have, the target left out.

    The interval is a percentile bootstrap over languages; fewer than four of them are refused.
    """
    from scipy.stats import rankdata

    shared = [language for language in scores if language in reference and language != target]
    if len(shared) < 4:
        raise UsageError(
            f"language-ranker: the reference shares {len(shared)} languages; a correlation needs four"
        )
    pairs = np.array([(scores[language].value, reference[language]) for language in shared])
    rng = np.random.default_rng(seed)
    picked = pairs[rng.integers(0, len(pairs), (resamples, len(pairs)))]
    picked = picked[np.ptp(picked, axis=1).all(axis=1)]  # a constant has no rank
    draws = [_correlation(ranks) for ranks in rankdata(picked, axis=1)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(_correlation(rankdata(pairs, axis=0)), float(low), float(high), len(pairs))


def _correlation(pairs: Floats) -> float:
    a, b = (pairs - pairs.mean(axis=0)).T
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def read_parallel(file: Path) -> dict[str, list[str]]:
    """The columns of a tab-separated table, by the names in its first row."""
    rows = _read_table(file)
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) != len(header) or not all(cell.strip() for cell in row):
            raise InputError(
                f"{file}:{line}: needs a sentence in each of its {len(header)} columns, one tab apart"
            )
    return {language: [row[i] for _, row in rows[1:]] for i, language in enumerate(header)}


def read_reference(file: Path) -> dict[str, float]:
    """Language and number in each row of a tab-separated table."""
    found: dict[str, float] = {}
    for line, row in _read_table(file):
        try:
            language, number = row
            found[language] = float(number)
        except ValueError as error:
            raise InputError(f"{file}:{line}: needs a language and a number, one tab apart") from error
    return found


def _read_table(file: Path) -> list[tuple[int, list[str]]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text; give a tab-separated table") from error
    if not rows:
        raise InputError(f"{file}: is empty; give a tab-separated table")
    return rows


def _checked(parallel: Parallel, target: str) -> Parallel:
    if not parallel:
        raise UsageError("language-ranker: no sentences; give them by language, or data=FILE")
    if target not in parallel:
        raise UsageError(
            f"language-ranker: no sentences in the target {target!r}; there are {', '.join(parallel)}"
        )
    lengths = {language: len(texts) for language, texts in parallel.items()}
    if len(set(lengths.values())) > 1 or not lengths[target]:
        raise InputError(f"language-ranker: sentences must be parallel, as many in each language, not {lengths}")
    return parallel


def _notes(rows: Sequence[tuple[Cell, ...]], target: str) -> tuple[str, ...]:
    empty = [str(row[0]) for row in rows if row[0] != target and isinstance(row[3], Interval) and row[3].low <= 0]
    if not empty:
        return ()
    return (f"no gap to shuffled pairs is detected for {', '.join(empty)}: their scores say nothing of meaning",)
