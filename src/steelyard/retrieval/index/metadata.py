"""Metadata of passages as arrays: every distinct value once, and which passages have it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.retrieval.index.columns import Arrays, Strings
from steelyard.retrieval.index.filters import AllOf, AnyOf, Condition, Filter

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Metadata:
    """The metadata of one segment.

    ``values`` are the distinct (key, value) pairs as JSON; passage i has those numbered
    ``numbers[offsets[i]:offsets[i + 1]]``. A condition is put to the distinct values and spread to the passages
    from there, so its cost follows the number of distinct values.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.values = Strings.from_arrays(arrays, "metadata.values")
        self.keys = Strings.from_arrays(arrays, "metadata.keys")
        self.value_keys = arrays["metadata.value_keys"]
        self.offsets = arrays["metadata.offsets"]
        self.numbers = arrays["metadata.numbers"]

    def raw(self, row: int) -> list[tuple[str, bytes]]:
        """Key and JSON value of everything that passage ``row`` has."""
        numbers = self.numbers[self.offsets.item(row) : self.offsets.item(row + 1)].tolist()
        return [(self.keys[self.value_keys.item(n)], self.values.raw(n)) for n in numbers]

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The metadata of passage ``row`` as given; of a list the elements were kept, so it comes back as one."""
        found: dict[str, Any] = {}
        for key, value in self.raw(row):
            listed, item = json.loads(value)
            if listed:
                found.setdefault(key, []).append(item)
            else:
                found[key] = item
        return found

    def rows(self, condition: Condition) -> NDArray[np.bool_]:
        """Which passages fulfil ``condition``: bool (n,)."""
        inverse = condition.operator == "!="
        asked = Condition(condition.key, "=", condition.value) if inverse else condition
        key = next((i for i, name in enumerate(self.keys) if name == condition.key), -1)
        good = np.zeros(len(self.values), dtype=bool)
        for number in np.flatnonzero(np.asarray(self.value_keys) == key).tolist():
            good[number] = asked.accepts(json.loads(self.values.raw(number))[1])
        per_row = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        found = np.zeros(len(self.offsets) - 1, dtype=bool)
        found[per_row[good[self.numbers]]] = True
        return ~found if inverse else found


def metadata_arrays(rows: Iterable[Sequence[tuple[str, bytes]]]) -> Arrays:
    """The arrays of :class:`Metadata`, of the raw pairs of every passage."""
    keys: dict[str, int] = {}
    values: dict[tuple[int, bytes], int] = {}
    numbers: list[int] = []
    offsets = [0]
    for pairs in rows:
        for name, value in pairs:
            key = keys.setdefault(name, len(keys))
            numbers.append(values.setdefault((key, value), len(values)))
        offsets.append(len(numbers))
    return {
        **Strings.of([value for _, value in values]).arrays("metadata.values"),
        **Strings.of(keys).arrays("metadata.keys"),
        "metadata.value_keys": np.array([key for key, _ in values], dtype=np.int32),
        "metadata.offsets": np.array(offsets, dtype=np.int64),
        "metadata.numbers": np.array(numbers, dtype=np.int32),
    }


def raw_pairs(metadata: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """What is kept of a passage's metadata: JSON-ready values, of a list every element."""
    pairs = []
    for key, value in metadata.items():
        listed = isinstance(value, list | tuple)
        for item in value if listed else [value]:
            pairs.append((key, json.dumps([int(listed), item], ensure_ascii=True).encode("ascii")))
    return pairs


def allowed_rows(
    chosen: Filter, metadata: Metadata, sources: Iterable[str], of: NDArray[Any]
) -> NDArray[np.bool_]:
    """Which passages a filter lets through: bool (n,). ``of`` holds the number of each passage's source."""
    if isinstance(chosen, Condition):
        if chosen.key == "source":
            good = np.array([chosen.holds([source]) for source in sources], dtype=bool)
            return good[of] if len(good) else np.zeros(len(of), dtype=bool)
        return metadata.rows(chosen)
    found = [allowed_rows(part, metadata, sources, of) for part in chosen.filters]
    start = np.full(len(of), isinstance(chosen, AllOf))
    for part in found:
        start = start | part if isinstance(chosen, AnyOf) else start & part
    return start
