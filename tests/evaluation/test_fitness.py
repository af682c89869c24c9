from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steelyard.errors import UsageError
from steelyard.evaluation.fitness import TaskFitness
from steelyard.evaluation.task_files import load_task
from steelyard.models.scripted import ScriptedModel


def test_the_metric_over_the_first_samples(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": f"q{i}", "choices": ["a", "b"], "answer": "b" if i < 3 else "a"} for i in range(5)
    ]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task: Any = load_task(tmp_path / "task.jsonl")
    model = ScriptedModel(scores=lambda context, text: -1.0 if text.strip() == "b" else -5.0)
    assert TaskFitness(task, samples=4)(model) == 0.75
    assert TaskFitness(task)(model) == 0.6
    assert "first 4 samples" in TaskFitness(task, samples=4).name


def test_less_must_not_be_better(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(json.dumps({"id": "1", "text": "some words"}) + "\n")
    task = load_task(tmp_path / "texts.jsonl")
    assert not task.higher_is_better
    with pytest.raises(UsageError, match="less bits_per_byte is better"):
        TaskFitness(task)(ScriptedModel(scores=lambda context, text: -1.0))
