"""The verb ``eval``: measure a model on whatever can be measured, with a run in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from steelyard.contracts import LanguageModel, Progress, Task
from steelyard.errors import UsageError
from steelyard.evaluation.recorded import RecordedEvaluation, evaluate_recorded, loaded_model
from steelyard.evaluation.recorded_suites import RecordedMeasurement, RecordedSuite, record_measure, record_suite
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.tasks import Measure, open_any
from steelyard.runs.store import RunStore

Recorded: TypeAlias = RecordedEvaluation | RecordedSuite | RecordedMeasurement


def evaluate_any(
    model: str | LanguageModel,
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

    Returns:
        A :class:`RecordedEvaluation` for a task, a :class:`RecordedSuite` for a suite and a
        :class:`RecordedMeasurement` for a measure; each has the ``run_id`` that ``report`` takes.

    Example::

        steelyard.eval("smollm2-135m", "task.jsonl", shots=3).evaluation.summary["accuracy"]
        steelyard.eval("smollm2-135m", "lmentry:samples=20").measurement.values["score"]
    """
    found = open_any(task, metric=metric) if isinstance(task, str | Path) else task
    opened = store if isinstance(store, RunStore) else RunStore.open(store)
    try:
        if isinstance(found, Suite | Measure):
            system = loaded_model(model, on, loading or {})
            name = model if isinstance(model, str) else system.card.name
            if isinstance(found, Suite):
                return record_suite(
                    system, found, opened, name=name, samples=samples, progress=progress, style=style
                )
            if samples is not None or any(value is not None for value in style.values()):
                raise UsageError(
                    f"{found.name} is a measure: it has settings of its own, no --samples and no style"
                )
            return record_measure([system], found, opened, names=[name])
        return evaluate_recorded(
            model,
            found,
            store=opened,
            progress=progress,
            samples=samples,
            on=on,
            loading=loading,
            **style,
        )
    finally:
        if opened is not store:
            opened.close()
