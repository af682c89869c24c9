"""The verb ``eval``: measure a model on whatever can be measured, with a run in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from steelyard.contracts import LanguageModel, Progress, Task
from steelyard.errors import UsageError
from steelyard.evaluation.recorded import RecordedEvaluation, evaluate_recorded, loaded_model
from steelyard.evaluation.recorded_suites import RecordedMeasurement, RecordedSuite, record_measure, record_suite
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.tasks import Measure, open_any
from steelyard.runs.store import RunStore, opened_store

Recorded: TypeAlias = RecordedEvaluation | RecordedSuite | RecordedMeasurement


def evaluate_any(
    model: str | LanguageModel | Sequence[str | LanguageModel],
    task: str | Path | Task | Suite | Measure,
    *,
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    metric: str | None = None,
    samples: int | None = None,
    on: str | None = None,
    loading: Mapping[str, Any] | None = None,
    **style: Any,
) -> Recorded:
    """Measure ``model`` on a task, a suite or by a measure; arguments as :func:`evaluate_recorded` takes them.

    Several models at once are for measures that compare or combine them; measures of search take index
    folders or system files with documents instead.

    Returns:
        A :class:`RecordedEvaluation` for a task, a :class:`RecordedSuite` for a suite and a
        :class:`RecordedMeasurement` for a measure; each has the ``run_id`` that ``report`` takes.

    Example::

        steelyard.eval("smollm2-135m", "task.jsonl", shots=3).evaluation.summary["accuracy"]
        steelyard.eval("smollm2-135m", "lmentry:samples=20").measurement.values["score"]
        steelyard.eval("cran.index", "retrieval-metrics:data=cranfield").measurement.values["ndcg@10"]
    """
    given = [model] if isinstance(model, str | LanguageModel) else list(model)
    found = open_any(task, metric=metric) if isinstance(task, str | Path) else task
    with opened_store(store) as opened:
        if isinstance(found, Measure):
            if samples is not None or any(style.get(name) for name in ("style", "shots")):
                raise UsageError(
                    f"{found.name} is a measure: it has settings of its own, no --samples and no style"
                )
            if found.takes == "indexes":
                folders = [one for one in given if isinstance(one, str)]
                if len(folders) < len(given):
                    raise UsageError(f"{found.name} measures index folders and system files, not models; name one")
                return record_measure(folders, found, opened, names=folders)
            systems = [loaded_model(one, on, loading or {}) for one in given]
            names = [_name(one, system) for one, system in zip(given, systems, strict=True)]
            return record_measure(systems, found, opened, names=names)
        if len(given) != 1:
            raise UsageError(f"{found.name} is measured on one model at a time; `steelyard rank` takes several")
        if isinstance(found, Suite):
            system = loaded_model(given[0], on, loading or {})
            name = _name(given[0], system)
            return record_suite(system, found, opened, name=name, samples=samples, progress=progress, style=style)
        return evaluate_recorded(
            given[0],
            found,
            store=opened,
            progress=progress,
            samples=samples,
            on=on,
            loading=loading,
            **style,
        )


def _name(given: str | LanguageModel, loaded: LanguageModel) -> str:
    return given if isinstance(given, str) else loaded.card.name
