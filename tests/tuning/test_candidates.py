"""The grid of candidates and how its members are written and called."""

from __future__ import annotations

import pytest

from steelyard.contracts import PromptStyle
from steelyard.errors import UsageError
from steelyard.tuning.candidates import checked_weights, grid, parse_weights, styles_of


def test_the_grid_holds_every_combination_once_in_a_fixed_order() -> None:
    weights = [parse_weights("none"), parse_weights("int8"), parse_weights("none")]
    found = grid(["a", "b", "a"], weights, styles_of(["plain", "chat"], [0, 3], seed=7))
    assert len(found) == 2 * 2 * 4
    assert [candidate.id for candidate in found][:3] == ["c01", "c02", "c03"]
    assert len({(c.variant.key, c.style) for c in found}) == len(found)
    assert found[0].variant.weights == ()
    assert found[0].style == PromptStyle(seed=7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("int8", ({"int8": {}},)),
        ("sleb:remove=3+int8", ({"sleb": {"remove": 3}}, {"int8": {}})),
        ("sleb:blocks=[1, 2],seed=4", ({"sleb": {"blocks": (1, 2), "seed": 4}},)),
    ],
)
def test_weights_as_typed(text: str, expected: object) -> None:
    assert parse_weights(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [("slebb", "did you mean 'sleb'"), ("sleb:remov=3", "did you mean 'remove'"), ("sleb:remove", "name=value")],
)
def test_wrong_weights_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_weights(text)


def test_weights_of_a_recipe_are_checked() -> None:
    assert checked_weights([{"sleb": {"remove": "3"}}, {"int8": None}]) == ({"sleb": {"remove": 3}}, {"int8": {}})
    with pytest.raises(UsageError, match="not one part"):
        checked_weights([{"sleb": {}, "int8": {}}])


def test_labels_are_brief_unless_that_would_confuse() -> None:
    brief = grid(["folder/m"], [parse_weights("sleb:remove=3,seed=1+int8")], [PromptStyle("chat", shots=1)])
    assert brief[0].label == "m, sleb remove=3, int8, chat, 1 shot"
    both = [parse_weights("sleb:remove=3,seed=1"), parse_weights("sleb:remove=3,seed=2")]
    assert [c.variant.label for c in grid(["m"], both, [])] == [
        "m, sleb remove=3 seed=1",
        "m, sleb remove=3 seed=2",
    ]


def test_no_model_and_unknown_styles_are_refused() -> None:
    with pytest.raises(UsageError, match="--model"):
        grid([], [], [])
    with pytest.raises(UsageError, match="did you mean 'chat'"):
        styles_of(["chatt"], [0], 0)
    with pytest.raises(UsageError, match="0 or more"):
        styles_of(["chat"], [-1], 0)
