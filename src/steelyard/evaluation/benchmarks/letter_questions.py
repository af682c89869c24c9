r"""Questions with lettered choices, written the way a benchmark's authors write them.

A :class:`Layout` is that way as data. From it come the prompt with its solved examples, the letters to score, and
the marks. The parts ``mcq-exam-benchmark`` and ``belebele`` differ in their layouts and data only.

    prompt = written(layout, question, examples)     # "...\nAnswer:"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal, TypeAlias

from steelyard.contracts import (
    Ask,
    Continuation,
    Generation,
    Marks,
    Message,
    Prompt,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
)
from steelyard.errors import InputError, ModelError
from steelyard.evaluation import grading
from steelyard.evaluation.extraction import extract
from steelyard.evaluation.prompting import LETTERS
from steelyard.evaluation.responses import checked_score

Mode: TypeAlias = Literal["likelihood", "generate", "cot", "stated"]
"""Letters scored by probability; a letter generated; after reasoning; or with a confidence in words beside it."""

_STATED_CONFIDENCE = re.compile(r"(?:confidence|信心)[^0-9\n]{0,20}(\d{1,3}(?:\.\d+)?)\s*[%％]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a question is written, piece by piece; ``{...}`` are columns of the question.

    Attributes:
        head: What stands before everything, once.
        body: The question.
        choice: One choice; ``{letter}`` and ``{choice}``.
        cue: What comes before the answer.
        answer: The answer as scored, ``{letter}``.
        close: What closes a shown answer.
        think: What comes before reasoning, instead of the cue.
        concluded: What comes between shown reasoning and the letter, closed by ``close``.
        request: Added to the question in a chat, and where the answer is generated without examples.
        stated: Asks for a confidence beside the answer.
        rule: The extraction rule that finds the letter in a reply.
    """

    head: str
    body: str
    choice: str
    cue: str
    answer: str
    close: str = ""
    think: str = "\nLet's think step by step.\n"
    concluded: str = "\nAnswer: "
    request: str = "\nReply with the letter of the right choice."
    stated: str = "\nReply with one line 'Answer: LETTER' and one line 'Confidence: N%'."
    rule: str = "letter"

    def to_record(self) -> dict[str, str]:
        """The pieces by name, for fingerprints."""
        return asdict(self)


def question_text(layout: Layout, data: Mapping[str, Any]) -> str:
    """The question with its choices, without cue or answer."""
    listed = "".join(
        layout.choice.replace("{letter}", letter).replace("{choice}", choice)
        for letter, choice in zip(LETTERS, data["choices"], strict=False)
    )
    body = layout.body.replace("{prompt}", str(data["prompt"]))
    return body.replace("{context}", str(data.get("context", ""))) + listed


def solved(layout: Layout, data: Mapping[str, Any], mode: Mode) -> str:
    """The question with its answer, after its explanation in the mode ``cot``."""
    letter = LETTERS[int(data["answer"])]
    if mode == "cot":
        return (
            question_text(layout, data)
            + layout.think
            + str(data["explanation"]).strip()
            + layout.concluded
            + letter
            + layout.close
        )
    return question_text(layout, data) + layout.cue + layout.answer.replace("{letter}", letter) + layout.close


def written(
    layout: Layout, data: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], mode: Mode, style: PromptStyle
) -> Prompt:
    """The whole prompt: text, or one user message in the style ``chat``.

    In a chat the question ends with the layout's request instead of its cue: an assistant's turn begins anew.
    """
    shown = "".join(solved(layout, example, mode) + "\n\n" for example in examples)
    head = f"{style.instruction.strip()}\n\n" if style.instruction.strip() else ""
    text = head + layout.head + shown + question_text(layout, data)
    if mode == "stated":
        text += layout.stated
    elif mode == "cot":
        text += layout.think if style.style != "chat" else layout.think.rstrip("\n")
    elif style.style == "chat" or (mode == "generate" and not examples):
        text += layout.request
    if style.style == "chat":
        return [Message("user", text)]
    return text + (layout.cue if mode in ("likelihood", "generate") else "\n" if mode == "stated" else "")


