"""Conditions on metadata as SQL, with the meaning they have in :mod:`steelyard.retrieval.index.filters`."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from steelyard.retrieval.index.filters import AllOf, Condition, Filter

_OF_SOURCE = "jsonb_build_array(s.source)"
_OF_KEY = (
    "CASE WHEN NOT s.metadata ? {key} THEN '[]' WHEN jsonb_typeof(s.metadata -> {key}) = 'array'"
    " THEN s.metadata -> {key} ELSE jsonb_build_array(s.metadata -> {key}) END"
)


class Clause(NamedTuple):
    """A boolean expression over the table of passages, called s, and the values it names."""

    sql: str
    values: dict[str, Any]


def clause(chosen: Filter | None) -> Clause:
    """What a filter is in SQL; None is always true.

    >>> clause(Condition("source", "=", "a.md")).values
    {'w0': 'source', 'w1': '"a.md"'}
    """
    values: dict[str, Any] = {}
    return Clause("true" if chosen is None else _sql(chosen, values), values)


def _sql(chosen: Filter, values: dict[str, Any]) -> str:
    if isinstance(chosen, Condition):
        return _condition(chosen, values)
    parts = [_sql(part, values) for part in chosen.filters]
    every = isinstance(chosen, AllOf)
    return f"({(' AND ' if every else ' OR ').join(parts)})" if parts else str(every).lower()


def _condition(condition: Condition, values: dict[str, Any]) -> str:
    key = _named(condition.key, values)
    held = _OF_SOURCE if condition.key == "source" else _OF_KEY.format(key=key)
    operator = "=" if condition.operator == "!=" else condition.operator
    found = f"EXISTS (SELECT FROM jsonb_array_elements({held}) AS v WHERE {_accepts(operator, condition, values)})"
    return f"NOT {found}" if condition.operator == "!=" else found


def _accepts(operator: str, condition: Condition, values: dict[str, Any]) -> str:
    if operator in ("=", "in"):
        wanted = condition.value if operator == "in" else [condition.value]
        each = [f"{_named(json.dumps(value), values)}::jsonb" for value in wanted]
        return f"v IN ({', '.join(each)})" if each else "false"
    if isinstance(condition.value, int | float):
        number = _named(condition.value, values)
        return f"CASE jsonb_typeof(v) WHEN 'number' THEN v::numeric {operator} {number}::numeric END"
    if not isinstance(condition.value, str):
        return "false"
    text = _named(condition.value, values)
    return f"jsonb_typeof(v) = 'string' AND (v #>> '{{}}') COLLATE \"C\" {operator} {text}::text"


def _named(value: Any, values: dict[str, Any]) -> str:
    name = f"w{len(values)}"
    values[name] = value
    return f"%({name})s"
