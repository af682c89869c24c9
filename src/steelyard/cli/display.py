"""Small results for people: a comparison, a compression, a list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def show_comparison(record: Mapping[str, Any], out: Console) -> None:
    """Both systems' values, and what the paired test says."""
    for name, side in zip(record["names"], ("first", "second"), strict=True):
        out.print(f"{name}: {record['metric']} {_interval(record[side])}", markup=False, soft_wrap=True)
    out.print(record["verdict"], markup=False, style="bold", soft_wrap=True)
    for name, count in zip(record["names"], (record["only_first"], record["only_second"]), strict=True):
        if count:
            out.print(f"not compared: {count} samples that only {name} has", markup=False)


def show_compression(record: Mapping[str, Any], out: Console) -> None:
    """Before and after, one line a measure."""
    for name, value in record.items():
        if isinstance(value, Mapping) and "before" in value and "after" in value:
            out.print(f"{name}: {_value(value['before'])} -> {_value(value['after'])}", markup=False)
        elif not isinstance(value, Mapping | list):
            out.print(f"{name}: {_value(value)}", markup=False, soft_wrap=True)


def show_runs(found: Sequence[Mapping[str, Any]], out: Console) -> None:
    """One line a run, newest first."""
    if not found:
        out.print("no runs yet")
    for run in found:
        line = f"{run['id']}  {run['verb']:5}  {run['status']:8}  {run['finding']}"
        out.print(line, markup=False, overflow="ellipsis", no_wrap=True)


def _interval(record: Mapping[str, Any]) -> str:
    if record["low"] is None or record["high"] is None:
        return f"{record['value']:.4f} (n = {record['n']})"
    return f"{record['value']:.4f} [{record['low']:.4f}, {record['high']:.4f}] (n = {record['n']})"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
