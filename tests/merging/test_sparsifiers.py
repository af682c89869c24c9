from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import UsageError
from steelyard.merging.dare import dare
from steelyard.merging.della import della
from steelyard.merging.sparsifiers import (
    drawn,
    generator_of,
    largest,
    masked,
    rank_probabilities,
    without_outliers,
)

VALUES = st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=30)
SHARES = st.floats(0.01, 1.0)


@given(VALUES, SHARES, st.floats(0, 0.9))
def test_what_stays_lies_between_what_went(values: list[float], density: float, outliers: float) -> None:
    vector = torch.tensor(values)
    mask = without_outliers(vector, density, outliers)
    kept = max(1, int(density * len(values))) if density < 1 else len(values)
    assert int(mask.sum()) == kept
    order = sorted((abs(value) for value in vector.tolist()), reverse=True)
    gone = min(int(outliers * len(values)), len(values) - kept)
    assert sorted(vector[mask].abs().tolist(), reverse=True) == order[gone : gone + kept]


def test_the_largest_of_equals_are_the_first() -> None:
    assert largest(torch.ones(2, 2), 0.5).tolist() == [[True, True], [False, False]]
    assert largest(torch.ones(3), 0.01).sum() == 1  # never nothing


@given(VALUES, st.floats(0.2, 0.8), st.floats(0.0, 0.19))
def test_probabilities_grow_with_magnitude_and_average_to_the_density(
    values: list[float], density: float, epsilon: float
) -> None:
    vector = torch.tensor([values, values], dtype=torch.float64)
    found = rank_probabilities(vector, density, epsilon)
    assert found.shape == vector.shape
    assert float(found[0].mean()) == pytest.approx(density)
    places = vector[1].abs().argsort(stable=True)
    assert (found[1][places].diff() >= 0).all()
    if len(values) > 1:
        assert float(found[0].min()) == pytest.approx(density - epsilon)
        assert float(found[0].max()) == pytest.approx(density + epsilon)


def test_probabilities_outside_their_range_are_refused() -> None:
    with pytest.raises(UsageError, match="lower epsilon"):
        rank_probabilities(torch.ones(3), 0.1, 0.2)


def test_rescaling() -> None:
    vector, mask = torch.tensor([1.0, -2.0, 4.0]), torch.tensor([True, False, True])
    assert masked(vector, mask).tolist() == [1.0, 0.0, 4.0]
    assert masked(vector, mask, "expectation", 0.5).tolist() == [2.0, 0.0, 8.0]
    assert masked(vector, mask, "norm").abs().sum() == pytest.approx(7.0)
    assert masked(torch.zeros(3), mask, "norm").tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("method", [dare, della])
def test_drawing_keeps_the_expectation(method: object) -> None:
    """The mean over many seeds is the whole change: within five standard errors of every entry."""
    vector = torch.linspace(-2, 3, 12).reshape(2, 6)
    draws = torch.stack(
        [method([vector], torch.zeros(2, 6), "w", density=0.5, consensus="none", normalise=False, seed=seed)
         for seed in range(600)]  # type: ignore[operator]
    )  # fmt: skip
    error = draws.std(0) / 600**0.5
    assert ((draws.mean(0) - vector).abs() <= 5 * error + 1e-6).all()
    assert draws.std(0).min() > 0


def test_della_drops_small_changes_more_often() -> None:
    vector = torch.arange(1.0, 9.0)
    kept = torch.stack(
        [drawn(rank_probabilities(vector, 0.5, 0.4), generator_of(seed, "w")) for seed in range(400)]
    ).float()
    assert kept.mean(0)[0] < 0.2
    assert kept.mean(0)[-1] > 0.8


def test_random_numbers_depend_on_seed_and_name_alone() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(3, generator=generator_of(seed, name)).tolist()

    assert draw(1, "a") == draw(1, "a")
    assert draw(1, "a") != draw(1, "b")
    assert draw(1, "a") != draw(2, "a")
