"""The verb ``report``: a stored run as a record, an HTML page, or exported samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steelyard.errors import UsageError
from steelyard.reporting.answers import Stored
from steelyard.reporting.html import write_report
from steelyard.reporting.kinds import KINDS
from steelyard.runs.export import export
from steelyard.runs.store import RunStore, opened_store


def report(
    run: str | None = None,
    *,
    out: str | Path | None = None,
    export_to: str | Path | None = None,
    store: str | Path | RunStore | None = None,
) -> dict[str, Any]:
    """The record of a finished run (default: the latest), with every system's answers to every sample.

    Args:
        run: a run id or its beginning.
        out: write the HTML report to this file too.
        export_to: write every sample to this .jsonl or .parquet file too.
        store: run store, a path, a database URL, or None for the project's own.

    Raises:
        UsageError: no such run, or one that did not finish.
    """
    with opened_store(store) as opened:
        run_id = _latest(opened) if run is None else opened.run(run).id
        record = record_of(opened, run_id)
        if out is not None:
            write_report(record, Path(out))
        if export_to is not None:
            export(opened, run_id, Path(export_to))
    return record


def record_of(store: RunStore, run_id: str) -> dict[str, Any]:
    """A run's summary with the answers put back into its samples."""
    found = store.run(run_id)
    if found.status == "running":
        raise UsageError(f"run {found.id} has not finished; the command that started it goes on from where it was")
    kind = KINDS.get(str((found.summary or {}).get("kind")))
    if found.summary is None or kind is None or kind.content not in found.summary:
        problem = (found.summary or {}).get("error", "it left no results")
        raise UsageError(f"run {found.id} has nothing to report: {problem}")
    record = {
        **found.summary,
        "run": {"created": found.created, "finished": found.finished, **found.summary["run"]},
    }
    return kind.restore(record, Stored(store, store.keys(run_id)))


def list_runs(*, store: str | Path | RunStore | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """The most recent runs, newest first, with the sentence that sums each up."""
    with opened_store(store) as opened:
        return [
            {
                "id": found.id,
                "verb": found.verb,
                "status": found.status,
                "created": found.created,
                "finding": next(
                    iter((found.summary or {}).get("findings", [])), (found.summary or {}).get("error", "")
                ),
            }
            for found in opened.runs(limit)
        ]


def _latest(store: RunStore) -> str:
    found = store.latest()
    if found is None:
        raise UsageError(f"the run store {store.location} has no runs yet; `steelyard eval` or `tune` makes one")
    return found.id
