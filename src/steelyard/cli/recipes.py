"""Recipes: a verb and its settings in a file, so that a run can be repeated and shared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import Progress
from steelyard.errors import InputError, UsageError
from steelyard.parts import nearest


@dataclass(frozen=True, slots=True)
class RecipeRun:
    """What a recipe left: the run's record, and the files that were written, by what they are."""

    record: dict[str, Any]
    files: Mapping[str, Path]


def run(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    store: str | None = None,
    progress: Progress | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RecipeRun:
    """Carry out a recipe file: one verb (``tune``, ``eval`` or ``rank``) and its settings.

    Paths in it are relative to the file. ``changes`` override settings.

    Example of a recipe::

        tune:
          task: task.jsonl
          models: [smollm2-135m]
          weights: [none, int8]
          limits: {memory: 1GB}

    Raises:
        InputError: the file is missing or no recipe.
        UsageError: an unknown verb or setting.
    """
    file = Path(recipe)
    verb, settings = read_recipe(file)
    settings = {**settings, **(changes or {})}
    for name in ("task", "calibration", "docs", "index"):
        if isinstance(settings.get(name), str):
            settings[name] = _beside(file, settings[name])
    folder = Path(out or settings.pop("out", None) or Path("out") / file.stem)
    settings.pop("out", None)
    return _VERBS[verb](settings, folder, store, progress)


def read_recipe(file: Path) -> tuple[str, dict[str, Any]]:
    """The verb and the settings of a recipe file."""
    from steelyard.systems.yaml_files import read_yaml

    content = read_yaml(file)
    if not isinstance(content, Mapping) or len(content) != 1:
        raise InputError(f"{file}: a recipe holds one verb with its settings, such as `tune: {{task: ...}}`")
    ((verb, settings),) = content.items()
    if verb not in _VERBS:
        raise UsageError(f"{file}: unknown verb {verb!r}{nearest(str(verb), _VERBS)}; known: {', '.join(_VERBS)}")
    if not isinstance(settings, Mapping) or "task" not in settings:
        raise InputError(f"{file}: {verb}: needs settings with at least a task")
    return verb, dict(settings)


def _beside(file: Path, path: str) -> str:
    found = os.path.normpath(file.parent / path)
    return found if os.path.exists(found) else path


def _tune(settings: dict[str, Any], folder: Path, store: str | None, progress: Progress | None) -> RecipeRun:
    from steelyard.reporting.report import report
    from steelyard.tuning.tune import tune

    task = settings.pop("task")
    models = settings.pop("models", None)
    if not models:
        raise UsageError("tune: needs `models`, a list of model names")
    outcome = tune(task, models, out=folder, store=store, progress=progress, **settings)
    page = folder / "report.html"
    return RecipeRun(
        report(outcome.run_id, out=page, store=store), {"report": page, "system": outcome.system_file}
    )


def _eval(settings: dict[str, Any], folder: Path, store: str | None, progress: Progress | None) -> RecipeRun:
    from steelyard.evaluation.recorded import evaluate_recorded
    from steelyard.reporting.report import report

    if "model" not in settings:
        raise UsageError("eval: needs `model`, a model name or system file")
    _check_names("eval", settings, ("model", "task", "style", "shots", "metric", "samples", "seed"))
    model, task = settings.pop("model"), settings.pop("task")
    result = evaluate_recorded(model, task, store=store, progress=progress, **settings)
    page = folder / "report.html"
    return RecipeRun(report(result.run_id, out=page, store=store), {"report": page})


def _rank(settings: dict[str, Any], folder: Path, store: str | None, progress: Progress | None) -> RecipeRun:
    from steelyard.evaluation.ranking.verb import rank
    from steelyard.reporting.report import report

    style = ("style", "shots", "seed")
    _check_names(
        "rank", settings, ("task", "models", "by", "judges", "calibration", "references", "samples", *style)
    )
    task, models = settings.pop("task"), settings.pop("models", ())
    result = rank(task, models, store=store, progress=progress, **settings)
    page = folder / "report.html"
    return RecipeRun(report(result.run_id, out=page, store=store), {"report": page})


def _check_names(verb: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in settings:
        if name not in known:
            raise UsageError(f"{verb} has no setting {name!r}{nearest(name, known)}")


_VERBS: Mapping[str, Callable[[dict[str, Any], Path, str | None, Progress | None], RecipeRun]] = {
    "tune": _tune,
    "eval": _eval,
    "rank": _rank,
}
