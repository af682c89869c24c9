"""What the run store hands out and how it looks as rows: runs, results, and their JSON."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from steelyard.contracts import Marks, Result, ResultKey, Usage
from steelyard.errors import StoreError
from steelyard.runs.redaction import scrub

_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: what was asked, when, and how it ended.

    ``status`` is ``"running"`` until the run is finished; a killed run keeps it. Times are UTC in ISO 8601.
    """

    id: str
    verb: str
    status: str
    created: str
    finished: str | None
    settings: Mapping[str, Any]
    summary: Mapping[str, Any] | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time from start to finish; ``None`` while the run is not finished."""
        if self.finished is None:
            return None
        return (datetime.fromisoformat(self.finished) - datetime.fromisoformat(self.created)).total_seconds()


def now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


def new_run_id(moment: datetime) -> str:
    """``20260131-235959123-4f7a2c``: UTC time to the millisecond, then 24 random bits; sorts by time."""
    return f"{moment:%Y%m%d-%H%M%S}{moment.microsecond // 1000:03d}-{secrets.token_hex(3)}"


def to_json(value: Any) -> str:
    """JSON text that reads back as the same value, floats to the last bit.

    Text stays readable; only where it holds a lone surrogate, which no UTF-8 file or database takes, all of it
    is escaped to ASCII. ``ValueError`` or ``TypeError`` for what JSON cannot hold, NaN and infinities included.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def from_json(text: str | bytes) -> Any:
    """What :func:`to_json` wrote (as bytes from some drivers); skips ``json.loads``'s search for white space."""
    return _DECODER.raw_decode(text if isinstance(text, str) else text.decode("utf-8"))[0]


def storable(value: Any, what: str, *, prose: bool = False) -> Any:
    """``value`` without secrets, checked to be JSON; ``what`` names it in the error."""
    try:
        clean = scrub(value, prose=prose)
        to_json(clean)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{what} cannot be stored: {json_problem(value, error)}") from error
    return clean


def json_problem(value: Any, error: BaseException) -> str:
    """In one line, which part of ``value`` JSON cannot hold and what to do about it."""
    if isinstance(error, RecursionError) or "ircular" in str(error):
        return "it is nested too deeply or contains itself"
    place, culprit = _not_json(value, "")
    if isinstance(culprit, float):
        return f"{place or 'it'} is {culprit!r}, which JSON cannot hold; leave it out or write null"
    return (
        f"{place or 'it'} is a {type(culprit).__name__}, which is not JSON; use text, numbers, lists or mappings"
    )


def _not_json(value: Any, place: str) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        inside = [(f"{place}.{name}" if place else str(name), item) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        inside = [(f"{place}[{number}]", item) for number, item in enumerate(value)]
    else:
        return place, value
    for inner, item in inside:
        try:
            to_json(item)
        except (TypeError, ValueError):
            return _not_json(item, inner)
    return place, value


def plain_text(text: str, what: str) -> str:
    """``text`` if every database can hold it as a text column; ``what`` names it in the error."""
    if "\x00" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise StoreError(
            f"{what} {text!r} cannot be stored: it holds a NUL character or half a surrogate pair; rename it"
        )
    return text


def result_row(key: ResultKey, result: Result, created: str) -> dict[str, Any]:
    """The row of one result; :class:`StoreError` names the sample and what about it cannot be stored."""
    sample = f"sample {result.sample_id!r}"
    metrics = {name: float(value) for name, value in result.marks.values.items()}
    weights = {name: float(value) for name, value in result.marks.weights.items()}
    numbers = metrics | {f"weight of {name}": value for name, value in weights.items()}
    for name, value in (numbers | {"weight": result.weight, "seconds": result.seconds}).items():
        if not math.isfinite(value):
            raise StoreError(
                f"{sample} cannot be stored: its {name} is {value!r}, which JSON cannot hold; a metric must give "
                "a number for every sample"
            )
    return {
        "model": key.model,
        "task": key.task,
        "settings": key.settings,
        "sample_id": plain_text(result.sample_id, "sample id"),
        "group": plain_text(result.group, f"the group of {sample}"),
        "weight": float(result.weight),
        "prediction": result.marks.prediction,
        "metrics": metrics,
        "metric_weights": weights,
        "seconds": float(result.seconds),
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "requests": [dict(request) for request in result.requests],
        "responses": [dict(response) for response in result.responses],
        "created": created,
    }


def result_of(row: Any) -> Result:
    """The result a row holds."""
    return Result(
        sample_id=row.sample_id,
        marks=Marks(values=row.metrics, prediction=row.prediction, weights=row.metric_weights),
        group=row.group,
        weight=row.weight,
        requests=tuple(row.requests),
        responses=tuple(row.responses),
        seconds=row.seconds,
        usage=Usage(row.prompt_tokens, row.completion_tokens),
    )


def run_of(row: Any) -> RunRecord:
    """The run a row holds."""
    return RunRecord(row.id, row.verb, row.status, row.created, row.finished, row.settings, row.summary)
