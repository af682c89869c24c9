"""``kill -9`` at random moments: the next run finishes, and its report equals an uninterrupted one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("killing.py")
TIMED = {"latency", "seconds", "environment", "findings", "system_file", "run", "commands"}


def comparable(record: Any) -> Any:
    """A record without what differs between any two runs: times, run ids and sentences that quote them."""
    if isinstance(record, dict):
        return {name: comparable(value) for name, value in record.items() if name not in TIMED}
    return [comparable(value) for value in record] if isinstance(record, list) else record


def crash(tmp_path: Path, model: Path, arguments: list[str], kills: int) -> dict[str, Any]:
    settings = {"arguments": arguments, "kills": kills, "seed": 0, "folder": str(tmp_path / "trials")}
    settings["model"] = str(model)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path / "settings.json")],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in found, found["error"]
    return found


@pytest.mark.parametrize(
    ("verb", "options", "kills"),
    [
        ("eval", ["--style", "chat", "--shots", "2"], 14),
        ("tune", ["--by", "operations", "--style", "plain", "--shots", "0", "--shots", "2"], 6),
    ],
)
def test_killed_runs_finish_like_uninterrupted_ones(
    tmp_path: Path, tiny_folder: Path, small_task: Path, verb: str, options: list[str], kills: int
) -> None:
    place = ["--store", "FOLDER/runs.db", "--json"]
    if verb == "eval":
        arguments = ["eval", str(tiny_folder), "--task", str(small_task), *options, *place]
    else:
        arguments = ["tune", str(small_task), "--model", str(tiny_folder), "--out", "FOLDER/out", *options, *place]
    found = crash(tmp_path, tiny_folder, arguments, kills)
    calm = found["uninterrupted"]
    assert "error" not in calm, calm["error"]
    assert calm["record"]["samples"]
    assert sum(trial["kills"] for trial in found["trials"]) >= kills
    for trial in found["trials"]:
        assert "error" not in trial, trial["error"]
        assert trial["store"] == calm["store"]
        assert trial["store"]["integrity"] == "ok"
        assert trial["store"]["rows"] == trial["store"]["keys"]
        assert comparable(trial["record"]) == comparable(calm["record"])
