"""Chunks follow structure, keep offsets and ids, and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import UsageError
from steelyard.retrieval.chunking import ChunkSize, chunks, count_words, split
from steelyard.retrieval.documents.document import Document, Extract, Mark
from steelyard.retrieval.documents.plain import markdown_headings

TEXTS = st.lists(
    st.sampled_from(
        ["word", "Sentence one. ", "Ende! ", "\n\n", "\n", " ", "翼型很好。", "x" * 60, "# H\n", "\t", "é"]
    )
).map("".join)
SIZES = (
    st.tuples(st.integers(1, 12), st.integers(0, 11)).filter(lambda s: s[1] < s[0]).map(lambda s: ChunkSize(*s))
)


def marked(text: str, cut: int) -> Extract:
    marks = (
        (Mark(0, cut, {"line": 1}, True), Mark(cut, len(text), {"line": 2}, True)) if 0 < cut < len(text) else ()
    )
    return Extract(text, tuple(markdown_headings(text)), marks)


@settings(max_examples=200, deadline=None)
@given(TEXTS, SIZES, st.integers(0, 50))
def test_chunks_cover_the_text_within_the_budget(text: str, size: ChunkSize, cut: int) -> None:
    extract = marked(text, cut)
    spans = split(extract, size)
    covered = [0] * len(text)
    for start, end in spans:
        assert 0 <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert count_words([text[start:end]])[0] <= size.tokens
        if extract.marks:
            assert end <= cut or start >= cut
        for i in range(start, end):
            covered[i] += 1
    assert all(n or c.isspace() for n, c in zip(covered, text, strict=True))
    if not size.overlap:
        assert max(covered, default=0) <= 1
    assert [s.start for s in spans] == sorted({s.start for s in spans})
    assert [s.end for s in spans] == sorted({s.end for s in spans})


@settings(max_examples=100, deadline=None)
@given(TEXTS, SIZES)
def test_ids_are_unique_and_texts_are_those_at_the_offsets(text: str, size: ChunkSize) -> None:
    found = chunks(Document("a.md", "", marked(text, 0)), size)
    assert len({c.id for c in found}) == len(found)
    assert all(c.text == text[c.start : c.end] for c in found)


def test_sections_records_and_pages_reach_the_metadata() -> None:
    text = "# Wings\n\n## Lift\n\nIt rises.\n\n## Drag\n\nIt slows."
    extract = Extract(text, tuple(markdown_headings(text)), (Mark(0, 20, {"page": 1}), Mark(20, 50, {"page": 2})))
    found = chunks(Document("a.md", "", extract))
    assert [c.text for c in found] == ["# Wings\n\n## Lift\n\nIt rises.", "## Drag\n\nIt slows."]
    assert [c.metadata for c in found] == [{"page": 1, "section": "Wings"}, {"page": 2, "section": "Wings > Drag"}]


def test_overlap_repeats_whole_sentences() -> None:
    text = "One two. Three four. Five six. Seven eight."
    assert [text[s:e] for s, e in split(Extract(text), ChunkSize(4, 2))] == [
        "One two. Three four.",
        "Three four. Five six.",
        "Five six. Seven eight.",
    ]


def test_an_id_stays_when_something_else_changes() -> None:
    def ids(text: str, name: str = "a.md") -> set[str]:
        return {c.id for c in chunks(Document(name, "", Extract(text, tuple(markdown_headings(text)))))}

    before = ids("# A\n\nfirst\n\n# B\n\nsecond")
    assert len(before & ids("# A\n\nfirst, changed\n\n# B\n\nsecond")) == 1
    assert not before & ids("# A\n\nfirst\n\n# B\n\nsecond", "b.md")


def test_a_given_tokenizer_counts() -> None:
    text = "abcdef ghi"
    spans = split(Extract(text), ChunkSize(2, 0), lambda texts: [len(t) for t in texts])
    assert all(end - start <= 2 for start, end in spans)


def test_impossible_sizes_are_refused() -> None:
    for size in (ChunkSize(0, 0), ChunkSize(5, 5), ChunkSize(5, -1)):
        with pytest.raises(UsageError, match="budget must be positive"):
            split(Extract("text"), size)
