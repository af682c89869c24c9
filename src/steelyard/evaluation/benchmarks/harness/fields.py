"""From a document to its text, target and choices, by the rules of lm-evaluation-harness.

A value that names a field of the documents is that field; otherwise it is a template. A text or target of digits
only is a number where the task has choices, and a target that spells a list is that list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from steelyard.errors import InputError
from steelyard.evaluation.benchmarks.harness.config import HarnessConfig
from steelyard.evaluation.benchmarks.harness.templates import literal, render

Target: TypeAlias = str | int | list[Any]


@dataclass(frozen=True, slots=True)
class Fields:
    """How documents are read: the keys of a configuration that describe them.

    ``features`` are the names of the documents' fields.
    """

    text: str | int
    target: str | int | list[str]
    choice: str | list[str] | dict[str, str] | None
    prefix: str | None
    features: frozenset[str]

    @classmethod
    def of(cls, config: HarnessConfig, features: frozenset[str]) -> Fields:
        """Those of the documents that are measured."""
        return cls(config.doc_to_text, config.doc_to_target, config.doc_to_choice, config.gen_prefix, features)

    @classmethod
    def of_examples(cls, config: HarnessConfig, features: frozenset[str]) -> Fields:
        """Those of solved examples: ``fewshot_config`` first."""
        own = config.fewshot_config
        return cls(
            config.doc_to_text if own.doc_to_text is None else own.doc_to_text,
            config.doc_to_target if own.doc_to_target is None else own.doc_to_target,
            config.doc_to_choice if own.doc_to_choice is None else own.doc_to_choice,
            config.gen_prefix if own.gen_prefix is None else own.gen_prefix,
            features,
        )


def text_of(fields: Fields, document: Mapping[str, Any]) -> str | int:
    """The question; a number where the choices are the questions."""
    if isinstance(fields.text, int):
        return fields.text
    if fields.text in fields.features:
        found = document[fields.text]
        return found if isinstance(found, int) and not isinstance(found, bool) else str(found)
    text = render(fields.text, document, "doc_to_text")
    return int(text) if text.isdecimal() and fields.choice is not None else text


def target_of(fields: Fields, document: Mapping[str, Any]) -> Target:
    """The answer: a text, the number of a choice, or several of either.

    Raises:
        InputError: The field holds neither text, number nor list.
    """
    target = fields.target
    if not isinstance(target, str):
        return target
    if target in fields.features:
        found = document[target]
        if isinstance(found, bool):
            return int(found)
        if not isinstance(found, str | int | list):
            raise InputError(
                f"doc_to_target: the field {target!r} holds {type(found).__name__}, not text or a number"
            )
        return found
    text = render(target, document, "doc_to_target")
    if text.isdecimal() and fields.choice is not None:
        return int(text)
    if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
        try:
            found = literal(text, "doc_to_target")
        except InputError:
            return text
        return found if isinstance(found, list) else text
    return text


def choices_of(fields: Fields, document: Mapping[str, Any]) -> list[str]:
    """The choices.

    Raises:
        InputError: They are not a list of texts.
    """
    choice = fields.choice
    if isinstance(choice, dict):
        found: Any = list(choice.values())
    elif isinstance(choice, str):
        found = document[choice] if choice in fields.features else None
        if found is None:
            found = literal(render(choice, document, "doc_to_choice"), "doc_to_choice")
    else:
        found = choice
    if (
        not isinstance(found, Sequence)
        or isinstance(found, str)
        or not all(isinstance(c, str) and c for c in found)
    ):
        raise InputError(f"doc_to_choice: {found!r:.80} is not a list of texts")
    return list(found)


def field_or_template(value: str, document: Mapping[str, Any], key: str) -> str:
    """A field's content where ``value`` names one, else the filled-in template; empty stays empty."""
    if not value:
        return ""
    return str(document[value]) if value in document else render(value, document, key)
