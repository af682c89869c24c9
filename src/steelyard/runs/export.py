"""A run's results as one flat table: JSON Lines to read anywhere, Parquet for large ones."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steelyard.contracts import Result, ResultKey
from steelyard.errors import StoreError, UsageError
from steelyard.runs.records import to_json
from steelyard.runs.store import RunStore

Row = dict[str, Any]
_TEXT = ("label", "model", "task", "settings", "sample_id", "group")


def export(store: RunStore, run_id: str, path: str | Path) -> int:
    """Write one row for each sample of each system of a run, and return the number of rows.

    The suffix of ``path`` chooses the format, ``.jsonl`` or ``.parquet``. Columns: ``label``, ``model``,
    ``task``, ``settings``, ``sample_id``, ``group``, ``weight``, ``prediction``, one ``metric.NAME`` for each
    metric (null where a sample has none of it), ``metric_weight.NAME`` for ratio metrics, ``seconds``,
    ``prompt_tokens``, ``completion_tokens``, ``requests`` and ``responses`` (JSON text in Parquet). Rows are
    written page by page and the file appears whole or not at all. Raises :class:`UsageError` for another
    suffix, an unknown run or one without results, and :class:`StoreError` if the file cannot be written.
    """
    target = Path(path)
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if target.suffix not in writers:
        raise UsageError(f"cannot export to {str(target)!r}: the name must end in .jsonl or .parquet")
    run = store.run(run_id)
    keys = store.keys(run.id)
    if not keys:
        raise UsageError(f"run {run.id} has no results to export")
    columns = _metric_columns(store, keys)
    try:
        with _appearing_whole(target) as unfinished:
            return writers[target.suffix](unfinished, _pages(store, keys, columns), columns)
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written ({error.strerror or error}); choose another place"
        ) from error


def _metric_columns(store: RunStore, keys: Mapping[str, ResultKey]) -> list[str]:
    metrics: set[str] = set()
    weighted: set[str] = set()
    for key in set(keys.values()):
        names, ratios = store.metric_names(key)
        metrics |= names
        weighted |= ratios
    return [f"metric.{name}" for name in sorted(metrics)] + [f"metric_weight.{name}" for name in sorted(weighted)]


def _pages(store: RunStore, keys: Mapping[str, ResultKey], columns: list[str]) -> Iterator[list[Row]]:
    for label, key in keys.items():
        for page in store.pages(key):
            yield [_row(label, key, result, columns) for result in page]


def _row(label: str, key: ResultKey, result: Result, columns: list[str]) -> Row:
    measured = {f"metric.{name}": value for name, value in result.marks.values.items()}
    measured |= {f"metric_weight.{name}": value for name, value in result.marks.weights.items()}
    return {
        "label": label,
        "model": key.model,
        "task": key.task,
        "settings": key.settings,
        "sample_id": result.sample_id,
        "group": result.group,
        "weight": result.weight,
        "prediction": result.marks.prediction,
        **{column: measured.get(column) for column in columns},
        "seconds": result.seconds,
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "requests": list(result.requests),
        "responses": list(result.responses),
    }


def _write_jsonl(path: Path, pages: Iterator[list[Row]], columns: list[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for page in pages:
            file.writelines(to_json(row) + "\n" for row in page)
            count += len(page)
    return count


def _write_parquet(path: Path, pages: Iterator[list[Row]], columns: list[str]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.string()) for name in _TEXT]
        + [("weight", pa.float64()), ("prediction", pa.string())]
        + [(name, pa.float64()) for name in [*columns, "seconds"]]
        + [("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())]
        + [("requests", pa.string()), ("responses", pa.string())]
    )
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for page in pages:
            writer.write_table(pa.Table.from_pylist([_parquet_row(row) for row in page], schema=schema))
            count += len(page)
    return count


def _parquet_row(row: Row) -> Row:
    # Parquet text is UTF-8, which half a surrogate pair is not; the exact answer is in the responses' JSON.
    prediction = row["prediction"].encode("utf-8", "replace").decode("utf-8")
    return row | {
        "prediction": prediction,
        "requests": to_json(row["requests"]),
        "responses": to_json(row["responses"]),
    }


@contextmanager
def _appearing_whole(target: Path) -> Iterator[Path]:
    """A temporary path in the target's folder that takes the target's name if all goes well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
