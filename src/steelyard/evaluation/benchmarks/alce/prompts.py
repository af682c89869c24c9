"""What ALCE's ways of answering show a model: instruction, solved examples, documents, question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from steelyard.contracts import Message, Prompt
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.alce.citations import Layout
from steelyard.evaluation.benchmarks.alce.records import Item, Source

Way: TypeAlias = Literal["vanilla", "summary", "snippet", "interact", "inline-search", "closed-book", "own"]
Shorter: TypeAlias = Literal["summary", "snippet"]

SHOTS = 2
"""Solved examples that are drawn from a file of prompts, as in the paper."""
_PLACE = re.compile(r"\{(INST|Q|D|A|ID|T|P)\}")
_PROSE = (
    "Instruction: Answer the question accurately and briefly in full sentences, from the documents alone; some of "
    "them may not help. After every sentence give the numbers of the documents that support it, such as [1] or "
    "[1][2]: at least one, at most three, and none that is not needed."
)
_LIST = (
    "Instruction: Answer the question with a list of names, from the documents alone; some of them may not help. "
    "Put commas between the names and after each the number of the one document that supports it, such as [1]. "
    "Where there are more than five names, give at least five."
)
_CHECK = (
    'Documents are shown by a few words of theirs. Write "Check: Document [1][2]" to see the full text of up to '
    'three, "Output:" and a part of the answer, or "End".'
)
_SEARCH = (
    'Documents are shown by a few words of theirs. Write "Search:" and key words to see the full text of the '
    'closest, "Output:" and a part of the answer, or "End".'
)
_CLOSED: Mapping[Layout, str] = {
    "prose": "Instruction: Answer the question accurately and briefly in full sentences.",
    "list": "Instruction: Answer the question with a list of names between commas. Where there are more "
    "than five, give at least five.",
}


@dataclass(frozen=True)
class PromptText:
    """The texts of a prompt, as the authors' prompt files name them.

    ``example`` has the places {INST}, {D}, {Q} and {A}, ``document`` the places {ID}, {T} and {P}. ``demos`` are
    records of solved examples.
    """

    instruction: str
    example: str = "{INST}\n\nQuestion: {Q}\n\n{D}\nAnswer: {A}"
    document: str = "Document [{ID}](Title: {T}): {P}\n"
    separator: str = "\n\n\n"
    demos: tuple[Mapping[str, Any], ...] = ()


def shorter_of(way: Way) -> Shorter | None:
    """The form in which a way of answering first shows documents; None for their full text."""
    if way == "summary":
        return "summary"
    return "snippet" if way in ("snippet", "interact", "inline-search") else None


def own_prompt(way: Way, layout: Layout) -> PromptText:
    """The prompt of a way where no file is given: in this package's words, without solved examples."""
    if way == "closed-book":
        return PromptText(_CLOSED[layout], example="{INST}\n\nQuestion: {Q}\n\nAnswer: {A}")
    instruction = _PROSE if layout == "prose" else _LIST
    extra = {"interact": f"\n{_CHECK}", "inline-search": f"\n{_SEARCH}"}.get(way, "")
    return PromptText(instruction + extra)


def read_prompt(file: Path) -> PromptText:
    """A prompt file as the authors publish them (their folder ``prompts``).

    Raises:
        InputError: No such file, or not in their layout.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a prompt file ({str(error).splitlines()[0]})") from None
    names = ("instruction", "demo_prompt", "doc_prompt", "demo_sep")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in names):
        raise InputError(f"{file}: a prompt file has the texts {', '.join(names)} and the list demos")
    demos = found.get("demos", [])
    if not isinstance(demos, list) or not all(isinstance(demo, dict) and "question" in demo for demo in demos):
        raise InputError(f"{file}: 'demos' must be a list of solved examples")
    instruction, example, document, separator = (str(found[name]) for name in names)
    return PromptText(instruction, example, document, separator, tuple(demos))


def head(text: PromptText, documents: int, shorter: Shorter | None, seed: int) -> str:
    """The solved examples before every question: two of them, drawn as the authors' program draws them."""
    if not text.demos:
        return ""
    if len(text.demos) < SHOTS:
        raise UsageError(f"alce: a prompt file needs {SHOTS} solved examples, this one has {len(text.demos)}")
    drawn = np.random.RandomState(seed).choice(len(text.demos), SHOTS, replace=False)
    return "".join(_demo(text, text.demos[int(i)], documents, shorter) + text.separator for i in drawn)


def _demo(text: PromptText, demo: Mapping[str, Any], documents: int, shorter: Shorter | None) -> str:
    field = {"summary": "summary", "snippet": "extraction", None: "text"}[shorter]
    shown = [
        (str(one.get("title", "")), str(one.get(field, one.get("text", ""))))
        for one in demo.get("docs", ())
        if "irrelevant" not in str(one.get(field, "")).lower()
    ]
    answer = demo.get("answer", "")
    solved = "\n" + "\n".join(answer) if isinstance(answer, list) else str(answer)
    # the answer follows the colon without a space, as in the authors' program
    return filled(text, str(demo["question"]), shown[:documents]) + solved


def filled(text: PromptText, question: str, documents: Sequence[tuple[str, str]]) -> str:
    """A prompt up to where the answer begins; (title, text) of the documents in order."""
    shown = "".join(document_text(text, i, *document) for i, document in enumerate(documents))
    layout = text.example if documents else text.example.replace("{D}\n", "")
    return _placed(layout, {"INST": text.instruction, "Q": question, "D": shown, "A": ""}).rstrip()


def document_text(text: PromptText, number: int, title: str, body: str) -> str:
    """One document as the prompt shows it, numbered from 0 here and from 1 there."""
    return _placed(text.document, {"ID": str(number + 1), "T": title, "P": body})


def _placed(layout: str, values: Mapping[str, str]) -> str:
    """The layout with its places filled, all at once: what a value holds is never taken for a place."""
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), layout)


def shown_as(source: Source, shorter: Shorter | None) -> tuple[str, str]:
    """Title and text of a document in the form in which it is shown."""
    body = source.text if shorter is None else getattr(source, shorter)
    return source.title, str(body)


def message(text: str, chat: bool) -> Prompt:
    """The prompt as text to go on with, or as what a user says."""
    return [Message("user", text)] if chat else text


def shortening(item: Item, source: Source, shorter: Shorter) -> str:
    """What a model is told to shorten a document in view of the question."""
    if shorter == "summary":
        task = "Summarise the document in at most 50 words in view of the question; keep dates, numbers and names."
    else:
        task = "Quote the part of the document that answers the question, with pronouns replaced by names."
    return (
        f'{task} If the document does not help to answer it, write only "irrelevant".\n\n'
        f"Question: {item.question}\n\nTitle: {source.title}\nDocument: {source.text}\n\n{shorter.capitalize()}:"
    )
