"""The answers of a system that has documents of its own, with its citations written as ALCE's marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steelyard.contracts import Generation, LanguageModel, PromptStyle, Sampling
from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.alce.records import Source
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.prompt_rendering import render, stop_strings


def own_answers(
    model: LanguageModel, style: PromptStyle, questions: Sequence[str], sampling: Sampling
) -> list[tuple[str, tuple[Source, ...]]]:
    """Answers with marks, each with the passages that the system was shown; the marks are their numbers.

    Raises:
        UsageError: The model has no documents of its own.
    """
    if not isinstance(model, GroundedModel):
        raise UsageError(f"alce: {model.card.name} has no documents of its own")
    shots = style.examples[: style.shots or None]
    prompts = [render(style, question, shots) for question in questions]
    return [
        (
            marked(answer.generation),
            tuple(Source(str(hit.metadata.get("title", hit.source)), hit.text) for hit in answer.passages),
        )
        for answer in model.answers(prompts, replace(sampling, stop=stop_strings(style)))
    ]


def marked(generation: Generation) -> str:
    """The text with the number of each citation behind the claim that it supports.

    >>> marked(Generation("At six. So.", citations=(Citation(2, "p", "a.md", 0, 3, "six", 0, 7),)))
    'At six.[2] So.'
    """
    places: dict[int, list[int]] = {}
    for citation in generation.citations:
        numbers = places.setdefault(citation.answer_end, [])
        if citation.marker not in numbers:
            numbers.append(citation.marker)
    text = generation.text
    for place, numbers in sorted(places.items(), reverse=True):
        text = text[:place] + "".join(f"[{number}]" for number in numbers) + text[place:]
    return text
