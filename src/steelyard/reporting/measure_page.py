"""The page of a measure: headline values, tables and notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.formatting import finite
from steelyard.reporting.measurement_views import table_views, value_plot, value_views
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import Frame, Page, page

DETAILS_LIMIT = 200_000
"""Longest raw details a page carries, in characters; the JSON output of the command has them all."""


def measure_page(record: Mapping[str, Any]) -> Page:
    """The page of a measure record."""
    measurement, measure = record["measurement"], record.get("measure") or {}
    details = json.dumps(measurement.get("details") or {}, ensure_ascii=False, indent=1)
    context = {
        "values": value_views(measurement),
        "drawing": value_plot(measurement),
        "tables": table_views(measurement),
        "notes": [str(note) for note in measurement.get("notes") or ()],
        "source": str(measure.get("source") or ""),
        "models": [model_facts(model) for model in record.get("models") or ()],
        "details": details if measurement.get("details") and len(details) <= DETAILS_LIMIT else "",
        "details_left_out": len(details) > DETAILS_LIMIT,
    }
    named = [("values", "Values", context["values"]), ("tables", "Tables", context["tables"])]
    frame = Frame(
        title=str(measure.get("name") or measurement.get("name") or "measure"),
        kind="measure",
        sections=[(anchor, name) for anchor, name, shown in named if shown],
        tasks=(),
        systems=(),
        browsed=(),
        statistics=statistics_text("measure"),
    )
    return page(record, "measure.html.j2", frame, context)


def model_facts(model: Mapping[str, Any]) -> tuple[str, str]:
    """A model's name with its weight parts, and its size in words."""
    sizes = []
    if finite(model.get("parameters")) is not None:
        sizes.append(f"{fmt.count_text(model['parameters'])} parameters")
    if finite(model.get("memory_bytes")) is not None:
        sizes.append(f"{fmt.bytes_text(model['memory_bytes'])} in memory")
    return views.recipe_text(model), ", ".join(sizes)
