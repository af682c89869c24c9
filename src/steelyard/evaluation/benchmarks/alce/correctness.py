"""Correctness of long answers: short answers found in them, lists against gold lists, claims that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.evaluation.benchmarks.alce.citations import entries
from steelyard.evaluation.entailment import Entailment, Pair, supported
from steelyard.evaluation.grading import normalise_answer

TOP = 5
"""Of a list's gold answers so many are enough for the recall that ALCE calls recall-5."""


def short_answer_recall(output: str, accepted: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of sub-questions one of whose short answers occurs in the output, and whether all do.

    Both texts are normalised as SQuAD does, and a short answer may be part of a longer word.

    >>> short_answer_recall("It was Mawsynram.", [["Mawsynram"], ["1952", "1989"]])
    {'str_em': 0.5, 'str_hit': 0.0}
    """
    text = normalise_answer(output)
    found = [any(normalise_answer(answer) in text for answer in answers) for answers in accepted]
    return {"str_em": sum(found) / len(found), "str_hit": float(all(found))}


def list_scores(output: str, gold: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision and recall of a list between commas against gold answers, each with its other names.

    Entries and names are equal after SQuAD's normalisation; empty entries do not count. ``list_recall_5`` takes
    five gold answers for all of them.

    >>> list_scores("Marazan, Lonely Road", [["Marazan"], ["Ruined City", "Kindling"]])["list_precision"]
    0.5
    """
    said = [entry for entry in map(normalise_answer, entries(output)) if entry]
    names = [[normalise_answer(name) for name in answer] for answer in gold]
    known = {name for answer in names for name in answer}
    met = sum(any(name in said for name in answer) for answer in names)
    precision = sum(entry in known for entry in said) / len(said) if said else 0.0
    recall, recall_5 = met / len(names), min(TOP, met) / min(TOP, len(names))
    return {
        "list_precision": precision,
        "list_recall": recall,
        "list_recall_5": recall_5,
        "list_f1": _f1(precision, recall),
        "list_f1_5": _f1(precision, recall_5),
    }


def claim_recall(outputs: Sequence[str], claims: Sequence[Sequence[str]], judge: Entailment) -> list[float]:
    """The share of each question's claims that follow from the output, by the judge."""
    pairs = [[Pair(output, claim) for claim in each] for output, each in zip(outputs, claims, strict=True)]
    follows: Mapping[Pair, bool] = supported(judge, [pair for each in pairs for pair in each])
    return [sum(follows[pair] for pair in each) / len(each) for each in pairs]


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
