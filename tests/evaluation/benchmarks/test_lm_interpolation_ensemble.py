from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.words.lm_interpolation_ensemble import (
    lm_interpolation_ensemble,
    perplexity_drop,
)
from steelyard.evaluation.benchmarks.words.mixture_weights import fit_mixture, mix
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm

FIXTURES = Path(__file__).parents[1] / "fixtures"


def random_logprobs(models: int, words: int, seed: int) -> np.ndarray:
    return -np.random.default_rng(seed).gamma(2.0, 1.5, size=(models, words))


@settings(max_examples=25, deadline=None)
@given(models=st.integers(1, 5), words=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_likelihood_rises_to_scipy_s_optimum(models: int, words: int, seed: int) -> None:
    from scipy.optimize import minimize

    logprobs = random_logprobs(models, words, seed)
    found = fit_mixture(logprobs)
    assert (np.diff(found.loglikelihoods) >= -1e-12).all()
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights >= 0).all()
    best = minimize(
        lambda w: -mix(logprobs, np.maximum(w, 0)).mean(),
        np.full(models, 1 / models),
        method="SLSQP",
        bounds=[(1e-12, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.loglikelihoods[-1] == pytest.approx(-best.fun, abs=2e-6)
    assert found.loglikelihoods[-1] >= -best.fun - found.gap - 1e-9
    assert found.loglikelihoods[-1] >= logprobs.mean(axis=1).max() - found.gap


def test_a_model_may_rule_words_out_but_not_all_models_one() -> None:
    logprobs = np.log([[0.5, 0.5, 1e-3], [0.1, 0.1, 0.4]])
    logprobs[0, 2] = -np.inf
    found = fit_mixture(logprobs)
    assert 0 < found.weights[1] < 1
    assert np.isfinite(mix(logprobs, found.weights)).all()
    with pytest.raises(ValueError):
        fit_mixture(np.full((2, 1), -np.inf))


def test_a_duplicate_adds_nothing() -> None:
    logprobs = random_logprobs(2, 300, 1)
    two, three = (mix(rows, fit_mixture(rows).weights) for rows in (logprobs, logprobs[[0, 1, 1]]))
    drop = perplexity_drop(two, three, np.full(30, 10))
    assert abs(drop.value) < 1e-3
    assert abs(drop.low) < 1e-2


def test_drops_are_paired() -> None:
    noise = -np.random.default_rng(0).gamma(2.0, 1.5, size=1000)
    drop = perplexity_drop(noise - 0.02, noise, np.full(100, 10))
    assert drop.low > 0
    assert drop.value == pytest.approx(math.exp(-noise.mean()) * (math.exp(0.02) - 1))


@pytest.fixture(scope="module")
def members() -> list[Any]:
    lines = (FIXTURES / "sentences.txt").read_text().splitlines()
    return [
        generalized_skip_ngram_lm(lines[:90], order=2, backoff="left", fallback=True),
        generalized_skip_ngram_lm(lines[60:], order=3, fallback=True),
    ]


def texts() -> tuple[list[str], list[str]]:
    return tuple([(FIXTURES / f"sentences_{part}.txt").read_text()] for part in ("dev", "test"))  # type: ignore[return-value]


def test_members_are_mixed_and_their_files_shared(members: list[Any], tmp_path: Path) -> None:
    dev, test = texts()
    folder = str(tmp_path / "shared")
    found = lm_interpolation_ensemble(members, dev, test, unknown="class", folder=folder)
    assert sum(found.details["weights"].values()) == pytest.approx(1)
    assert len(list((tmp_path / "shared").glob("*.tsv"))) == 4
    again = lm_interpolation_ensemble([], folder=folder, unknown="class")
    assert again.values["mixture"].value == pytest.approx(found.values["mixture"].value, rel=1e-4)
    third = generalized_skip_ngram_lm(dev, order=1, fallback=True)
    joined = lm_interpolation_ensemble([third], dev, test, unknown="class", folder=folder)
    assert len(joined.tables[0].rows) == 3
    assert joined.tables[0].rows[0][4] is None
    assert joined.tables[0].rows[-1][0] == third.card.name


def test_on_dev_the_mixture_is_never_worse_than_its_best_member(members: list[Any]) -> None:
    dev, _ = texts()
    found = lm_interpolation_ensemble(members, dev, dev, unknown="class")
    assert found.values["mixture"].value <= found.values["best_member"].value + 1e-3


def test_words_unknown_to_all_are_refused_with_the_remedy(members: list[Any]) -> None:
    with pytest.raises(InputError, match="unknown=class"):
        lm_interpolation_ensemble(members, ["the xyzzy sees a cat"], ["the cat"])


def test_what_is_missing_is_said(members: list[Any]) -> None:
    with pytest.raises(UsageError, match="both texts"):
        lm_interpolation_ensemble(members, ["a"])
    with pytest.raises(UsageError, match="no models"):
        lm_interpolation_ensemble([])
    with pytest.raises(InputError, match=r"absent\.txt"):
        lm_interpolation_ensemble(members, dev_data="absent.txt", test_data="absent.txt")
