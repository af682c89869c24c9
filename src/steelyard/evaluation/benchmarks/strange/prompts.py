"""The prompts of "I am a Strange Dataset", and the marks of what a model makes of them.

The wording and the solved examples in ``strange_items.json`` are the authors' (github.com/TristanThrush/
i-am-a-strange-dataset, MIT licence, copyright 2024 Tristan Thrush); the items in that file are our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from steelyard.contracts import (
    Ask,
    Continuation,
    Marks,
    Message,
    Prompt,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
)
from steelyard.errors import ModelError
from steelyard.evaluation.responses import checked_score, checked_text

Subtask: TypeAlias = Literal["generation", "zero-shot", "few-shot", "text", "cot"]
TEXT_TOKENS, COT_TOKENS = 4, 200


def statement(item: Mapping[str, Any], *, true: bool, control: bool) -> str:
    """A statement; in a control, a statement about it and then itself."""
    end = str(item["true_continuation" if true else "false_continuation"])
    own = str(item["beginning"]) + end
    return f"{item['non_self_referential_beginning']}{end}\n\n{own}" if control else own


def verification_prompt(text: str, examples: Sequence[Mapping[str, Any]], *, reasoned: bool, control: bool) -> str:
    """The question whether a statement is true, after solved examples of both kinds."""
    subject = "a statement about a sentence" if control else "a self-referential statement"
    head = (
        f"Overview:\n\nYour task is to say whether {subject} is true or false. In cases where you think that the "
        "answer is ambiguous, you should use your best judgement and still say either 'True' or 'False'."
    )
    shown = "".join(
        f"\n\n\nExample:\n\n{statement(example, true=true, control=control)}\n\nAnswer: "
        + (str(example[f"cot_{str(true).lower()}_answer"]) if reasoned else str(true))
        for example in examples
        for true in (True, False)
    )
    if examples:
        head += " Make sure that you understand the given examples before continuing."
        shown += "\n\n\nNow it is your turn to complete an example. Fill in the answer."
        return f"{head}{shown}\n\nExample:\n\n{text}\n\nAnswer:"
    return f"{head}\n\n\nExample:\n\n{text}\n\nAnswer:"


def requests_for(
    item: Mapping[str, Any],
    subtask: Subtask,
    examples: Sequence[Mapping[str, Any]],
    *,
    control: bool,
    style: PromptStyle,
) -> list[Request]:
    """What to ask: two whole statements to score, or the answers about both."""
    texts = [statement(item, true=true, control=control) for true in (True, False)]
    if subtask == "generation":
        return [Continuation("", text) for text in texts]
    shown = examples if subtask in ("few-shot", "cot") else ()
    requests: list[Request] = []
    for text in texts:
        written = verification_prompt(text, shown, reasoned=subtask == "cot", control=control)
        chat = style.style == "chat"
        prompt: Prompt = [Message("user", written)] if chat else written
        if subtask in ("text", "cot"):
            tokens = COT_TOKENS if subtask == "cot" else TEXT_TOKENS
            stop = () if chat else ("\n\n\nExample:",)
            requests.append(Ask(prompt, Sampling(max_tokens=tokens, stop=stop)))
        else:
            requests += [Continuation(prompt, word if chat else f" {word}") for word in ("True", "False")]
    return requests


def marks_of(sample: Sample, responses: Sequence[Response], subtask: Subtask) -> Marks:
    """Accuracy of one item: 1, 1/2 or 0.

    Raises ModelError for responses of the wrong kind or number.
    """
    expected = 4 if subtask in ("zero-shot", "few-shot") else 2
    if len(responses) != expected:
        raise ModelError(f"sample {sample.id!r}: {len(responses)} responses to {expected} requests")
    if subtask in ("text", "cot"):
        verdicts = [_verdict(response, sample) for response in responses]
        right = [verdict is wanted for verdict, wanted in zip(verdicts, (True, False), strict=True)]
        values = {"accuracy": sum(right) / 2, "answered": sum(verdict is not None for verdict in verdicts) / 2}
        return Marks(values, prediction=" ".join(str(verdict) for verdict in verdicts))
    scores = [checked_score(response, sample) for response in responses]
    if subtask == "generation":
        means = [score.logprob / max(1, len(score.token_logprobs)) for score in scores]
        return Marks({"accuracy": _greater(means[0], means[1])}, prediction=str(means[0] > means[1]))
    logprobs = [score.logprob for score in scores]
    return Marks(
        verification_values(*logprobs), prediction=f"{logprobs[0] > logprobs[1]} {logprobs[2] > logprobs[3]}"
    )


def verification_values(
    true_true: float, true_false: float, false_true: float, false_false: float
) -> dict[str, float]:
    """Accuracy and relative accuracy from the log-probabilities of both answers about both statements.

    ``accuracy`` is the share of the two statements that are judged right. ``relative`` is 1 if the loss of "True"
    over that of "False" is lower for the true statement than for the false one. Ties count half.

    Args:
        true_true: log P("True" | the true statement).
        true_false: log P("False" | the true statement).
        false_true: log P("True" | the false statement).
        false_false: log P("False" | the false statement).

    >>> verification_values(-1.0, -2.0, -1.0, -3.0)
    {'accuracy': 0.5, 'relative': 0.0}
    """
    absolute = (_greater(true_true, true_false) + _greater(false_false, false_true)) / 2
    # a / b < c / d without dividing: losses are not negative, but may be 0.
    relative = _greater(false_true * true_false, true_true * false_false)
    return {"accuracy": absolute, "relative": relative}


def _greater(first: float, second: float) -> float:
    """1 if the first is greater, 1/2 if they are equal up to rounding."""
    if math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12) or first == second:
        return 0.5
    return float(first > second)


def _verdict(response: Response, sample: Sample) -> bool | None:
    """What a reply says: true or false; None if it says neither or both, as the authors count it."""
    text = checked_text(response, sample).lower()
    said = ("true" in text, "false" in text)
    return said[0] if said[0] != said[1] else None
