"""The panel: votes of independent judges, abstentions, agreement with labels."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from evaluation.judging.scripted_judges import always, verifier
from steelyard.contracts import Answers
from steelyard.errors import UsageError
from steelyard.evaluation.grading import exact_match
from steelyard.evaluation.judging.reference_guided_judge_panel import (
    majority,
    panel_report,
    reference_guided_judge_panel,
)

N = 1500
ANSWERS = [Answers(f"What is {i}?", str(i) if i % 2 else "no", reference=str(i)) for i in range(N)]
TRUTH = [exact_match(answer.first, [answer.reference]) for answer in ANSWERS]


def test_three_independent_judges_of_07_vote_to_the_binomial() -> None:
    """0.7^3 + 3 * 0.7^2 * 0.3 = 0.784; tolerance of four standard errors."""
    panel = reference_guided_judge_panel([verifier(0.7, seed, f"judge {seed}") for seed in range(3)])
    report = panel_report(panel, ANSWERS, TRUTH)
    spread = math.sqrt(0.784 * 0.216 / N)
    assert report.values["agreement"].value == pytest.approx(0.784, abs=4 * spread)
    assert report.values["agreement"].low <= 0.784 + 2 * spread
    singles = [row[1].value for row in report.tables[0].rows[1:]]
    assert singles == pytest.approx([0.7] * 3, abs=4 * math.sqrt(0.21 / N))
    assert report.values["agreement"].value >= np.median(singles)  # on answers that exact match can grade
    # Right together or wrong together: 0.58 observed, 0.5 by chance, so Fleiss' kappa is 0.16.
    assert report.values["kappa between judges"].value == pytest.approx(0.16, abs=0.06)
    json.dumps(report.to_record(), allow_nan=False)


def test_a_vote_that_cannot_be_read_is_an_abstention() -> None:
    assert majority([1.0, None, None]) == 1.0
    assert majority([0.0, 0.0, 1.0]) == 0.0
    panel = reference_guided_judge_panel([verifier(1.0, 0, "right"), always("Perhaps."), always("Who knows")])
    verdicts = panel.grade(ANSWERS[:4])
    assert [verdict.value for verdict in verdicts] == TRUTH[:4]
    assert verdicts[0].orders[1] is None
    assert verdicts[0].words[0].startswith("False.")
    report = panel_report(panel, ANSWERS[:4], TRUTH[:4])
    assert [row[-1] for row in report.tables[0].rows] == [0, 0, 4, 4]


def test_what_it_cannot_do_it_refuses() -> None:
    with pytest.raises(UsageError, match="at least one model"):
        reference_guided_judge_panel([])
    panel = reference_guided_judge_panel([always("True")])
    with pytest.raises(UsageError, match="no reference"):
        panel.grade([Answers("q", "a")])
    with pytest.raises(UsageError, match="single answers"):
        panel.compare([Answers("q", "a", "b")])
    assert panel.card.fingerprint != reference_guided_judge_panel([always("False")]).card.fingerprint
