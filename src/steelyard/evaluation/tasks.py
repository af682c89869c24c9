"""Tasks, suites and measures by name: a task file, or a benchmark part with its settings.

open_task("questions.jsonl")
open_task("belebele:language=swh_Latn,data=belebele/")
open_any("quick")                                         # a suite
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from steelyard import parts
from steelyard.contracts import Task
from steelyard.errors import UsageError
from steelyard.evaluation.extraction import FIRST_LINE
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.question_task import MAX_TOKENS, METRICS, QuestionTask
from steelyard.evaluation.records import SUFFIXES
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.task_files import load_task

KINDS = ("task", "suite", "measure")


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure with its settings, ready to be given models."""

    name: str
    function: Callable[..., Measurement]
    settings: Mapping[str, Any]
    source: str

    @property
    def takes(self) -> str:
        """What it measures, by the name of its first argument: a ``model``, several ``models`` or ``indexes``."""
        return parts.inputs_of(self.function)[0]


Measured: TypeAlias = Task | Suite | Measure
"""What ``steelyard eval`` can measure."""

READING: Mapping[str, Any] = {"form": "cloze", "extract": FIRST_LINE, "max_tokens": MAX_TOKENS, "skip_bad": False}
"""How task files are read unless :func:`load_task` is told otherwise."""


def open_any(name: str | Path, *, metric: str | None = None, **reading: Any) -> Measured:
    """What ``name`` names: a task file, or a part of kind task, suite or measure with its settings.

    Args:
        name: A path, or ``PART`` or ``PART:setting=value,...``.
        metric: What ranks systems; by default the task's own.
        **reading: How a task file is read, as :func:`load_task` takes it.

    Raises:
        UsageError: No such file or part, a wrong setting, or an option that only task files have.
        InputError: The file, or the benchmark's data, are wrong.
    """
    text = str(name)
    if (Path(text).suffix.lower() in SUFFIXES and ":" not in text) or Path(text).exists():
        return load_task(name, metric=metric, **reading)
    part, settings = parts.parse_use(text)
    known = {info.name for info in parts.index().values() if info.kind in KINDS}
    if parts.part_name(part) not in known:
        hint = parts.nearest(part, known)
        raise UsageError(
            f"{text}: no such task file or benchmark{hint or '; `steelyard parts --kind task` lists benchmarks'}"
        )
    given = [option for option, value in reading.items() if value != READING[option]]
    if given:
        raise UsageError(
            f"{part}: --{given[0].replace('_', '-')} applies to task files; set it as PART:name=value"
        )
    function = parts.load(part)
    checked = parts.validate(function, settings)
    if parts.find(part).kind == "measure":
        return Measure(parts.part_name(part), function, checked, text)
    return _ranked_by(replace(function(**checked), source=text), metric)


def open_measured(task: str | None, suite: str | None, *, metric: str | None = None, **reading: Any) -> Measured:
    """What ``--task`` or ``--suite`` names, exactly one of which is given."""
    if (task is None) == (suite is None):
        raise UsageError("give either --task or --suite")
    if task is not None:
        return open_any(task, metric=metric, **reading)
    known = {name for name, info in parts.index().items() if info.kind == "suite"}
    name = parts.part_name(parts.parse_use(str(suite))[0])
    if name not in known:
        raise UsageError(
            f"unknown suite {name!r}{parts.nearest(name, known)}; known are {', '.join(sorted(known))}"
        )
    return open_any(str(suite), metric=metric)


def open_task(name: str | Path, *, metric: str | None = None, **reading: Any) -> Task:
    """The same for a single task; suites and measures are refused."""
    found = open_any(name, metric=metric, **reading)
    if isinstance(found, Suite | Measure):
        kind = "suite" if isinstance(found, Suite) else "measure"
        raise UsageError(f"{name} is a {kind}, not a task; `steelyard eval` takes it, this verb takes one task")
    return found


def _ranked_by(found: Task | Suite, metric: str | None) -> Task | Suite:
    """A task with another metric in front."""
    if metric is None:
        return found
    if not isinstance(found, QuestionTask) or metric not in METRICS:
        raise UsageError(f"{found.name} is ranked by its own metric; leave --metric out")
    return replace(found, metric=metric)
