"""Language-aware scores: copies and empty answers are worth nothing, others what they were."""

from __future__ import annotations

import pytest

from steelyard.evaluation.benchmarks.language_aware import language_aware

SOURCE = "The old man lives in a small house near the river and reads every evening."
GERMAN = "Der alte Mann wohnt in einem kleinen Haus am Fluss und liest jeden Abend."


def test_copied_source_and_empty_output_score_nothing_and_the_rest_is_unchanged() -> None:
    identifier = pytest.importorskip("py3langid", reason="steelyard[data] is not installed")

    def identify(text: str) -> str:
        return str(identifier.classify(text)[0])

    found = language_aware([0.71, 0.83, 0.64, 0.5], [SOURCE, GERMAN, "", " \n"], "de", identify)
    assert found == [0.0, 0.83, 0.0, 0.0]


def test_empty_texts_are_not_identified() -> None:
    asked: list[str] = []
    language_aware([1.0, 1.0], ["", "ja"], "de", lambda text: asked.append(text) or "de")  # type: ignore[func-returns-value]
    assert asked == ["ja"]
    with pytest.raises(ValueError):
        language_aware([1.0], [], "de", str)
