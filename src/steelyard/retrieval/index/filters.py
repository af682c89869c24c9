"""Conditions on metadata: which passages a search may return."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from steelyard.errors import UsageError

Operator: TypeAlias = Literal["=", "!=", "in", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Condition:
    """``key operator value``; ``key`` may be "source", the document's name.

    A key with several values (a list) fulfils a condition if one of them does; a missing key fulfils none, but
    "!=" holds where no value equals. Ranges compare numbers with numbers and strings with strings.
    """

    key: str
    operator: Operator
    value: Any

    def holds(self, values: Iterable[Any]) -> bool:
        """Whether a passage with these values of the key fulfils the condition."""
        if self.operator == "!=":
            return all(value != self.value for value in values)
        return any(self.accepts(value) for value in values)

    def accepts(self, value: Any) -> bool:
        """Whether one value does."""
        if self.operator == "=":
            return bool(value == self.value)
        if self.operator == "in":
            return value in self.value
        numbers = isinstance(value, int | float) and isinstance(self.value, int | float)
        if not numbers and not (isinstance(value, str) and isinstance(self.value, str)):
            return False
        return _COMPARE[self.operator](value, self.value)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of several filters holds; with none, always."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several filters holds."""

    filters: tuple[Filter, ...]


Filter: TypeAlias = Condition | AllOf | AnyOf

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_TEXT = re.compile(r"\s*([^<>=!\s]+)\s*(!=|<=|>=|=|<|>|\sin\s)\s*(.*?)\s*", re.DOTALL)


def parse(text: str) -> Condition:
    """A condition as typed: ``page>=3``, ``source=wings.pdf``, ``lang in [de, fr]``; the value is read as YAML.

    >>> parse("page >= 3")
    Condition(key='page', operator='>=', value=3)
    >>> parse("lang in [de, fr]").value
    ['de', 'fr']

    Raises:
        UsageError: Not of this form.
    """
    import yaml

    found = _TEXT.fullmatch(text)
    if found is None:
        raise UsageError(f"condition {text!r}: write key=value, key!=value, key>=value or key in [value, value]")
    operator: Any = found[2].strip()
    try:
        value = yaml.safe_load(found[3])
    except yaml.YAMLError as error:
        raise UsageError(f"condition {text!r}: the value cannot be read") from error
    if operator == "in" and not isinstance(value, list):
        raise UsageError(f"condition {text!r}: write the values of 'in' as [value, value]")
    return Condition(found[1], operator, value)
