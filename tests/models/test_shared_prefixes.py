from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.models.prefix_tree import PrefixTree, Tokens
from steelyard.models.shared_prefixes import chain_packs, rows_of

texts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30).map(tuple), min_size=1, max_size=25)


@settings(max_examples=100)
@given(texts, st.integers(1, 80), st.booleans(), st.data())
def test_every_sequence_is_in_one_row_behind_a_prefix_of_its_own(
    sequences: list[Tokens], tokens: int, shared: bool, data: st.DataObject
) -> None:
    tree = PrefixTree.of(sequences)
    reads = [data.draw(st.integers(0, len(text) - 1)) for text in tree.sequences]
    chosen = rows_of(tree)
    seen = []
    for pack in chain_packs(tree, reads, tokens, shared=shared):
        path = tree.sequences[pack.path]
        assert len(pack.rows) == 1 or pack.width * len(pack.rows) <= tokens
        assert shared or pack.prefix == 0
        for (segment,) in pack.rows:
            text = tree.sequences[segment.sequence]
            assert (segment.start, segment.end) == (pack.prefix, len(text))
            assert text[: pack.prefix] == path[: pack.prefix]
            read_here = [reads[i] for i, row in enumerate(chosen) if row == segment.sequence]
            assert pack.prefix <= min(read_here)
            seen.append(segment.sequence)
    assert sorted(seen) == sorted(set(chosen))


@given(texts)
def test_a_sequence_that_begins_another_is_read_from_it(sequences: list[Tokens]) -> None:
    tree = PrefixTree.of(sequences)
    for index, row in enumerate(rows_of(tree)):
        text, longer = tree.sequences[index], tree.sequences[row]
        assert longer[: len(text)] == text
        extends = any(other[: len(text)] == text and other != text for other in tree.sequences)
        assert (row != index) == extends
