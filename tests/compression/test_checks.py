from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.compression.checks import compare_bits, text_windows, window_bits
from steelyard.errors import InputError
from steelyard.models.scripted import ScriptedModel


def test_bits_are_logprobs_in_base_two_over_utf8_bytes() -> None:
    model = ScriptedModel(scores=lambda _context, text: -math.log(2) * 3 * len(text))
    bits = window_bits(model, ["abcd", "äö"])
    assert bits.tolist() == [[pytest.approx(12.0), 4.0], [pytest.approx(6.0), 4.0]]


def test_the_paired_difference_is_narrower_than_its_sides() -> None:
    """Windows differ a lot, the compression costs each about the same: only pairing shows that."""
    random = np.random.default_rng(0)
    bytes_ = np.full(40, 100.0)
    before = np.stack([random.uniform(50, 150, 40), bytes_], 1)
    after = before + np.stack([random.uniform(4, 6, 40), np.zeros(40)], 1)
    first, second, difference = compare_bits(before, after)
    assert difference.value == pytest.approx(second.value - first.value)
    assert difference.value == pytest.approx(0.05, abs=0.005)
    assert difference.low > 0.04
    assert difference.high - difference.low < 0.1 * (first.high - first.low)
    assert first.n == 40


def test_one_window_has_no_finite_interval() -> None:
    one = np.array([[3.0, 4.0]])
    assert compare_bits(one, one)[0] == (0.75, -math.inf, math.inf, 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab \n", max_size=60), min_size=1, max_size=5), st.integers(3, 20))
def test_windows_hold_every_word_once(texts: list[str], characters: int) -> None:
    words = [word for text in texts for word in text.split()]
    if not words:
        with pytest.raises(InputError, match="blank"):
            text_windows(texts, windows=10**6, characters=characters)
        return
    joined = "".join("".join(w.split()) for w in text_windows(texts, windows=10**6, characters=characters))
    assert joined == "".join(words)


def test_windows_are_drawn_by_seed_and_bounded() -> None:
    text = [" ".join(str(i) for i in range(2000))]
    first = text_windows(text, windows=5, characters=100, seed=1)
    assert first == text_windows(text, windows=5, characters=100, seed=1)
    assert first != text_windows(text, windows=5, characters=100, seed=2)
    assert len(first) == 5
    assert all(len(window) <= 150 for window in first)
