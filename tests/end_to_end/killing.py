"""Driver of the crash test: runs the command line in forked children and kills them with SIGKILL.

Importing torch takes seconds and running the command on a tiny model less than one, so everything heavy is
imported once here and each trial is a fork: a real process with its own memory, files and database connection.

    python killing.py SETTINGS.json     # {"arguments": [...], "kills": 12, "seed": 0, "folder": ..., "model": ...}

Prints one JSON document: for each trial how often it was killed and what the finished run recorded.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import steelyard.cli.main
import steelyard.reporting.report
import steelyard.systems.loading
import steelyard.tuning.tune
from steelyard.contracts import Continuation, Sampling


def run_in_child(arguments: list[str], output: Path) -> int:
    """Fork; in the child run ``steelyard ARGUMENTS`` with its output in a file. Returns the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    with output.open("w") as out, output.with_suffix(".err").open("w") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv = ["steelyard", *arguments]
        code = 1
        try:
            steelyard.cli.main.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)


def finished(pid: int, seconds: float) -> int | None:
    """The exit status if the child ends within ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def trial(arguments: list[str], folder: Path, seconds: float | None, rng: random.Random) -> dict[str, Any]:
    """Kill up to twice at a random moment of the ``seconds`` it takes (never, if None), then let it finish."""
    folder.mkdir(parents=True)
    words = [word.replace("FOLDER", str(folder)) for word in arguments]
    kills = 0
    for _ in range(2 if seconds else 0):
        pid = run_in_child(words, folder / "out.json")
        if finished(pid, rng.uniform(0.02, seconds or 0.0)) is not None:
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
    pid = run_in_child(words, folder / "out.json")
    code = finished(pid, 120)
    errors = (folder / "out.err").read_text()
    if code != 0:
        return {"kills": kills, "error": f"exit {code}: {errors}"}
    return {"kills": kills, "record": json.loads((folder / "out.json").read_text()), "store": store_facts(folder)}


def store_facts(folder: Path) -> dict[str, Any]:
    """Whether the database is whole, and how many results it holds for how many distinct keys."""
    with sqlite3.connect(folder / "runs.db") as connection:
        check = connection.execute("pragma integrity_check").fetchone()[0]
        rows = connection.execute("select count(*) from results").fetchone()[0]
        keys = connection.execute(
            "select count(*) from (select distinct model, task, settings, sample_id from results)"
        ).fetchone()[0]
    return {"integrity": check, "rows": rows, "keys": keys}


def warm_up(folder: str) -> None:
    """Use a model once, so that every lazily imported module is there before the first fork."""
    model = steelyard.systems.loading.load(folder)
    model.score([Continuation("Once", " upon")])
    model.generate(["Once"], Sampling(max_tokens=2))


def main() -> None:
    """One uninterrupted run for reference, then the trials."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    warm_up(settings["model"])
    folder, rng = Path(settings["folder"]), random.Random(settings["seed"])
    calm = {}
    for name in ("first", "calm"):  # the first run warms the disk's caches: only the second one's time counts
        began = time.monotonic()
        calm = trial(settings["arguments"], folder / name, None, rng)
        took = time.monotonic() - began
    trials: list[dict[str, Any]] = []
    while sum(done["kills"] for done in trials) < settings["kills"] and len(trials) < 4 * settings["kills"]:
        trials.append(trial(settings["arguments"], folder / f"trial{len(trials)}", took, rng))
    print(json.dumps({"seconds": took, "uninterrupted": calm, "trials": trials}))


if __name__ == "__main__":
    main()
