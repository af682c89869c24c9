"""A model that answers from a table, a store in memory, and a way to write task files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Continuation, Generation, ModelCard, Result, ResultKey, Score, Usage
from steelyard.errors import EndpointError
from steelyard.evaluation.question_task import QuestionTask as FileTask
from steelyard.evaluation.task_files import load_task


def last_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1].content


@dataclass
class TableModel:
    """Knows the answers to some questions; a continuation that it knows to be right is likely, others not."""

    answers: Mapping[str, str]
    name: str = "table"
    fails_after: int | None = None
    calls: list[tuple[str, int]] = field(default_factory=list)

    @property
    def card(self) -> ModelCard:
        return ModelCard(self.name, fingerprint=f"print-of-{self.name}")

    def known(self, prompt: Any) -> str:
        asked = last_text(prompt)
        asked = asked[asked.rfind("Question: ") :]
        return next((answer for question, answer in self.answers.items() if question in asked), "")

    def count(self, kind: str, n: int) -> None:
        if self.fails_after is not None and len(self.calls) >= self.fails_after:
            raise EndpointError("the endpoint did not answer")
        self.calls.append((kind, n))

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        self.count("score", len(requests))
        scores = []
        for request in requests:
            right = request.text.strip() == self.known(request.context)
            size = len(request.text.encode())
            each = -0.1 if right else -1.0
            scores.append(Score(each * size, (each,) * size, tuple(request.text), size, right, context_tokens=3))
        return scores

    def generate(self, prompts: Sequence[Any], sampling: Any = None) -> list[Generation]:
        self.count("generate", len(prompts))
        return [Generation(" " + self.known(prompt), usage=Usage(5, 2)) for prompt in prompts]


@dataclass
class MemoryStore:
    """Keeps results by key and sample; the first write wins."""

    kept: dict[ResultKey, dict[str, Result]] = field(default_factory=dict)
    puts: int = 0

    def get(self, key: ResultKey, sample_ids: Sequence[str] | None = None) -> dict[str, Result]:
        results = self.kept.get(key, {})
        return {i: r for i, r in results.items() if sample_ids is None or i in sample_ids}

    def put(self, key: ResultKey, results: Sequence[Result]) -> int:
        json.dumps([[r.requests, r.responses] for r in results], allow_nan=False)
        self.puts += 1
        own = self.kept.setdefault(key, {})
        new = [r for r in results if r.sample_id not in own]
        own.update((r.sample_id, r) for r in new)
        return len(new)


@pytest.fixture
def table_model() -> type[TableModel]:
    return TableModel


@pytest.fixture
def memory_store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., FileTask]:
    """Write rows as JSONL and load them."""

    def make(rows: Sequence[Mapping[str, Any]], name: str = "task", **options: Any) -> FileTask:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return load_task(path, **options)

    return make


@pytest.fixture
def mixed_rows() -> list[dict[str, Any]]:
    """Four choice rows and four short-answer rows about colours and sums, in two groups."""
    colours = {"grass": "green", "snow": "white", "coal": "black", "blood": "red"}
    rows: list[dict[str, Any]] = [
        {
            "id": f"c-{thing}",
            "prompt": f"What colour is {thing}?",
            "choices": ["green", "white", "black", "red"],
            "answer": colour,
            "group": "colours",
        }
        for thing, colour in colours.items()
    ]
    rows += [
        {"id": f"s-{i}", "prompt": f"What is {i} plus {i}?", "answers": [str(2 * i)], "group": "sums"}
        for i in range(1, 5)
    ]
    return rows
