from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.models.packing import visibility
from steelyard.models.prefix_tree import (
    PrefixTree,
    Segment,
    Tokens,
    common_prefix,
    owner_of,
    positions_of,
    subtree_ends,
)

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14).map(tuple), min_size=1, max_size=25)


def prefixes(texts: list[Tokens]) -> set[Tokens]:
    return {text[: end + 1] for text in texts for end in range(len(text))}


@settings(max_examples=300)
@given(sequences, st.integers(1, 24), st.integers(1, 24))
def test_every_token_is_computed_once_behind_its_own_beginning(texts: list[Tokens], most: int, row: int) -> None:
    tree = PrefixTree.of(texts)
    nodes = prefixes(texts)
    assert tree.distinct == len(nodes)
    computed: list[Tokens] = []
    held: Tokens = ()
    for pack in tree.packs(most, row=row):
        path = tree.sequences[pack.path]
        assert held[: pack.prefix] == path[: pack.prefix]
        assert pack.width * len(pack.rows) <= most
        for line in pack.rows:
            whole = [tree.sequences[s.sequence][: p + 1] for s in line for p in range(s.start, s.end)]
            ends = subtree_ends(line)
            assert positions_of(line).tolist() == [len(text) - 1 for text in whole]
            for column, text in enumerate(whole):
                seen = [whole[i][-1] for i in range(column + 1) if column < ends[i]]
                assert path[: pack.prefix] + tuple(seen) == text
            computed += whole
        if pack.keep:
            held = path[: pack.keep]
            first = pack.rows[0][0]
            assert len(pack.rows) == 1
            assert first.start == pack.prefix
            assert first.end >= pack.keep
    assert sorted(computed) == sorted(nodes)


@given(sequences, st.integers(1, 24), st.data())
def test_what_is_held_already_is_not_computed_again(texts: list[Tokens], most: int, data: st.DataObject) -> None:
    texts = [(9, 9, *text) for text in texts]
    held = data.draw(st.integers(0, 2))
    packs = list(PrefixTree.of(texts).packs(most, held=held))
    assert sum(pack.tokens for pack in packs) == len(prefixes(texts)) - held
    assert all(pack.prefix >= held for pack in packs)


@given(sequences)
def test_owners_name_the_sequence_that_computes_a_position(texts: list[Tokens]) -> None:
    tree = PrefixTree.of(texts)
    owners = tree.owners()
    for index, text in enumerate(tree.sequences):
        for position in range(len(text)):
            owner = owner_of(owners[index], position)
            assert owner == owner_of(tree.owners()[index], position)
            first = next(
                i for i, other in enumerate(tree.sequences) if other[: position + 1] == text[: position + 1]
            )
            assert owner == first


@given(sequences, st.integers(0, 3))
def test_in_one_row_each_sequence_sees_its_own_tokens(texts: list[Tokens], prefix: int) -> None:
    tree = PrefixTree.of(texts)
    row = tree.row()
    tokens = [tree.sequences[s.sequence][p] for s in row for p in range(s.start, s.end)]
    seen = visibility([row], prefix)[0]
    assert len(tokens) == tree.distinct
    for text, path in zip(tree.sequences, tree.paths(), strict=True):
        assert tuple(tokens[column] for column in path) == text
        for depth, column in enumerate(path):
            expected = [*range(prefix), *(prefix + other for other in path[: depth + 1])]
            assert seen[column].nonzero()[0].tolist() == expected


def test_rows_of_a_pack_are_of_nearly_equal_length() -> None:
    texts = [(1, n, *[n] * length) for n, length in enumerate([30, 29, 28, 10, 10, 10, 9, 9], start=2)]
    packs = list(PrefixTree.of(texts).packs(96, row=8))
    padded = sum(pack.width * len(pack.rows) for pack in packs)
    assert padded <= 1.15 * len(prefixes(texts))


def test_a_path_longer_than_a_row_goes_in_stretches() -> None:
    packs = list(PrefixTree.of([tuple(range(25))]).packs(10))
    assert [pack.rows for pack in packs] == [[[Segment(0, a, b)]] for a, b in ((0, 10), (10, 20), (20, 25))]
    assert [pack.keep for pack in packs] == [10, 20, 0]


@given(st.lists(st.integers(0, 1), max_size=20), st.lists(st.integers(0, 1), max_size=20))
def test_common_prefix(first: list[int], second: list[int]) -> None:
    length = common_prefix(first, second)
    assert first[:length] == second[:length]
    assert length in (len(first), len(second)) or first[length] != second[length]


def test_no_sequences() -> None:
    assert list(PrefixTree.of([]).packs(8)) == []
    assert PrefixTree.of([]).owners() == []
