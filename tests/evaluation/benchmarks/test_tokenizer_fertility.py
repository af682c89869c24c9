from __future__ import annotations

import doctest
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from steelyard.contracts import ModelCard
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.exams import tokenizer_fertility as module
from steelyard.evaluation.benchmarks.exams.tokenizer_fertility import cuts, tokenizer_fertility, words_of


@dataclass
class Cutter:
    """Cuts a text into pieces of a fixed number of characters."""

    size: int

    @property
    def card(self) -> ModelCard:
        return ModelCard(f"cut-{self.size}", fingerprint=str(self.size))

    def tokenizer(self, text: str, add_special_tokens: bool) -> dict[str, Any]:
        assert not add_special_tokens
        return {"input_ids": [text[i : i + self.size] for i in range(0, len(text), self.size)]}


def test_examples_in_the_text() -> None:
    assert doctest.testmod(module).failed == 0


def test_words() -> None:
    assert words_of("臺灣, the sun's 3 rays — ภาษา") == ["臺", "灣", "the", "sun's", "3", "rays", *"ภาษา"]


def test_counts_by_hand() -> None:
    # Pieces of three: "two" is one token, "words" two, "臺" one; the text of 11 characters becomes four.
    found = cuts("two words 臺", lambda text: -(-len(text) // 3))
    assert found == (4, 3, 1, 4, 11, 13)


def test_fertility_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("ab abcd\n\nabcdef a\n", encoding="utf-8")
    found = tokenizer_fertility([Cutter(2)], texts=str(file)).values  # type: ignore[list-item]
    assert found["fertility"].value == pytest.approx((1 + 2 + 3 + 1) / 4)
    assert found["continued words"].value == pytest.approx(2 / 4)
    assert found["characters per token"].value == pytest.approx((7 + 8) / (4 + 4))


def test_correlations_with_scores(tmp_path: Path) -> None:
    file, scores = tmp_path / "lines.txt", tmp_path / "scores.json"
    file.write_text("some longer words here\nand there\n", encoding="utf-8")
    models: list[Any] = [Cutter(1), Cutter(2), Cutter(3), Cutter(5)]
    known = [0.2, 0.5, 0.4, 0.9]
    scores.write_text(json.dumps({m.card.name: s for m, s in zip(models, known, strict=True)}), encoding="utf-8")
    found = tokenizer_fertility(models, texts=str(file), scores=str(scores))
    fertility = [row[1].value for row in found.tables[0].rows]  # type: ignore[union-attr]
    expected = stats.pearsonr(fertility, known)
    assert found.values["correlation of fertility and score"].value == pytest.approx(expected.statistic)
    assert found.tables[1].rows[0][2:4] == pytest.approx(
        (stats.spearmanr(fertility, known).statistic, expected.pvalue)
    )


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    file, scores = tmp_path / "lines.txt", tmp_path / "scores.json"
    file.write_text("... !\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no words"):
        tokenizer_fertility([Cutter(1)], texts=str(file))  # type: ignore[list-item]
    file.write_text("word\n", encoding="utf-8")
    with pytest.raises(UsageError, match="three models or more, not 1"):
        tokenizer_fertility([Cutter(1)], texts=str(file), scores=str(scores))  # type: ignore[list-item]
    scores.write_text("{}", encoding="utf-8")
    models: Any = [Cutter(1), Cutter(2), Cutter(3)]
    with pytest.raises(InputError, match="no score for the model 'cut-1'"):
        tokenizer_fertility(models, texts=str(file), scores=str(scores))
