from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from steelyard.contracts import Interval, OpenWeights
from steelyard.errors import CapabilityError, InputError, UsageError
from steelyard.evaluation.benchmarks.language_ranker import (
    derangement,
    language_ranker,
    last_states,
    rank_correlation,
    read_parallel,
    spaced_layers,
)
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel

FILE = Path(__file__).parents[1] / "fixtures" / "parallel.tsv"


@pytest.fixture
def model(tiny_folder: Path) -> OpenWeights:
    return cast(OpenWeights, load_model(str(tiny_folder)))


def test_scores_recompute_from_raw_hidden_states(model: OpenWeights) -> None:
    parallel = read_parallel(FILE)
    found = language_ranker(model, parallel, layers=[1, 3])
    for language, texts in parallel.items():
        cosines = []
        for mine, english in zip(texts, parallel["en"], strict=True):
            a, b = (states[:, -1] for states in model.hidden([mine, english], [1, 3]))
            cosines += [float(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in zip(a, b, strict=True)]
        assert found.values[language].value == pytest.approx(np.mean(cosines), abs=1e-5)


def test_english_with_itself_scores_one_and_its_shuffled_pairs_less(model: OpenWeights) -> None:
    found = language_ranker(model, data=str(FILE), layers=[2, 4])
    assert found.values["en"].value == pytest.approx(1, abs=1e-6)
    (first, *others) = found.tables[0].rows
    assert first[:2] == (1, "en")
    assert first[3] < 1
    gap = first[4]
    assert isinstance(gap, Interval)
    assert gap.value == pytest.approx(1 - float(first[3]), abs=1e-6)
    assert [row[0] for row in others] == [2, 3, 4]
    values = [row[2].value for row in found.tables[0].rows if isinstance(row[2], Interval)]
    assert values == sorted(values, reverse=True)


def test_the_last_token_is_read(model: OpenWeights) -> None:
    whole = model.hidden(["a cat sat"], [4])[0]
    np.testing.assert_allclose(last_states(model, ["a cat sat"], [4])[0, 0], whole[0, -1], atol=1e-6)
    assert spaced_layers(model) == [1, 2, 3, 4]


def test_every_sentence_gets_another_one() -> None:
    for count in (2, 3, 10, 101):
        other = derangement(count, seed=count)
        assert other is not None
        assert sorted(other.tolist()) == list(range(count))
        assert (other != np.arange(count)).all()
    assert derangement(1, 0) is None


def test_the_ranking_is_correlated_with_a_reference(model: OpenWeights, tmp_path: Path) -> None:
    scores = {name: Interval(value, value, value, 5) for name, value in zip("abcdefe", range(7), strict=True)}
    assert rank_correlation(scores, {"a": 1, "b": 3, "c": 5, "d": 9}, "en").value == pytest.approx(1)
    assert rank_correlation(scores, {"a": 9, "b": 5, "c": 3, "d": 1}, "en").value == pytest.approx(-1)
    (tmp_path / "shares.tsv").write_text("de\t3\nfr\t2\n")
    with pytest.raises(UsageError, match="shares 2 languages"):
        language_ranker(model, data=str(FILE), reference=str(tmp_path / "shares.tsv"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("en\tde\nGood day.\n", ":2: needs a sentence"),
        ("en\tde\nGood day.\t \n", ":2: needs a sentence"),
        ("", "is empty"),
        ("en\tde\n", "must be parallel"),
        ("fr\tde\nBonjour.\tGuten Tag.\n", "no sentences in the target 'en'"),
    ],
)
def test_broken_tables_are_refused(model: OpenWeights, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "table.tsv").write_text(text)
    with pytest.raises((InputError, UsageError), match=problem):
        language_ranker(model, data=str(tmp_path / "table.tsv"))


def test_a_model_without_hidden_states_is_refused() -> None:
    with pytest.raises(CapabilityError, match="'hidden'"):
        language_ranker(ScriptedModel(), data=str(FILE))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no sentences"):
        language_ranker(ScriptedModel())  # type: ignore[arg-type]
