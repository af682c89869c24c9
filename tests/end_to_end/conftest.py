"""A small task and the command line as a function."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Steelyard = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def small_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty choice questions and ten short answers in two groups, with four examples."""
    rng = random.Random(0)
    words = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel", "ivy", "juniper"]
    rows = []
    for number in range(64):
        choices = rng.sample(words, 4)
        row = {"prompt": f"Which tree is number {number}?", "choices": choices, "answer": rng.randrange(4)}
        rows.append(row | {"id": f"q{number}", "group": "even" if number % 2 == 0 else "odd"})
    for number in range(10):
        row = {"id": f"s{number}", "prompt": f"Name tree {number}.", "answers": [rng.choice(words)]}
        rows.append(row | {"group": "odd"})
    for row in rows[:4]:
        row["split"] = "train"
    file = tmp_path_factory.mktemp("task") / "trees.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def steelyard() -> Steelyard:
    """Run the command line in a process of its own and return what it said and its exit code."""

    def run(*arguments: str | Path, timeout: float = 180, **options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from steelyard.cli.main import main; main()", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)

    return run
