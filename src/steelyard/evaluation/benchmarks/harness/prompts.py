"""Prompts by the rules of lm-evaluation-harness: description, solved examples, question, delimiters, samplers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from steelyard.contracts import Message, Role
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.harness.config import HarnessConfig
from steelyard.evaluation.benchmarks.harness.fields import (
    Fields,
    Target,
    choices_of,
    field_or_template,
    target_of,
    text_of,
)


class Turn(NamedTuple):
    """A message, and what follows it where the prompt is plain text."""

    role: Role
    content: str
    delimiter: str = ""


@dataclass(frozen=True)
class Prompter:
    """Writes the prompts of one task.

    Attributes:
        config: The task.
        fields: How measured documents are read.
        examples: How solved examples are read.
        pool: The documents that solved examples are drawn from.
    """

    config: HarnessConfig
    fields: Fields
    examples: Fields
    pool: Sequence[Mapping[str, Any]]

    def turns(self, document: Mapping[str, Any], shown: Sequence[int], instruction: str = "") -> list[list[Turn]]:
        """The conversation that asks a document, after the pool's documents ``shown``.

        One conversation; one a choice where the choices are the questions (``doc_to_text`` gives a number).
        """
        config = self.config
        head = field_or_template(config.description, document, "description")
        head = delimited(instruction, head, config.fewshot_delimiter)
        before = [Turn("system", head)] if head else []
        for number in shown:
            before += self._example(self.pool[number])
        question = text_of(self.fields, document)
        prefix = field_or_template(self.fields.prefix or "", document, "gen_prefix")
        if isinstance(question, int):
            choices = choices_of(self.fields, document)
            return [[*before, *qa_turns(choice, None, prefix, "", "")] for choice in choices]
        return [[*before, *qa_turns(question, None, prefix, config.target_delimiter, "")]]

    def _example(self, document: Mapping[str, Any]) -> list[Turn]:
        config, own = self.config, self.config.fewshot_config
        question, answer = text_of(self.examples, document), target_of(self.examples, document)
        if self.examples.choice is not None:
            choices = choices_of(self.examples, document)
            if isinstance(question, int):
                question = _chosen(choices, question)
            elif isinstance(answer, int):
                answer = _chosen(choices, answer)
        prefix = field_or_template(self.examples.prefix or "", document, "gen_prefix")
        target_delimiter = config.target_delimiter if own.target_delimiter is None else own.target_delimiter
        between = config.fewshot_delimiter if own.fewshot_delimiter is None else own.fewshot_delimiter
        return qa_turns(str(question), answer_text(answer), prefix, target_delimiter, between)


def _chosen(choices: Sequence[str], number: int) -> str:
    if not 0 <= number < len(choices):
        raise InputError(f"doc_to_target: a solved example names choice {number} of {len(choices)}")
    return choices[number]


def answer_text(answer: Target) -> str:
    """An answer as it is written in an example: the first of several."""
    return str((answer or [""])[0] if isinstance(answer, list) else answer)


def qa_turns(question: str, answer: str | None, prefix: str, target_delimiter: str, between: str) -> list[Turn]:
    r"""The turns of one question, with its answer where there is one.

    >>> as_text(qa_turns("Q: 1+1?\nA:", "2", "", " ", "\n\n"))
    'Q: 1+1?\nA: 2\n\n'
    """
    open_end = bool(question) and not (question[-1].isspace() or prefix[:1].isspace())
    if answer:
        delimiter = target_delimiter if not prefix or open_end else ""
        return [Turn("user", question, delimiter), Turn("assistant", delimited(prefix, answer, " "), between)]
    if prefix:
        return [Turn("user", question, target_delimiter if open_end else ""), Turn("assistant", prefix)]
    return [Turn("user", question)]


def delimited(first: str, second: str, delimiter: str) -> str:
    """The two texts, with the delimiter between them unless one is empty or white space is there already.

    >>> delimited("The answer is", "B", " ")
    'The answer is B'
    """
    if not first or not second or first[-1].isspace() or second[0].isspace():
        return first + second
    return first + delimiter + second


def as_text(turns: Sequence[Turn]) -> str:
    """A conversation as plain text."""
    return "".join(turn.content + turn.delimiter for turn in turns)


def as_messages(turns: Sequence[Turn]) -> list[Message]:
    """A conversation for a chat template, each example a turn of its own.

    Raises:
        UsageError: The answer has a prefix, which a chat template cannot begin.
    """
    if turns[-1].role == "assistant":
        raise UsageError("gen_prefix begins the answer, which chat style cannot; ask in plain style")
    return [Message(turn.role, turn.content) for turn in turns]


def draw_examples(
    documents: Sequence[Mapping[str, Any]],
    pool: Sequence[Mapping[str, Any]],
    shots: int,
    *,
    sampler: str,
    seed: int,
    same_split: bool,
) -> list[list[int]]:
    """For each document the numbers of the examples shown before it, as the harness draws them.

    ``default`` draws with one generator (Python's, seeded with ``seed``) for all documents in order, so the
    examples of a document depend on how many came before it; where examples come from the split that is measured,
    one more is drawn and the document itself passed over. ``first_n`` takes the first.

    Raises:
        UsageError: The pool is too small.

    >>> draw_examples([{"q": 1}], [{"q": 1}, {"q": 2}], 1, sampler="first_n", seed=0, same_split=True)
    [[1]]
    """
    if shots == 0:
        return [[] for _ in documents]
    generator = random.Random(seed)
    numbers = list(range(len(pool)))
    drawn = []
    for document in documents:
        others = [n for n in numbers if pool[n] != document] if same_split else numbers
        wanted = shots + same_split if sampler == "default" else shots
        if len(others) < shots or wanted > len(numbers):
            raise UsageError(
                f"{shots} examples were asked for, but there are {len(numbers)} documents to draw from"
            )
        if sampler == "first_n":
            drawn.append(others[:shots])
            continue
        picked = generator.sample(numbers, wanted)
        if same_split:
            picked = [n for n in picked if pool[n] != document][:shots]
        drawn.append(picked if len(picked) == shots else generator.sample(others, shots))
    return drawn
