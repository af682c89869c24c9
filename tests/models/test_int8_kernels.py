from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.models import int8_kernels
from steelyard.models.int8_kernels import (
    Kernel,
    can_pack,
    choose,
    digit_product,
    digits_of_rows,
    fastest,
    float_product,
    half_product,
    int8_product,
    pack_half,
    quantize_rows,
    rounded_rows,
)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 50), st.integers(0, 2**16))
def test_integer_product_is_exact(m: int, k: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-127, 128, (m, k), dtype=torch.int8, generator=generator)
    weight = torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=generator)
    assert torch.equal(int8_product(rows, weight).long(), rows.long() @ weight.long().T)


def test_a_kernel_that_saturates_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.full((2, 64), 127, dtype=torch.int8)
    monkeypatch.setattr(int8_kernels, "_kernel_is_exact", lambda: False)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: torch.zeros(len(a), b.shape[1], dtype=torch.int32))
    assert torch.equal(int8_product(rows, rows), torch.full((2, 2), 127 * 127 * 64, dtype=torch.int32))


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(0, 2**16))
def test_digits_write_the_value(digits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(6, 9, generator=generator) * 10.0 ** torch.randint(-5, 5, (6, 1), generator=generator)
    found, scale = digits_of_rows(values, digits)
    assert int(found.abs().max()) <= 127
    places = found.double().view(digits, 6, 9)
    written = sum(places[i] * 254.0 ** (digits - 1 - i) for i in range(digits)) * scale
    assert bool(((written - values).abs() <= 0.51 * scale + 1e-6 * values.abs().amax(1, keepdim=True)).all())


def test_rounding_error_is_at_most_half_a_step() -> None:
    values = torch.randn(20, 30) * torch.logspace(-6, 6, 20).unsqueeze(1)
    values[3] = 0
    integers, scale = quantize_rows(values)
    assert integers.dtype == torch.int8
    assert int(integers.abs().max()) == 127
    assert bool(((integers * scale - values).abs() <= 0.5001 * scale).all())
    assert bool((integers[3] == 0).all())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 90), st.integers(0, 2**16))
def test_all_kernels_compute_one_function(m: int, k: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(m, k, generator=generator)
    rows[:, 0] *= 300  # one large activation, as language models have them
    integers = torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=generator)
    exact = rows.double() @ integers.double().t()
    weights = integers.double().abs()
    bound = 1e-6 * rows.double().abs() @ weights.t() + 2e-7 * rows.abs().amax(1, keepdim=True) * weights.sum(1)
    found = [float_product(rows, integers), digit_product(rows, integers, 3)]
    if can_pack():
        found.append(half_product(rows, pack_half(integers)))
    for product in found:
        assert product.shape == (m, n)
        assert bool(((product - exact).abs() <= bound).all())


@pytest.mark.parametrize("rows", [1, 40])
def test_weights_larger_than_a_block_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(int8_kernels, "BLOCK_ELEMENTS", 100)
    integers = torch.randint(-127, 128, (33, 30), dtype=torch.int8)
    inputs = torch.randint(-9, 10, (rows, 30)).float()
    assert torch.equal(float_product(inputs, integers), inputs @ integers.float().t())


@pytest.mark.parametrize("digits", [1, 2])
def test_rounded_rows_are_what_the_digits_stand_for(digits: int) -> None:
    values = torch.randn(9, 50) * torch.logspace(-3, 3, 9).unsqueeze(1)
    integers = torch.randint(-127, 128, (20, 50), dtype=torch.int8)
    by_digits = digit_product(values, integers, digits)
    by_floats = float_product(rounded_rows(values, digits), integers)
    assert torch.allclose(by_digits, by_floats, rtol=1e-5, atol=1e-5 * float(by_digits.abs().max()))
    assert rounded_rows(values, 3) is values


class Clock:
    """Time that passes only when a kernel runs, for each kernel as told, run after run."""

    def __init__(self, seconds: dict[Kernel, list[float]]) -> None:
        self.now = 0.0
        self.runs = {kernel: 0 for kernel in seconds}
        self.seconds = seconds

    def __call__(self) -> float:
        return self.now

    def timers(self) -> dict[Kernel, Callable[[], object]]:
        def run(kernel: Kernel) -> None:
            times = self.seconds[kernel]
            self.now += times[min(self.runs[kernel], len(times) - 1)]
            self.runs[kernel] += 1

        return {kernel: lambda kernel=kernel: run(kernel) for kernel in self.seconds}


def test_the_kernel_whose_best_run_is_shortest_is_chosen() -> None:
    clock = Clock({"float": [9, 3, 3, 3], "integer": [5, 1, 5], "half": [2, 2, 2]})
    assert choose(clock.timers(), clock) == "integer"
    assert clock.runs["float"] - 1 == clock.runs["integer"] == clock.runs["half"]


def test_a_hopeless_kernel_is_not_run_again_and_again() -> None:
    clock = Clock({"float": [1], "integer": [9, 0.1]})
    assert choose(clock.timers(), clock) == "float"
    assert clock.runs["integer"] == 1 < clock.runs["float"]
    alone = Clock({"float": [1]})
    assert choose(alone.timers(), alone) == "float"
    assert alone.runs["float"] == 0


def test_what_is_chosen_here_is_something_that_runs_here() -> None:
    for packed in (False, True):
        choice = fastest("cpu", 3, packed)
        assert {choice.few, choice.many} <= ({"float", "integer", "half"} if packed else {"float", "integer"})
        assert fastest("cpu", 3, packed) is choice
