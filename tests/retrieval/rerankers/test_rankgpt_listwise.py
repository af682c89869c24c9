from __future__ import annotations

import itertools
import logging
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Hit
from steelyard.errors import InputError, ModelError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.rerankers.permutation import read_permutation
from steelyard.retrieval.rerankers.rankgpt_listwise import rankgpt_listwise
from steelyard.retrieval.rerankers.ranknet import ranknet_loss
from steelyard.retrieval.rerankers.teacher_orders import read_orders, write_orders

HITS = [Hit(f"d{n}", 0.0, f"worth {n}") for n in random.Random(3).sample(range(100), 100)]


def permuter(prompt: str) -> str:
    """The true order of the passages shown."""
    shown = [(int(worth), number) for number, worth in re.findall(r"\[(\d+)\] worth (\d+)", prompt)]
    return " > ".join(f"[{number}]" for _, number in sorted(shown, reverse=True))


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_one_pass_of_an_oracle_puts_the_true_top_ten_first() -> None:
    oracle = ScriptedModel(permuter)
    result = rankgpt_listwise(oracle).run(["a", "b"], [HITS, HITS[:30]])
    assert ids(result.hits[0])[:10] == [f"d{n}" for n in range(99, 89, -1)]
    assert sorted(ids(result.hits[0])) == sorted(ids(HITS))
    assert result.cost.requests == 9 + 2
    assert [count for _, count in oracle.calls] == [2, 2] + [1] * 7  # windows of all queries are asked together
    assert result.cost.unread == result.cost.repaired == 0


@given(st.text(), st.integers(1, 30))
def test_any_text_gives_a_permutation(text: str, n: int) -> None:
    found = read_permutation(text, n)
    assert sorted(found.order) == list(range(n))
    assert 0 <= found.read <= n


@given(st.lists(st.integers(0, 40)), st.integers(1, 30))
def test_any_numbers_give_the_named_ones_first(numbers: list[int], n: int) -> None:
    found = read_permutation(" > ".join(f"[{number}]" for number in numbers), n)
    named = list(dict.fromkeys(number - 1 for number in numbers if 1 <= number <= n))
    assert found.order[: found.read] == named
    assert found.order[found.read :] == [number for number in range(n) if number not in named]


def test_words_around_the_order_do_no_harm() -> None:
    assert read_permutation("Of 3 passages: [2] > [3] > [1]", 3).order == [1, 2, 0]
    assert read_permutation("3, 1, 2", 3) == ([2, 0, 1], 3, 0, 0)
    assert read_permutation("[" + "9" * 10_000 + "] > [²] > [1]", 2) == ([0, 1], 1, 0, 1)


def test_repairs_and_silence_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    short = ScriptedModel(lambda _: "[2]")
    result = rankgpt_listwise(short).run(["q"], [HITS[:3]])
    assert ids(result.hits[0]) == ids([HITS[1], HITS[0], HITS[2]])
    assert (result.cost.repaired, result.cost.unread, result.cost.unchanged) == (1, 0, 0)
    with caplog.at_level(logging.WARNING):
        assert rankgpt_listwise(ScriptedModel(lambda _: "[1] > [2]")).run(["q"], [HITS[:3]]).cost.unchanged == 1
    assert "1 answers left the passages in the order shown" in caplog.text
    silent = ScriptedModel(lambda _: "I cannot rank these.")
    with pytest.raises(ModelError, match="none of the model's answers"):
        rankgpt_listwise(silent).rerank("q", HITS[:3])
    with caplog.at_level(logging.WARNING):
        kept = rankgpt_listwise(silent, unread="keep").run(["q"], [HITS[:3]])
    assert ids(kept.hits[0]) == ids(HITS[:3])
    assert kept.cost.unread == 1
    assert "keep the retriever's order" in caplog.text


def test_a_window_that_does_not_fit_is_an_error(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"rankgpt-listwise: a request of .* does not fit"):
        rankgpt_listwise(load_model(str(tiny_folder))).rerank("q", HITS)


def test_a_step_leaves_no_gap() -> None:
    with pytest.raises(UsageError, match="a step of 3 leaves out passages"):
        rankgpt_listwise(ScriptedModel({}), window=2, step=3)


def test_ranknet_equals_its_formula() -> None:
    scores = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ranks = [3, 1, 2, 6, 5, 4]
    pairs = [(i, j) for i, j in itertools.permutations(range(6), 2) if ranks[i] < ranks[j]]
    expected = [math.log(1 + math.exp(float(scores[j] - scores[i]))) for i, j in pairs]
    assert float(ranknet_loss(scores, torch.tensor(ranks), "sum")) == pytest.approx(sum(expected))
    assert float(ranknet_loss(scores, torch.tensor(ranks))) == pytest.approx(sum(expected) / 15)


def test_ranknet_goes_down_towards_the_teachers_order() -> None:
    ranks = torch.tensor([[2.0, 1.0, 3.0, math.inf], [1.0, 1.0, 1.0, math.nan]])
    scores = torch.zeros(2, 4, requires_grad=True)
    ranknet_loss(scores, ranks).backward()
    slope: Any = scores.grad
    assert slope[0, 1] < slope[0, 0] < slope[0, 2]
    assert slope[0, 3] == 0  # padding
    assert not slope[1].any()  # nothing to compare
    assert float(ranknet_loss(torch.zeros(2), torch.tensor([1, 1])).detach()) == 0.0


def test_orders_are_kept_as_data(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    best_first = rankgpt_listwise(ScriptedModel(permuter)).rerank_all(["q", "größe"], [HITS[:4], HITS[4:7]])
    assert write_orders(file, ["q", "größe"], best_first, teacher="scripted") == 2
    again = list(read_orders(file))
    assert [(one.query, one.teacher) for one in again] == [("q", "scripted"), ("größe", "scripted")]
    assert [[(hit.id, hit.text) for hit in one.hits] for one in again] == [
        [(hit.id, hit.text) for hit in each] for each in best_first
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is not an order"),
        ('{"query": "q"}', "is not an order"),
        ("[]", "is not an order"),
        ('{"query": 3, "passages": []}', "must be texts"),
        ('{"query": "q", "passages": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}', "one id"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"query": "q", "passages": []}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"orders.jsonl:2: .*{problem}"):
        list(read_orders(file))
