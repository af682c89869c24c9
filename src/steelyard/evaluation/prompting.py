r"""Prompts: how a sample is put to a model in each style, and which solved examples stand before it.

``plain``   "Question: ...\nAnswer:" as text, a choice continuing with a space before it
``chat``    a conversation; a choice is the assistant's whole answer
``raw``     the prompt and the choices exactly as written

:data:`RULES` names the version of these rules; it is part of every settings key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, cast

from steelyard.contracts import Example, Message, Prompt, PromptStyle, Sample
from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.systems.prompt_rendering import render, render_conversation

RULES = "prompts/1"
STYLES = ("plain", "chat", "raw")

Form: TypeAlias = Literal["cloze", "letters"]
"""How choices are put: each scored as the answer, or listed in the question and their letters scored."""

FORMS = ("cloze", "letters")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def draw_examples(samples: Sequence[Sample], style: PromptStyle, form: Form = "cloze") -> tuple[Example, ...]:
    """The ``style.shots`` + 1 examples that prompts of this style choose from, in order.

    Rows of the train split are drawn from if there are any, otherwise the test rows. The order is that of
    SHA-256 of seed and id, so it is the same everywhere and hardly changes when rows are added; rows that ask
    the same question count once. One more than ``shots`` is drawn because the tested sample is passed over:
    nearly all prompts then begin alike, and their common beginning is computed once.

    Raises :class:`UsageError` where there are too few rows.
    """
    if style.shots <= 0:
        return ()
    train = [sample for sample in samples if sample.data.get("split") == "train"]
    pool = [sample for sample in train or samples if "text" not in sample.data]
    drawn: dict[str, Example] = {}
    for sample in sorted(pool, key=lambda s: hashlib.sha256(f"{style.seed}:{s.id}".encode()).digest()):
        example = as_example(sample, style, form)
        drawn.setdefault(example.prompt, example)
    wanted = style.shots if train else style.shots + 1
    if len(drawn) < wanted:
        others = "train rows" if train else "rows besides the one asked"
        have = len(drawn) if train else max(0, len(drawn) - 1)
        raise UsageError(
            f"{style.shots} examples were asked for, but the task has {have} different {others}; "
            f"use at most {have} shots"
        )
    return tuple(drawn.values())[: style.shots + 1]


def resolved(samples: Sequence[Sample], style: PromptStyle, form: Form = "cloze") -> PromptStyle:
    """The style with its examples drawn, so that it means the same without the task it was drawn from.

    A style that brings examples but no number of shots uses all of them. Raises :class:`UsageError` for
    settings that contradict each other.
    """
    check_style(style.style, style.shots)
    decorated = style.shots or style.examples or style.instruction
    if style.style == "raw" and decorated:
        raise UsageError(
            "the raw style leaves the prompt as it is: use plain or chat with shots or an instruction"
        )
    if decorated and samples and "text" in samples[0].data:  # texts never share a file with questions
        raise UsageError("a text is scored as it stands: shots and instructions do not apply to bits per byte")
    if style.examples:
        shots = style.shots or len(style.examples)
        if shots > len(style.examples):
            raise UsageError(f"{shots} shots were asked for, but the style gives {len(style.examples)} examples")
        return replace(style, shots=shots)
    return replace(style, examples=draw_examples(samples, style, form))


def check_style(style: str, shots: int) -> None:
    """Refuse an unknown style, with the nearest known one, and fewer than no examples."""
    if style not in STYLES:
        raise UsageError(f"unknown prompt style {style!r}{nearest(style, STYLES)}; use plain, chat or raw")
    if shots < 0:
        raise UsageError(f"shots must be 0 or more, not {shots}")


def style_key(style: PromptStyle) -> str:
    """The canonical text of a style, for :class:`~steelyard.contracts.ResultKey`.

    Only what shapes prompts counts. The key of a resolved style holds its examples and not the seed that drew
    them, so a system file that carries the examples finds the results of the run that drew them.

    >>> style_key(PromptStyle(seed=3)) == style_key(PromptStyle(seed=4))
    True
    """
    record: dict[str, Any] = {"rules": RULES, "style": style.style}
    if style.instruction:
        record["instruction"] = style.instruction
    if style.examples:
        shown = json.dumps([[e.prompt, e.answer] for e in style.examples], ensure_ascii=False)
        record["shots"] = style.shots or len(style.examples)
        record["examples"] = hashlib.sha256(shown.encode()).hexdigest()[:16]
    elif style.shots:
        record["shots"] = style.shots
        record["seed"] = style.seed
    return json.dumps(record, sort_keys=True, ensure_ascii=False)


def as_example(sample: Sample, style: PromptStyle, form: Form = "cloze") -> Example:
    """A sample with its right answer, as an example of this style."""
    data = sample.data
    answer = put_choices(data["choices"], form)[data["answer"]] if "choices" in data else data["answers"][0]
    if "messages" in data:
        turns = _with_context(data, form)
        question = turns[-1].content if len(turns) == 1 else _transcript(turns)
    elif style.style == "plain" and "context" in data:
        question = f"{data['context']}\n\nQuestion: {data['prompt']}{_listed(data, form)}"
    else:
        question = _passage(data) + data["prompt"] + _listed(data, form)
    return Example(prompt=question, answer=answer.strip(), id=sample.id)


def shown_examples(sample: Sample, style: PromptStyle, form: Form = "cloze") -> list[Example]:
    """The first ``shots`` of a resolved style's examples that are not the tested sample.

    An example is the tested sample if it has its id or asks the same question.
    """
    if not style.examples:
        return []
    own = as_example(sample, style, form).prompt
    others = [e for e in style.examples if e.prompt != own and not (e.id and e.id == sample.id)]
    return others[: style.shots]


def build_prompt(sample: Sample, style: PromptStyle, form: Form = "cloze") -> Prompt:
    """The prompt that asks a sample in a resolved style: text for plain, a conversation for chat.

    Rendered by :mod:`steelyard.systems.prompt_rendering`, as a served system renders what it is asked.
    """
    data = sample.data
    shown = shown_examples(sample, style, form)
    if "messages" in data:
        return render_conversation(
            replace(style, examples=tuple(shown), shots=len(shown)), _with_context(data, form)
        )
    return render(style, data["prompt"] + _listed(data, form), shown, data.get("context", ""))


def put_choices(choices: Sequence[str], form: Form) -> Sequence[str]:
    """The choices as they are scored: themselves, or their letters.

    >>> put_choices(["green", "red"], "letters")
    ['A', 'B']
    """
    if form == "cloze":
        return choices
    if len(choices) > len(LETTERS):
        raise UsageError(f"{len(choices)} choices have no letters; use the form cloze")
    return list(LETTERS[: len(choices)])


def listed(choices: Sequence[str]) -> str:
    r"""The choices behind their letters, a line each.

    >>> listed(["green", "red"])
    'A. green\nB. red'
    """
    return "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(put_choices(choices, "letters"), choices, strict=True)
    )


def check_form(form: str) -> Form:
    """The form of multiple choice, or a UsageError with the nearest one."""
    if form not in FORMS:
        raise UsageError(f"unknown form of choices {form!r}{nearest(form, FORMS)}; use cloze or letters")
    return cast(Form, form)


def choice_text(choice: str, style: PromptStyle) -> str:
    """A choice as it continues the prompt: after a space in plain style, by itself in chat, untouched in raw."""
    if style.style == "raw":
        return choice
    return f" {choice.strip()}" if style.style == "plain" else choice.strip()


def _passage(data: Mapping[str, Any]) -> str:
    return f"{data['context']}\n\n" if "context" in data else ""


def _listed(data: Mapping[str, Any], form: Form) -> str:
    return f"\n{listed(data['choices'])}" if form == "letters" and "choices" in data else ""


def _with_context(data: Mapping[str, Any], form: Form) -> list[Message]:
    """A row's own conversation, the passage (if any) before its last question and listed choices after it."""
    turns = [Message(turn["role"], turn["content"]) for turn in data["messages"]]
    return [*turns[:-1], Message("user", _passage(data) + turns[-1].content + _listed(data, form))]


def _transcript(turns: Sequence[Message]) -> str:
    """A conversation as plain text, ending with its last question."""
    names = {"system": "", "user": "Question: ", "assistant": "Answer: "}
    blocks = []
    for turn in turns:
        blocks.append(names[turn.role] + turn.content)
        blocks.append("\n" if turn.role == "user" else "\n\n")
    return "".join(blocks[:-1])
