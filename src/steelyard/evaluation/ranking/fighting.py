"""From evaluations to what rankings are made of: tables of answers, and battles between them under judges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from steelyard.contracts import Answers, Judge, Result, Sample, Verdict
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.ranking.records import AnswerTable, Battles, battles
from steelyard.evaluation.recorded import sample_record


def short_answers(names: Sequence[str], evaluations: Sequence[Evaluation]) -> AnswerTable:
    """What each system was taken to answer: the choice it made, or the answer found in its words."""
    ids = tuple(result.sample_id for result in evaluations[0].results)
    texts = tuple(tuple(result.marks.prediction for result in done.results) for done in evaluations)
    return AnswerTable(tuple(names), ids, texts)


def whole_answers(names: Sequence[str], evaluations: Sequence[Evaluation]) -> AnswerTable:
    """What each system said: the generated text where there is one, else the choice it made."""
    ids = tuple(result.sample_id for result in evaluations[0].results)
    texts = tuple(tuple(_said(result) for result in done.results) for done in evaluations)
    return AnswerTable(tuple(names), ids, texts)


def fight(
    table: AnswerTable,
    samples: Sequence[Sample],
    judges: Sequence[Judge],
    reviewers: Sequence[str],
    *,
    references: bool = False,
) -> tuple[Battles, dict[str, list[Verdict]]]:
    """Every pair of systems on every question under every judge, names unseen; and the verdicts by reviewer.

    Gold answers are shown where ``references`` says so. Two equal answers are a tie that no judge is asked about.
    """
    asking = {sample.id: sample_record(sample) for sample in samples}
    pairs = list(combinations(range(len(table.names)), 2))
    entries: list[tuple[int, int, int, int]] = []
    verdicts: list[Verdict] = []
    by_reviewer: dict[str, list[Verdict]] = {}
    for number, (judge, reviewer) in enumerate(zip(judges, reviewers, strict=True)):
        asked: list[tuple[int, Answers]] = []
        own: list[Verdict] = []
        for q, question in enumerate(table.questions):
            for i, j in pairs:
                first, second = table.texts[i][q], table.texts[j][q]
                if first != second:
                    gold = str(asking[question]["reference"]) if references else ""
                    answers = Answers(str(asking[question]["prompt"]), first, second, gold)
                    asked.append((len(own), answers))
                own.append(Verdict(0.5, (0.5, 0.5)))
                entries.append((q, number, i, j))
        given = judge.compare([answers for _, answers in asked])
        for (place, _), verdict in zip(asked, given, strict=True):
            own[place] = verdict
        verdicts += own
        by_reviewer[reviewer] = given
    return battles(table.names, reviewers, entries, verdicts), by_reviewer


def _said(result: Result) -> str:
    if len(result.responses) == 1 and result.responses[0].get("kind") == "generate":
        return str(result.responses[0]["text"]).strip()
    return result.marks.prediction
