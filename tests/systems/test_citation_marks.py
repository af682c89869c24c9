"""Marks in answers: where they were, what they said, and streams that show the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.systems.citation_marks import Mark, MarkFilter, without_marks


@pytest.mark.parametrize(
    ("text", "expected", "marks"),
    [
        ("Paris [2].", "Paris.", [Mark(5, (2,))]),
        ("Paris. [1] [3] It is old [2, 4]!", "Paris. It is old!", [Mark(6, (1, 3)), Mark(16, (2, 4))]),
        ("[1] Paris", " Paris", [Mark(0, (1,))]),
        ("[99]", "", [Mark(0, (99,))]),
        ("In [1999] or [0] or [a] or [123].", "In [1999] or [0] or [a] or [123].", []),
        ("", "", []),
    ],
)
def test_marks_are_taken_out(text: str, expected: str, marks: list[Mark]) -> None:
    assert without_marks(text) == (expected, tuple(marks))


@given(
    st.lists(st.sampled_from(["[1]", "[", "]", "2", ", ", " ", "\n", "wing", "[12", "3]", ".", "é"])), st.data()
)
def test_a_stream_shows_what_the_whole_gives(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    unmarked = MarkFilter()
    shown = "".join(unmarked.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert shown + unmarked.end() == without_marks(text).text
