from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.compression.held_out import hold_back, text_windows
from steelyard.errors import InputError

TEXTS = st.lists(st.text(alphabet="ab \n", max_size=60), min_size=1, max_size=5)


def letters(texts: list[str]) -> str:
    return "".join("".join(text.split()) for text in texts)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(3, 20))
def test_windows_hold_every_word_once(texts: list[str], characters: int) -> None:
    if not letters(texts):
        with pytest.raises(InputError, match="blank"):
            text_windows(texts, windows=10**6, characters=characters)
        return
    assert letters(text_windows(texts, windows=10**6, characters=characters)) == letters(texts)


def test_windows_are_drawn_by_seed_and_bounded() -> None:
    text = [" ".join(str(i) for i in range(2000))]
    first = text_windows(text, windows=5, characters=100, seed=1)
    assert first == text_windows(text, windows=5, characters=100, seed=1)
    assert first != text_windows(text, windows=5, characters=100, seed=2)
    assert len(first) == 5
    assert all(len(window) <= 150 for window in first)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.floats(0.05, 0.9))
def test_what_is_held_back_is_the_end_and_nothing_is_lost(texts: list[str], share: float) -> None:
    kept, held = hold_back(texts, share=share, enough=10)
    assert letters([*kept, *held]) == letters(texts)
    assert letters(texts).endswith(letters(list(held)))


def test_a_tenth_is_held_back_at_the_end_of_a_line() -> None:
    text = "\n".join(f"line {number:04d}" for number in range(5000))
    kept, held = hold_back([text])
    assert 0.09 < len(held[0]) / len(text) < 0.11
    assert held[0].startswith("line ")
    assert len(kept) == 1


def test_short_texts_stay_whole() -> None:
    assert hold_back(["a few words"] * 3) == (["a few words"] * 3, [])
