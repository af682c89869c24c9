"""ALCE's ways of answering: in one go, step by step with documents opened on demand, or without documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from steelyard.contracts import LanguageModel, OpenWeights, Prompt, PromptStyle, Sampling
from steelyard.errors import InputError, ModelError
from steelyard.evaluation.benchmarks.alce.citations import MARK, Layout
from steelyard.evaluation.benchmarks.alce.document_search import Search, cite_afterwards
from steelyard.evaluation.benchmarks.alce.own_answers import own_answers
from steelyard.evaluation.benchmarks.alce.prompts import (
    PromptText,
    Shorter,
    Way,
    document_text,
    filled,
    message,
    shortening,
    shorter_of,
    shown_as,
)
from steelyard.evaluation.benchmarks.alce.records import Item, Source
from steelyard.models.requests import encode_prompt

LONGEST = 300
"""Tokens of an answer, or of one step of it."""
SHORT = 100
TURNS = 10
OPENED = 3
"""Documents that one step may open."""
_OUTPUT = re.compile(r"^output\s*:?", re.IGNORECASE)
_QUERY = re.compile(r"^(?:search|check)\s*:?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """One answer, and the documents that its numbers mean (from 1)."""

    text: str
    documents: tuple[Source, ...]


@dataclass(frozen=True)
class Respondent:
    """A model and how it is asked.

    Attributes:
        model: Who answers.
        way: How.
        prompt: The texts around the question, and ``head``, the solved examples before it.
        documents: How many documents are shown.
        style: Of a chat style the prompt is what a user says, otherwise text to go on with; ``own`` uses it all.
        search: Who finds the document closest to key words or to a sentence.
        layout: Sentences, or entries of a list.
        post_hoc: Whether sentences without a mark are given one afterwards.
    """

    model: LanguageModel
    way: Way
    prompt: PromptText
    head: str
    documents: int
    style: PromptStyle
    search: Search
    layout: Layout = "prose"
    post_hoc: bool = False

    def shown(self, items: Sequence[Item]) -> list[tuple[Source, ...]]:
        """The documents that each question's prompt shows; shorter forms that are missing are written first."""
        if self.way == "closed-book":
            return [() for _ in items]
        shorter = shorter_of(self.way)
        if shorter is None:
            return [item.documents[: self.documents] for item in items]
        written = self._written(items, shorter)
        relevant = [[one for one in each if not _irrelevant(one, shorter)] for each in written]
        return [tuple(each[: self.documents]) for each in relevant]

    def answers(self, items: Sequence[Item], sampling: Sampling) -> list[Answered]:
        """One answer to each question, cited afterwards where that is wanted.

        Afterwards the documents are those shown, or without any all of the question's.
        """
        found = self._own(items, sampling) if self.way == "own" else self._asked(items, sampling)
        return [self._cited(item, one) for item, one in zip(items, found, strict=True)] if self.post_hoc else found

    def _own(self, items: Sequence[Item], sampling: Sampling) -> list[Answered]:
        found = own_answers(self.model, self.style, [item.question for item in items], sampling)
        return [Answered(first_line(text), passages) for text, passages in found]

    def _asked(self, items: Sequence[Item], sampling: Sampling) -> list[Answered]:
        documents = self.shown(items)
        prompts = [
            self.head + filled(self.prompt, item.question, [shown_as(one, shorter_of(self.way)) for one in each])
            for item, each in zip(items, documents, strict=True)
        ]
        if self.way in ("interact", "inline-search"):
            texts = self._in_steps(prompts, documents, sampling)
        else:
            texts = self._generated(prompts, sampling)
        return [Answered(first_line(text), each) for text, each in zip(texts, documents, strict=True)]

    def _cited(self, item: Item, answer: Answered) -> Answered:
        documents = answer.documents or item.documents
        text = cite_afterwards(answer.text, self.layout, item.question, documents, self.search)
        return Answered(text, documents)

    def _written(self, items: Sequence[Item], shorter: Shorter) -> list[list[Source]]:
        """The documents that have the shorter form, or to which the model has written it.

        Written are those of the first so many documents as are shown; where a file has them for more, the later
        ones take the places of those that do not help.
        """
        missing = [
            (i, j)
            for i, item in enumerate(items)
            for j, one in enumerate(item.documents[: self.documents])
            if getattr(one, shorter) is None
        ]
        prompts = [message(shortening(items[i], items[i].documents[j], shorter), self._chat) for i, j in missing]
        self._check_lengths(prompts, SHORT)
        made = self.model.generate(prompts, Sampling(max_tokens=SHORT)) if prompts else []
        texts = {place: one.text.strip() for place, one in zip(missing, made, strict=True)}
        return [
            [
                replace(one, **{shorter: texts[i, j]}) if (i, j) in texts else one
                for j, one in enumerate(item.documents)
                if (i, j) in texts or getattr(one, shorter) is not None
            ]
            for i, item in enumerate(items)
        ]

    @property
    def _chat(self) -> bool:
        return self.style.style == "chat"

    @property
    def longest(self) -> int:
        """Tokens of an answer: :data:`LONGEST`, or a quarter of the model's context where that is less."""
        length = self.model.card.context_length
        return LONGEST if length is None else min(LONGEST, length // 4)

    def _generated(self, prompts: Sequence[str], sampling: Sampling) -> list[str]:
        asked = [message(prompt, self._chat) for prompt in prompts]
        self._check_lengths(asked, sampling.max_tokens)
        # a conversation may begin its answer on a new line; text to go on with ends at its first line
        stop = () if self._chat else ("\n",)
        found = self.model.generate(asked, replace(sampling, stop=stop))
        if any(one.finish_reason == "error" for one in found):
            raise ModelError(f"alce: model {self.model.card.name!r} failed to answer a question")
        return [one.text for one in found]

    def _check_lengths(self, prompts: Sequence[Prompt], answer: int) -> None:
        """Refuse prompts whose beginning would be cut off."""
        length = self.model.card.context_length
        if length is None or not isinstance(self.model, OpenWeights):
            return
        for prompt in prompts:
            tokens = len(encode_prompt(self.model.tokenizer, prompt, self.model.card.name))
            if tokens + answer > length:
                raise InputError(
                    f"alce: a prompt of {tokens} tokens and an answer of {answer} do not fit the context of "
                    f"{self.model.card.name}, {length} tokens; show fewer documents, or way=snippet"
                )

    def _in_steps(
        self, prompts: Sequence[str], documents: Sequence[Sequence[Source]], sampling: Sampling
    ) -> list[str]:
        """Answers written part by part; all questions take a step together.

        A step is one line: ``Check`` or ``Search`` opens documents, whose full texts are shown for the next step
        alone, which then writes ``Output``; anything else but an output ends the answer.
        """
        so_far = [f"{prompt}\n" for prompt in prompts]
        opened = [""] * len(prompts)
        parts: list[list[str]] = [[] for _ in prompts]
        active = list(range(len(prompts)))
        choose = self._checked if self.way == "interact" else self._searched
        for _ in range(TURNS):
            lines = self._generated([so_far[i] + opened[i] for i in active], sampling)
            going = []
            for i, written in zip(active, lines, strict=True):
                line = first_line(written)
                step = f"Output: {line}" if opened[i] else line
                so_far[i] += f"{step}\n"
                opened[i] = ""
                kind = step.lower()
                if kind.startswith(("check", "search")):
                    opened[i] = self._texts(documents[i], choose(step, documents[i])) + "Output:"
                elif kind.startswith("output"):
                    parts[i].append(_OUTPUT.sub("", step).strip())
                else:
                    continue
                going.append(i)
            active = going
            if not active:
                break
        return [" ".join(each).rstrip().rstrip(",").removesuffix("End.").rstrip() for each in parts]

    def _texts(self, documents: Sequence[Source], numbers: Sequence[int]) -> str:
        return "".join(document_text(self.prompt, n, documents[n].title, documents[n].text) for n in numbers)

    def _checked(self, step: str, documents: Sequence[Source]) -> list[int]:
        numbers = [int(number) - 1 for number in MARK.findall(step)]
        return [number for number in numbers if 0 <= number < len(documents)][:OPENED]

    def _searched(self, step: str, documents: Sequence[Source]) -> list[int]:
        query = _QUERY.sub("", step)
        return [self.search([query], documents)[0]] if documents and query else []


def first_line(text: str) -> str:
    r"""An answer as it is scored: its first line, without white space around.

    >>> first_line(" One [1]. Two [2].\nQuestion: another")
    'One [1]. Two [2].'
    """
    return text.strip().split("\n")[0].replace("<|im_end|>", "").strip()


def best_of(
    respondent: Respondent,
    items: Sequence[Item],
    samplings: Sequence[Sampling],
    recall: Callable[[Sequence[Answered]], list[float]],
) -> list[Answered]:
    """Of one answer drawn by each sampling, the first with the highest citation recall, for each question."""
    drawn = [respondent.answers(items, sampling) for sampling in samplings]
    best = np.array([recall(answers) for answers in drawn]).argmax(axis=0)
    return [drawn[int(draw)][item] for item, draw in enumerate(best)]


def _irrelevant(one: Source, shorter: Shorter) -> bool:
    return "irrelevant" in str(getattr(one, shorter)).lower()
