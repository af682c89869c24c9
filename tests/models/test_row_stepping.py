from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from steelyard.contracts import Sampling
from steelyard.models import generation
from steelyard.models.forward import Engine
from steelyard.models.generation import generate
from steelyard.models.row_stepping import RowStepper
from steelyard.models.stepping import takes_rows

HEADER = "Question: What is the capital of France?\nAnswer: Paris. " * 2
PROMPTS = [
    HEADER + "Pack",
    HEADER + "my box",
    "The quick",
    "é",
    HEADER,
    "jumps over the lazy dog",
    "",
    "The quick",
]
KINDS = ("llama", "gemma2", "gemma3", "gpt2", "opt", "neox")


class Counting(Engine):
    """Remembers the shape of what each forward pass read."""

    def forward(self, ids: torch.Tensor, *arguments: Any, **inputs: Any) -> Any:
        self.lock.shapes.append(tuple(ids.shape))
        return super().forward(ids, *arguments, **inputs)


class Shapes:
    """A lock that does not lock, and holds shapes."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def counting(engine: Engine, **changes: Any) -> Counting:
    found = Counting(engine.module, engine.tokenizer, engine.name, 512, **changes, lock=Shapes())
    assert takes_rows(found)
    found.lock.shapes.clear()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_each_sequence_alone(engines: Any, kind: str) -> None:
    engine = engines(kind)
    stepper = RowStepper(engine, 4)
    rows = [[5, 6, 7, 8] * 6, [9, 5], [5, 6, 7, 8] * 6 + [40], [77]]

    def check(logits: torch.Tensor, sequences: list[list[int]]) -> None:
        for row, sequence in zip(logits, sequences, strict=True):
            with torch.no_grad():
                expected = engine.module(input_ids=torch.tensor([sequence])).logits[0, -1]
            assert torch.allclose(row, expected, atol=1e-3), kind

    check(stepper.admit(rows[:3]), rows[:3])
    for token in (30, 31):
        rows[:3] = [[*row, token] for row in rows[:3]]
        check(stepper.advance([token] * 3), rows[:3])
    order = stepper.keep([1, 2])
    assert sorted(order) == [1, 2]
    alive = [rows[row] for row in order]
    newcomers = [[5, 6, 7, 8] * 6 + [50], rows[3]]  # begins as a row that is held
    check(stepper.admit(newcomers), newcomers)
    alive = [[*row, 33] for row in alive + newcomers]
    check(stepper.advance([33] * 4), alive)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_depend_on_rows_order_or_company(
    engines: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines(kind)
    each = [Sampling(max_tokens=3 + 2 * n, temperature=n % 2, seed=n) for n in range(len(PROMPTS))]
    together = [answer.text for answer in generate(engine, PROMPTS, each)]
    alone = [generate(engine, [p], s)[0].text for p, s in zip(PROMPTS, each, strict=True)]
    assert together == alone
    monkeypatch.setattr(generation, "MOST_ROWS", 3)
    assert [answer.text for answer in generate(engine, PROMPTS[::-1], each[::-1])] == alone[::-1]


def test_equal_prompts_and_shared_beginnings_are_read_once(engines: Any) -> None:
    engine = counting(engines("llama"))
    ids = engine.tokenizer(HEADER)["input_ids"]
    samplings = [Sampling(max_tokens=2, temperature=1.0, seed=seed) for seed in range(20)]
    generate(engine, [HEADER] * 20, samplings)
    assert engine.lock.shapes == [(1, len(ids)), (20, 1)]
    engine.lock.shapes.clear()
    prompts = [HEADER + text for text in ("a", "bc", "def")]
    generate(engine, prompts, Sampling(max_tokens=1))
    distinct = {
        tuple(row[:end]) for row in engine.tokenizer(prompts)["input_ids"] for end in range(1, len(row) + 1)
    }
    assert engine.lock.shapes == [(1, len(distinct))]


def test_a_later_prompt_takes_over_what_a_row_holds(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MOST_ROWS", 1)
    engine = counting(engines("llama"))
    lengths = [len(row) for row in engine.tokenizer([HEADER + "a", HEADER + "b"])["input_ids"]]
    answers = generate(engine, [HEADER + "a", HEADER + "b"], Sampling(max_tokens=2))
    assert [shape[1] for shape in engine.lock.shapes] == [lengths[0], 1, 1, 1]
    assert answers[1].text == generate(engines("llama"), [HEADER + "b"], Sampling(max_tokens=2))[0].text


def test_long_prompts_are_read_in_pieces(engines: Any) -> None:
    for kind in ("llama", "gemma3"):
        engine = counting(engines(kind), batch_tokens=30)
        prompts = [HEADER + "Pack my", HEADER + "Pack my box"]
        assert len(engine.tokenizer(prompts[0])["input_ids"]) > 60
        answers = generate(engine, prompts, Sampling(max_tokens=8))
        assert max(rows * columns for rows, columns in engine.lock.shapes) <= 30
        whole = generate(engines(kind), prompts, Sampling(max_tokens=8))
        assert [answer.text for answer in answers] == [answer.text for answer in whole]


def test_many_rows_run_together_and_the_room_is_bounded(engines: Any) -> None:
    engine = counting(engines("llama"))
    generate(engine, [f"The quick {n}" for n in range(70)], Sampling(max_tokens=3, stop=("\x00",)))
    assert (70, 1) in engine.lock.shapes
    small = dataclasses.replace(engine, batch_tokens=64)
    assert generation.most_rows(small, 100) == 2
    assert generation.most_rows(small, 10_000) == 1
