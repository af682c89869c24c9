"""Graded relations between entities: records, prompts, and rank correlation with human scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval
from steelyard.errors import InputError
from steelyard.evaluation.statistics import z_value
from steelyard.evaluation.task_header import TaskHeader, data_folder, hub_records, records_of

Template = Literal["qa", "list"]

DESCRIPTIONS: Mapping[str, str] = {
    "competitor/rival of": "entities that are competitors or rivals",
    "friend/ally of": "entities that are friends or allies",
    "influenced by": "what has influenced different entities",
    "known for": "examples of what entities are known for",
    "similar to": "examples of entities that are similar",
}
"""The five relations of the benchmark, and how it describes them to models."""


class Pair(NamedTuple):
    """Two entities, in order."""

    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class GradedRelation:
    """Entity pairs with the mean of the scores that people gave them; higher is a better example.

    Attributes:
        name: The relation, a key of :data:`DESCRIPTIONS` in the official data.
        pairs: What is ranked.
        human: The mean human score of each pair.
        prototypes: Pairs that satisfy the relation clearly, shown to models.
    """

    name: str
    pairs: tuple[Pair, ...]
    human: tuple[float, ...]
    prototypes: tuple[Pair, ...]


def render(relation: GradedRelation, pair: Pair, template: Template) -> str:
    """The text whose perplexity says how well a pair fits: a question answered with yes, or a list."""
    described = DESCRIPTIONS.get(relation.name, f"entities that stand in the relation {relation.name!r}")
    shown = [f"[{head}, {tail}]" for head, tail in relation.prototypes]
    asked = f"[{pair.head}, {pair.tail}]"
    if template == "list":
        return "\n".join([f"A list of {described}:", *shown, asked])
    return (
        f"Answer with yes or no. {', '.join(shown)} are examples of {described}. "
        f"Is {asked} an example of the same?\nYes"
    )


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank; nan where one side is constant.

    >>> round(spearman([1, 2, 3, 4], [10, 20, 20, 40]), 4)
    0.9487
    """
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else math.nan


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1 for the smallest; equal values share the mean of their ranks.

    >>> average_ranks([7, 3, 7]).tolist()
    [2.5, 1.0, 2.5]
    """
    v = np.asarray(values, dtype=np.float64)
    _, place, counts = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks


def spearman_interval(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Spearman's correlation with Bonett and Wright's interval: tanh(atanh r -+ z sqrt((1 + r^2/2) / (n - 3))).

    Fewer than four pairs, or a constant side (correlation 0), say nothing: the interval is -1 to 1.

    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations".
    """
    r, n = spearman(first, second), len(np.asarray(first))
    if math.isnan(r):
        return Interval(0.0, -1.0, 1.0, n)
    if n < 4:
        return Interval(r, -1.0, 1.0, n)
    if abs(r) > 1 - 1e-12:
        return Interval(math.copysign(1.0, r), *((1.0, 1.0) if r > 0 else (-1.0, -1.0)), n)
    half = z_value(level) * math.sqrt((1 + r * r / 2) / (n - 3))
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), n)


def read_relations(header: TaskHeader, data: str | None, split: str) -> list[GradedRelation]:
    """The relations of a split: from ``*SPLIT*.jsonl`` in a folder, or from the hub where it is known there."""
    folder = data_folder(header, data)
    if folder is None:
        return [_relation(record, header.hub) for record in hub_records(header, split=split)]
    files = [folder] if folder.is_file() else sorted(folder.rglob(f"*{split}*.jsonl"))
    if not files:
        raise InputError(f"{folder}: no *{split}*.jsonl; the folder must hold {header.layout}")
    return [_relation(record, place) for file in files for place, record in records_of(file)]


def _relation(record: Mapping[str, Any], place: str) -> GradedRelation:
    try:
        pairs = tuple(Pair(str(head), str(tail)) for head, tail in record["pairs"])
        prototypes = tuple(Pair(str(head), str(tail)) for head, tail in record["prototypical_examples"])
        human = tuple(float(score) for score in record["scores_mean"])
        name = str(record["relation_type"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{place}: a relation needs relation_type, pairs, scores_mean and prototypical_examples ({error})"
        ) from None
    if len(human) != len(pairs) or not pairs or not all(map(math.isfinite, human)):
        raise InputError(f"{place}: {len(human)} finite scores_mean are needed for {len(pairs)} pairs")
    return GradedRelation(name, pairs, human, prototypes)
