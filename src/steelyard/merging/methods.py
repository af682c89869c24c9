"""Merge methods by the names people know them by.

A method is a part of the kind ``merger``. Several names stand for one part with certain settings: a paper's
sparsifier with or without an election of signs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from steelyard import parts
from steelyard.errors import UsageError
from steelyard.parts import inputs_of, load, nearest, parse_use, part_name, validate

KIND = "merger"

NAMES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "soup": ("linear", {}),
    "dare-ties": ("dare", {"consensus": "sum"}),
    "dare-linear": ("dare", {"consensus": "none"}),
    "della-ties": ("della", {"consensus": "sum"}),
    "della-linear": ("della", {"consensus": "none", "normalise": False}),
    "breadcrumbs-ties": ("breadcrumbs", {"consensus": "sum"}),
    "genome": ("population-evolution", {}),
}
"""Other names of parts: the part, and the settings that the name stands for."""

MethodEntry: TypeAlias = str | Mapping[str, Mapping[str, Any] | None]
"""``"ties"``, ``"ties:density=0.5"`` or ``{"ties": {"density": 0.5}}``."""


@dataclass(frozen=True)
class Method:
    """A part with all its settings, checked. ``inputs`` are what it takes beside them."""

    name: str
    function: Callable[..., Any]
    settings: Mapping[str, Any]

    @property
    def inputs(self) -> list[str]:
        """Names of its positional arguments."""
        return inputs_of(self.function)


def find_method(entry: MethodEntry) -> Method:
    """Read a method as typed or as data, and check its settings.

    Raises:
        UsageError: an unknown method or setting, with the nearest real one.

    Example:
        >>> find_method("della-linear:density=0.3").settings["consensus"]
        'none'
    """
    if isinstance(entry, str):
        name, settings = parse_use(entry)
    elif len(entry) == 1:
        ((name, given),) = entry.items()
        settings = dict(given or {})
    else:
        raise UsageError(f"a merge has one method with its settings, not {dict(entry)!r}")
    part, preset = NAMES.get(part_name(name), (part_name(name), {}))
    known = sorted({*NAMES, *(info.name for info in parts.index().values() if info.kind == KIND)})
    if part not in parts.index():
        raise UsageError(f"unknown merge method {name!r}{nearest(part, known)}; known: {', '.join(known)}")
    function = load(part, KIND)
    return Method(part, function, {**_defaults(function), **validate(function, {**preset, **settings})})


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Settings as they are when nothing is said, so that a merged model's history says all of them."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