def requests_for(
    layout: Layout, data: Mapping[str, Any], prompt: Prompt, mode: Mode, max_tokens: int
) -> list[Request]:
    """The letters to score, or one answer to generate; generation ends where the next question would begin."""
    if mode != "likelihood":
        begin = question_text(layout, {"prompt": "\0", "choices": []}).split("\0")[0].strip()
        stop = (f"\n\n{begin}",) if begin and isinstance(prompt, str) else ()
        return [Ask(prompt, Sampling(max_tokens=max_tokens, stop=stop))]
    letters = LETTERS[: len(data["choices"])]
    texts = [
        letter if not isinstance(prompt, str) else layout.answer.replace("{letter}", letter) for letter in letters
    ]
    return [Continuation(prompt, text) for text in texts]


def marks_of(layout: Layout, sample: Sample, responses: Sequence[Response], mode: Mode) -> Marks:
    """Accuracy, and confidence where there is one; generated answers also have ``answered`` (a letter was found).

    Raises ModelError for a response of the wrong kind or a log-likelihood that is not a number.
    """
    data = sample.data
    letters = LETTERS[: len(data["choices"])]
    if mode == "likelihood":
        scores = [checked_score(response, sample) for response in responses]
        if len(scores) != len(letters):
            raise ModelError(f"sample {sample.id!r}: {len(scores)} responses to {len(letters)} requests")
        counts = [len(score.token_logprobs) for score in scores]
        values, best = grading.choice_marks(letters, data["answer"], [s.logprob for s in scores], counts)
        kept = {name: value for name, value in values.items() if name in ("accuracy", "confidence")}
        return Marks(kept, prediction=letters[best])
    if len(responses) != 1 or not isinstance(responses[0], Generation):
        raise ModelError(f"sample {sample.id!r}: one generated answer was asked for")
    text = responses[0].text
    found = extract(layout.rule, _continued(layout, text, mode))
    answered = found in letters if found else False
    values = {"accuracy": float(answered and found == letters[data["answer"]]), "answered": float(answered)}
    if mode == "stated" and (stated := _STATED_CONFIDENCE.findall(text)):
        values["confidence"] = min(1.0, float(stated[-1]) / 100)
    return Marks(values, prediction=found)


def _continued(layout: Layout, text: str, mode: Mode) -> str:
    """A reply that continues an open bracket ("正確答案：(" + "B)") is read together with it."""
    bracket = layout.cue.rstrip().endswith("(") and mode == "generate"
    return f"({text.lstrip()}" if bracket and not text.lstrip().startswith("(") else text


def lettered(place: str, values: Mapping[str, Any], *, upto: str = "F") -> dict[str, Any]:
    """A record with the columns question, A, B, ... and answer (a letter) as prompt, choices and answer.

    Choices end at the first empty column. An ``explanation`` is kept.

    Raises:
        InputError: A column is missing, or the answer is none of the choices.
    """
    question = str(values.get("question") or "").strip()
    choices = []
    for letter in LETTERS[: LETTERS.index(upto) + 1]:
        cell = values.get(letter)
        if cell is None or not str(cell).strip() or str(cell) == "nan":
            break
        choices.append(str(cell))
    if not question or len(choices) < 2:
        raise InputError(
            f"{place}: a question with choices A and B is needed; check the columns question, A, B, ..."
        )
    answer = str(values.get("answer") or "").strip().upper()
    if answer not in LETTERS[: len(choices)] or len(answer) != 1:
        given = f"the answer {answer!r} is none of the {len(choices)} choices" if answer else "there is no answer"
        raise InputError(f"{place}: {given}; the column 'answer' holds the letter of the right choice")
    data: dict[str, Any] = {"prompt": question, "choices": choices, "answer": LETTERS.index(answer)}
    if str(values.get("explanation") or "").strip():
        data["explanation"] = str(values["explanation"])
    return data


def shuffled(data: Mapping[str, Any], key: str, seed: int) -> dict[str, Any]:
    """The same question with its choices in another order, drawn from seed and key."""
    order = list(range(len(data["choices"])))
    Random(f"{seed}:{key}").shuffle(order)
    return {
        **data,
        "choices": [data["choices"][i] for i in order],
        "answer": order.index(data["answer"]),
    }
