"""Bad input: each case gives one clear line, the right exit code, and no traceback."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard.cli.main import main

GOOD = '{"id": "a", "prompt": "Two and two?", "choices": ["three", "four"], "answer": 1}\n'
SHORT = '{"id": "s", "prompt": "Two and two?", "answers": ["four"]}\n'

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: (exit code, standard error)."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["steelyard", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


def assert_one_line(error: str, says: str) -> None:
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    assert says in lines[0], lines[0]
    assert len(lines[0]) < 600


TASK_FILES: dict[str, tuple[str | bytes, str]] = {
    "broken JSON": (GOOD + "{not json\n", "task.jsonl:2"),
    "not an object": (GOOD + "[1, 2]\n", "task.jsonl:2"),
    "wrong column": (GOOD.replace('"prompt"', '"question"'), "did you mean 'prompt'"),
    "unknown column": (GOOD.replace('"id"', '"colour"'), "colour"),
    "duplicate id": (GOOD + GOOD, "give every row its own id"),
    "empty file": ("", "no rows"),
    "blank lines only": ("\n\n", "no rows"),
    "answer outside the choices": (GOOD.replace(": 1}", ": 7}"), "outside the 2 choices"),
    "answer is no choice": (GOOD.replace(": 1}", ': "five"}'), "not one of the 2 choices"),
    "no answer": (GOOD.replace(', "answer": 1', ""), "no 'answer'"),
    "one choice": (GOOD.replace('["three", "four"]', '["four"]').replace(": 1}", ": 0}"), "at least 2"),
    "choices and answers": (GOOD.replace('"answer": 1', '"answer": 1, "answers": ["x"]'), "both"),
    "nothing asked": ('{"id": "a", "prompt": "x"}\n', "choices"),
    "empty prompt": (GOOD.replace("Two and two?", " "), "empty"),
    "twin choices": (GOOD.replace("three", "four"), "twice"),
    "negative weight": (GOOD.replace('"id"', '"weight": -1, "id"'), "weight"),
    "weight is NaN": (GOOD.replace('"id"', '"weight": NaN, "id"'), "task.jsonl:1"),
    "prompt is a number": (GOOD.replace('"Two and two?"', "4"), "not a text"),
    "unknown split": (GOOD.replace('"id"', '"split": "dev", "id"'), "dev"),
    "only examples": (GOOD.replace('"id"', '"split": "train", "id"'), "no test rows"),
    "texts among questions": (GOOD + '{"id": "t", "text": "Once"}\n', "mixes"),
    "wrong encoding": ("Zwölf".encode("latin-1"), "UTF-8"),
    "binary": (bytes(range(256)) * 4, "task.jsonl"),
    "deep nesting": ("[" * 100_000 + "\n", "task.jsonl:1"),
    "huge line": (b'{"prompt": "' + b"x" * (17 << 20) + b'"}\n', "task.jsonl:1"),
}


@pytest.mark.parametrize("name", sorted(TASK_FILES))
def test_bad_task_files(run: Run, tiny_folder: Path, tmp_path: Path, name: str) -> None:
    content, says = TASK_FILES[name]
    file = tmp_path / "task.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, error = run("eval", tiny_folder, "--task", file)
    assert code == 1
    assert_one_line(error, says)


COMMANDS: dict[str, tuple[list[str], int, str]] = {
    "no such task file": (["eval", "MODEL", "--task", "none.jsonl"], 1, "none.jsonl"),
    "unsupported kind of file": (["eval", "MODEL", "--task", "task.txt"], 1, ".jsonl"),
    "unknown metric": (["eval", "MODEL", "--task", "task.jsonl", "--metric", "acuracy"], 2, "accuracy"),
    "metric the file cannot have": (["eval", "MODEL", "--task", "task.jsonl", "--metric", "f1"], 2, "accuracy"),
    "unknown style": (["eval", "MODEL", "--task", "task.jsonl", "--style", "chatty"], 2, "did you mean 'chat'"),
    "more shots than rows": (["eval", "MODEL", "--task", "task.jsonl", "--shots", "9"], 2, "9"),
    "unknown model": (["eval", "smollm2-153m", "--task", "task.jsonl"], 2, "smollm2-135m"),
    "unknown part": (["tune", "task.jsonl", "--model", "MODEL", "--weights", "int9"], 2, "did you mean 'int8'"),
    "unknown setting": (
        ["tune", "task.jsonl", "--model", "MODEL", "--weights", "sleb:remov=3"],
        2,
        "did you mean 'remove'",
    ),
    "setting of the wrong type": (
        ["tune", "task.jsonl", "--model", "MODEL", "--weights", "sleb:remove=many"],
        2,
        "remove",
    ),
    "contradictory limits": (
        ["tune", "task.jsonl", "--model", "MODEL", "--limit", "memory=1MB", "--limit", "memory=2MB"],
        2,
        "contradictory",
    ),
    "limit nothing can keep": (["tune", "task.jsonl", "--model", "MODEL", "--limit", "memory=1B"], 2, "memory"),
    "limit without a unit": (["tune", "task.jsonl", "--model", "MODEL", "--limit", "memory=5"], 2, "unit"),
    "memory that holds no weights": (
        ["eval", "MODEL", "--task", "task.jsonl", "--memory", "1kB"],
        2,
        "more than the limit",
    ),
    "memory that no candidate keeps": (
        ["tune", "task.jsonl", "--model", "MODEL", "--weights", "none", "--memory", "1kB"],
        2,
        "more than the limit",
    ),
    "memory for no compressing": (["compress", "MODEL", "int8", "--out", "new", "--memory", "1kB"], 2, "weights"),
    "memory for no serving": (["serve", "MODEL", "--port", "0", "--memory", "1kB"], 2, "weights"),
    "memory without a unit": (["eval", "MODEL", "--task", "task.jsonl", "--memory", "5"], 2, "unit"),
    "unknown cost": (["tune", "task.jsonl", "--model", "MODEL", "--by", "price"], 2, "latency"),
    "no such run": (["report", "19990101"], 2, "19990101"),
    "export to an unknown kind": (["report", "--export", "out.xml"], 2, ""),
    "no runs yet": (["report"], 2, "no runs"),
    "unknown part to show": (["parts", "slebb"], 2, "did you mean 'sleb'"),
    "unknown kind of part": (["parts", "--kind", "compresor"], 2, "did you mean 'compressor'"),
    "unknown recipe verb": (["run", "verb.yaml"], 2, "did you mean 'tune'"),
    "unknown recipe setting": (["run", "setting.yaml"], 2, "did you mean 'weights'"),
    "recipe that is no YAML": (["run", "broken.yaml"], 1, "broken.yaml"),
    "recipe that refers to itself": (["run", "cyclic.yaml"], 1, "cyclic.yaml"),
    "system file with an unknown key": (["eval", "system.yaml", "--task", "task.jsonl"], 1, "system.yaml:2"),
    "pickle checkpoint": (["eval", "pickled", "--task", "task.jsonl"], 1, "pickle"),
    "missing shard": (["eval", "sharded", "--task", "task.jsonl"], 1, "model-00002-of-00002.safetensors"),
    "truncated safetensors": (["eval", "truncated", "--task", "task.jsonl"], 1, "model.safetensors"),
    "no config": (["eval", "bare", "--task", "task.jsonl"], 1, "config.json"),
    "GGUF that is none": (["eval", "fake.gguf", "--task", "task.jsonl"], 1, "fake.gguf"),
    "store that is no database": (["report", "--store", "task.jsonl"], 1, "task.jsonl"),
    "store in a folder that is a file": (["report", "--store", "task.jsonl/runs.db"], 1, "task.jsonl"),
    "results in a file": (["tune", "task.jsonl", "--model", "MODEL", "--out", "task.jsonl"], 2, "--out"),
    "pull of an unknown package": (["pull", "pypi:"], 2, "NAME==VERSION"),
    "licence not accepted": (["pull", "gemma3-270m"], 2, "--accept-licence"),
    "serving to the world without a token": (["serve", "MODEL", "--host", "0.0.0.0", "--port", "0"], 2, "token"),
    "serving what is not there": (["serve", "none.yaml"], 1, "none.yaml"),
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_bad_commands(
    run: Run, tiny_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, tiny_folder)
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))  # where nothing was accepted before
    arguments, expected, says = COMMANDS[name]
    code, error = run(*[str(tiny_folder) if word == "MODEL" else word for word in arguments])
    assert_one_line(error, says)
    assert code == expected, error


def prepare(folder: Path, tiny: Path) -> None:
    """The files that the commands name."""
    (folder / "task.jsonl").write_text(GOOD + GOOD.replace('"a"', '"b"'))
    (folder / "task.txt").write_text(GOOD)
    (folder / "verb.yaml").write_text("tone: {task: task.jsonl}")
    (folder / "setting.yaml").write_text("tune: {task: task.jsonl, models: [x], wieghts: [none]}")
    (folder / "broken.yaml").write_text("tune: [")
    (folder / "cyclic.yaml").write_text("tune: &x {task: t.jsonl, weights: [*x]}")
    (folder / "system.yaml").write_text(f"model: {tiny}\nwieghts: []\n")
    (folder / "fake.gguf").write_bytes(b"not a model")
    for name in ("pickled", "sharded", "truncated", "bare"):
        shutil.copytree(tiny, folder / name)
    weights = "model.safetensors"
    (folder / "pickled" / weights).unlink()
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "sharded" / weights).rename(folder / "sharded" / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "sharded" / f"{weights}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    os.truncate(folder / "truncated" / weights, (folder / "truncated" / weights).stat().st_size // 2)
    (folder / "bare" / "config.json").unlink()


@pytest.mark.parametrize("arguments", [["evil"], ["eval"], ["eval", "x", "--task", "t", "--shots", "many"]])
def test_wrong_use_of_the_command_line_is_exit_code_two(run: Run, arguments: list[str]) -> None:
    code, error = run(*arguments)
    assert code == 2
    assert "Traceback" not in error


def test_debug_shows_where_it_happened(run: Run, tiny_folder: Path) -> None:
    from steelyard.errors import SteelyardError

    with pytest.raises(SteelyardError):
        run("--debug", "eval", tiny_folder, "--task", "none.jsonl")
