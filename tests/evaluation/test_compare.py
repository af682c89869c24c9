from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Marks, Result
from steelyard.errors import UsageError
from steelyard.evaluation.compare import compare
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.significance import mcnemar_exact, permutation_test


def results(values: Any, metric: str = "accuracy", sizes: Any = None, weights: Any = None) -> list[Result]:
    return [
        Result(
            f"s{i}",
            Marks({metric: float(value)}, weights={} if sizes is None else {metric: float(sizes[i])}),
            weight=1.0 if weights is None else weights[i],
        )
        for i, value in enumerate(values)
    ]


def test_a_clear_difference() -> None:
    a, b = [1] * 18 + [0] * 2, [0] * 10 + [1] * 8 + [0] * 2
    found = compare(results(a), results(b), "accuracy", names=("big", "small"))
    assert found.test == "exact McNemar"
    assert found.p_value == mcnemar_exact(a, b)
    assert found.different
    assert found.difference.value == 0.5
    assert (found.first.value, found.second.value) == (0.9, 0.4)
    assert found.verdict.startswith("big is better than small (accuracy +0.5000 [")
    other = compare(results(b), results(a), "accuracy", names=("small", "big"))
    assert other.verdict.startswith("big is better than small (accuracy -0.5000 [")


def test_no_claim_without_support() -> None:
    found = compare(results([1, 1, 1, 1]), results([0, 0, 1, 1]), "accuracy", names=("big", "small"))
    assert found.difference.value == 0.5
    assert not found.different
    assert found.verdict.startswith("No difference between big and small is shown")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_verdict_never_goes_beyond_the_test(pairs: list[tuple[bool, bool]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = compare(results(a), results(b), "accuracy")
    assert ("better" in found.verdict) == (mcnemar_exact(a, b) <= 0.05)
    assert found.difference.low <= found.difference.value <= found.difference.high
    if found.different:
        assert found.difference.value != 0


def test_bits_per_byte_is_compared_by_length_and_lower_is_better() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 400, 30)
    bits = rng.normal(1.2, 0.1, 30)
    better = bits - rng.normal(0.05, 0.03, 30)
    found = compare(
        results(better, "bits_per_byte", sizes), results(bits, "bits_per_byte", sizes), "bits_per_byte",
        names=("new", "old"),
    )  # fmt: skip
    assert found.test == "sign-flip permutation"
    assert found.difference.value == pytest.approx(float(((better - bits) * sizes).sum() / sizes.sum()))
    assert found.difference.value == pytest.approx(found.first.value - found.second.value)
    assert found.verdict.startswith("new is better than old (bits_per_byte -0.0")


def test_weights_lead_to_the_permutation_test() -> None:
    a, b, weights = [1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 0, 0], [1.0, 2.0, 3.0, 1.0, 1.0, 4.0]
    found = compare(results(a, weights=weights), results(b, weights=weights), "accuracy")
    assert found.test == "sign-flip permutation"
    assert found.p_value == permutation_test((np.array(a) - np.array(b)) * np.array(weights))
    assert found.difference.value == pytest.approx((1 + 2 - 1 + 1 + 4) / 12)


def test_only_shared_samples_count() -> None:
    found = compare(results([1, 1, 0, 0]), results([1, 0, 0, 0, 1, 1])[1:], "accuracy")
    assert (found.n, found.only_first, found.only_second) == (3, 1, 2)
    assert found.difference.value == pytest.approx(1 / 3)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="no sample in common"):
        compare(results([1]), results([1, 0])[1:], "accuracy")
    with pytest.raises(UsageError, match="no common sample has the metric 'f1'; there are accuracy"):
        compare(results([1]), results([1]), "f1")
    with pytest.raises(UsageError, match="say which metric"):
        compare(results([1]), results([1]))
    with pytest.raises(UsageError, match="alpha"):
        compare(results([1]), results([1]), "accuracy", alpha=0)
    with pytest.raises(UsageError, match="sample 's0' differs between the two"):
        compare(results([1], "b", [3]), results([1], "b", [4]), "b")


def test_evaluations_bring_metric_names_and_task(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    task = make_task(mixed_rows)
    one = evaluate(table_model({"grass": "green"}, name="one"), task)
    two = evaluate(table_model({}, name="two"), task)
    found = compare(one, two)
    assert found.metric == "accuracy"
    assert "one and two" in found.verdict
    assert "one (first) and one (second)" in compare(one, one).verdict
    assert compare(one, one).p_value == 1
    other = evaluate(table_model({}), make_task(mixed_rows[:3], name="other"))
    with pytest.raises(UsageError, match="'task' and 'other' are different tasks"):
        compare(one, other)


def test_pairs_are_counted_and_the_detectable_difference_follows_from_their_spread() -> None:
    a, b = [1] * 18 + [0] * 2, [0] * 10 + [1] * 8 + [0, 1]
    found = compare(results(a), results(b), "accuracy")
    assert found.counts == (8, 10, 1, 1)
    spread = float(np.std(np.array(a) - np.array(b), ddof=1))
    assert found.sd == pytest.approx(spread)
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * spread / 20**0.5, rel=1e-6)
    same = compare(results(a), results(a), "accuracy")
    assert (same.sd, same.detectable) == (None, None)
    assert compare(results([0.5, 0.2]), results([0.1, 0.9]), "accuracy").counts is None


def test_a_detectable_difference_is_found_as_often_as_its_power_says() -> None:
    rng = np.random.default_rng(3)
    shown = 0
    for _ in range(30):
        noise = rng.normal(0, 1.0, 80)
        found = compare(results(np.zeros(80)), results(noise), "accuracy")
        assert found.detectable is not None
        shifted = compare(results(np.zeros(80)), results(noise - found.detectable), "accuracy")
        shown += shifted.different
    assert 18 <= shown <= 29  # 24 in expectation


def test_groups_are_compared_and_corrected_together() -> None:
    a, b = [1] * 12 + [1, 0] * 6, [0] * 12 + [0, 1] * 6
    one, two = results(a), results(b)
    split = [replace(r, group="easy" if i < 12 else "hard") for i, r in enumerate(one)]
    other = [replace(r, group="easy" if i < 12 else "hard") for i, r in enumerate(two)]
    easy, hard = compare(split, other, "accuracy").groups
    assert (easy.group, easy.difference.value, easy.difference.n) == ("easy", 1.0, 12)
    assert easy.p_value == pytest.approx(2 * mcnemar_exact([1] * 12, [0] * 12))
    assert (hard.difference.value, hard.p_value) == (0.0, 1.0)
    assert compare(one, two, "accuracy").groups == ()
