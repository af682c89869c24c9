"""Several judges who see the right answer, and their majority: true or false for answers in free words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from steelyard.contracts import Answers, Interval, Judge, LanguageModel, ModelCard, Verdict
from steelyard.errors import UsageError
from steelyard.evaluation.judging.agreement import (
    cohen_kappa,
    fleiss_kappa,
    macro_f1,
    percent_agreement,
    rating_counts,
)
from steelyard.evaluation.judging.model_judge import ModelJudge
from steelyard.evaluation.judging.templates import VERIFY
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.parts import part


@part(papers=[77], kind="judge")
def reference_guided_judge_panel(
    models: Sequence[LanguageModel],
    *,
    explanation: bool = True,
    method: Literal["auto", "grammar", "score", "parse"] = "auto",
    max_tokens: PositiveInt = 64,
) -> JudgePanel:
    """Let every model say whether an answer agrees with the gold one, and take the majority of their votes.

    Each judge reads question, gold reference and candidate answer, says True or False and then why, at temperature
    0. A vote that cannot be read is an abstention and is counted; equally many votes on both sides are a tie
    (0.5), which an odd panel without abstentions cannot have. :func:`panel_report` says how well the judges
    agree with each other and with people.

    Args:
        models: the judges; the paper takes three.
        explanation: let each judge give a reason after its verdict; it is kept among the verdict's words.
        method: how a verdict is made readable; scored labels come without a reason.
        max_tokens: longest reply.

    Raises:
        UsageError: no models, or an answer without a reference.

    Source:
        Reference-Guided Verdict: LLMs-as-Judges in Automatic Evaluation of Free-Form Text (2024), sections 3 (the
        verdict and the vote) and 4 (agreement measures). The wording of the question is Steelyard's own.

    Relations:
        ``pairwise-judge`` compares two answers and needs no reference; ``token_f1`` and exact match grade short
        answers without a model.

    Example:
        >>> panel = reference_guided_judge_panel([first, second, third])  # doctest: +SKIP
        >>> asked = Answers("Who wrote 1984?", "Eric Blair did", reference="George Orwell")
        >>> panel.grade([asked])[0].value  # doctest: +SKIP
        1.0
    """
    if not models:
        raise UsageError("a judge panel needs at least one model")
    return JudgePanel(
        tuple(
            ModelJudge(
                model, single_template=VERIFY, method=method, max_tokens=max_tokens, explanation=explanation
            )
            for model in models
        )
    )


@dataclass(frozen=True)
class JudgePanel:
    """Judges that vote on right or wrong."""

    judges: tuple[Judge, ...]

    @property
    def card(self) -> ModelCard:
        """The panel under its members' names."""
        cards = [judge.card for judge in self.judges]
        content = "\n".join(["panel", *(card.fingerprint for card in cards)])
        name = "panel of " + ", ".join(card.name for card in cards)
        return ModelCard(name, hashlib.sha256(content.encode()).hexdigest()[:32])

    def compare(self, pairs: Sequence[Answers]) -> list[Verdict]:
        """Not for pairs."""
        raise UsageError("a reference-guided panel grades single answers; compare pairs with pairwise-judge")

    def grade(self, answers: Sequence[Answers]) -> list[Verdict]:
        """The majority on each answer; ``orders`` holds every judge's vote, ``words`` their reasons."""
        for answer in answers:
            if not answer.reference:
                raise UsageError(f"no reference for the answer to {answer.prompt[:60]!r}; the panel needs one")
        ballots = [judge.grade(answers) for judge in self.judges]
        verdicts = []
        for own in zip(*ballots, strict=True):
            votes = tuple(verdict.value for verdict in own)
            words = tuple(" ".join(verdict.words) for verdict in own)
            verdicts.append(Verdict(majority(votes), votes, words))
        return verdicts


def majority(votes: Sequence[float | None]) -> float | None:
    """1 if most votes are 1, 0 if most are 0, 0.5 for equally many; None where nobody votes.

    >>> majority([1.0, 0.0, 1.0]), majority([1.0, 0.0, None]), majority([None])
    (1.0, 0.5, None)
    """
    cast = [vote for vote in votes if vote is not None]
    if not cast:
        return None
    balance = sum(1 if vote > 0.5 else -1 if vote < 0.5 else 0 for vote in cast)
    return 1.0 if balance > 0 else 0.0 if balance < 0 else 0.5


def panel_report(
    panel: JudgePanel,
    answers: Sequence[Answers],
    labels: Sequence[float],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Measurement:
    """Grade ``answers`` and compare the panel and each of its judges with ``labels`` (1 right, 0 wrong).

    ``agreement``, ``kappa`` (Cohen's) and ``f1`` (macro) are the panel's with the labels; ``kappa between judges``
    is Fleiss' on the answers that every judge gave a readable verdict on. In agreement an unreadable vote or a tie
    counts as wrong; in kappa and F1 it is a label of its own.
    """
    verdicts = panel.grade(answers)
    truth = np.asarray(labels, dtype=np.float64)
    votes = np.array([[np.nan if v is None else v for v in verdict.orders] for verdict in verdicts])
    final = np.array([np.nan if verdict.value is None else verdict.value for verdict in verdicts])
    values = _against(truth, final, level, seed)
    whole = votes[np.isfinite(votes).all(axis=1)]
    if votes.shape[1] > 1 and len(whole):
        values["kappa between judges"] = fleiss_kappa(rating_counts(whole.tolist()), level=level, seed=seed)
    rows: list[tuple[Cell, ...]] = []
    for name, column in [("majority", final), *zip((j.card.name for j in panel.judges), votes.T, strict=True)]:
        own = values if name == "majority" else _against(truth, column, level, seed)
        rows.append((name, own["agreement"], own["kappa"], own["f1"], int(np.isnan(column).sum())))
    table = Table("agreement with labels", ("judge", "agreement", "kappa", "F1", "unreadable"), tuple(rows))
    details = {"votes": [list(verdict.orders) for verdict in verdicts], "words": [list(v.words) for v in verdicts]}
    return Measurement(panel.card.name, values, (table,), (), details)


def _against(truth: np.ndarray, found: np.ndarray, level: float, seed: int) -> dict[str, Interval]:
    said = np.where(np.isnan(found), -1.0, found)
    return {
        "agreement": percent_agreement(truth, said, level=level),
        "kappa": cohen_kappa(truth, said, level=level, seed=seed),
        "f1": macro_f1(truth, said, level=level, seed=seed),
    }
