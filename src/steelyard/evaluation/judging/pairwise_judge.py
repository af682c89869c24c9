"""A language model as judge of pairs, positions swapped: the judge that most methods start from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from steelyard.contracts import LanguageModel
from steelyard.evaluation.judging.model_judge import ModelJudge
from steelyard.evaluation.judging.templates import (
    COMPARE,
    COMPARE_WITHOUT_TIES,
    GRADE,
    check_template,
    read_template,
)
from steelyard.parts import part


@part(kind="judge")
def pairwise_judge(
    model: LanguageModel,
    *,
    ties: bool = True,
    swap: bool = True,
    method: Literal["auto", "grammar", "score", "parse"] = "auto",
    template: Path | None = None,
    max_tokens: PositiveInt = 32,
) -> ModelJudge:
    """Make a judge of ``model`` that compares two answers in both orders, or grades one from 1 to 5.

    A pair is asked twice, with the answers as given and swapped. What both orders say stands; where they disagree
    the verdict is a tie. A judge that favours a place thus decides nothing, and
    :func:`~steelyard.evaluation.judging.calibration.calibrate` shows how often that happens and how far the judge
    agrees with people.

    Args:
        model: who judges.
        ties: allow the model to call a tie; contradicting orders are ties in any case.
        swap: ask both orders. Without it a pair costs half and position bias stays in.
        method: how the verdict is made readable: ``grammar``, ``score``, ``parse``, or the first that the
            model has.
        template: a YAML file with ``text`` and ``labels`` to ask instead; it replaces ``ties``.
        max_tokens: longest reply where replies are parsed.

    Raises:
        InputError: the template cannot be read.
        UsageError: the template lacks a place.

    Source:
        Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (2023), section 3.4, swapping positions and
        calling a win only where both orders agree. The wording is Steelyard's own.

    Relations:
        ``reference-guided-judge-panel`` checks answers against gold ones by several models' votes;
        ``peer-discussion`` lets two judges talk first. ``bradley-terry`` and ``elo`` turn verdicts into rankings.

    Example:
        >>> judge = pairwise_judge(model)  # doctest: +SKIP
        >>> judge.compare([Answers("Name a prime.", "7", "9")])[0].value  # doctest: +SKIP
        1.0
    """
    own = COMPARE if ties else COMPARE_WITHOUT_TIES
    asked = check_template(own, pairs=True) if template is None else read_template(template, pairs=True)
    return ModelJudge(model, asked, GRADE, swap=swap, method=method, max_tokens=max_tokens)
