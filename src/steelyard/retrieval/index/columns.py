"""Columns of strings as two arrays, so that they can be memory-mapped like any other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]


class Strings:
    """A column of strings: ``data`` holds them end to end in UTF-8 (uint8), string i from ``offsets[i]`` on.

    Example:
        >>> column = Strings.of(["lift", "drag"])
        >>> column[1], len(column), list(column)
        ('drag', 2, ['lift', 'drag'])
    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.data = data
        self.offsets = offsets
        self._bytes = memoryview(data)  # type: ignore[arg-type]  # several times as fast as the array for one string
        self._places = memoryview(offsets)  # type: ignore[arg-type]

    @classmethod
    def of(cls, strings: Iterable[str | bytes]) -> Strings:
        """The column of these strings."""
        encoded = [s if isinstance(s, bytes) else s.encode("utf-8") for s in strings]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(s) for s in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> Strings:
        """The column kept as ``name.data`` and ``name.offsets``."""
        return cls(arrays[f"{name}.data"], arrays[f"{name}.offsets"])

    def arrays(self, name: str) -> Arrays:
        """The two arrays under the names that :meth:`from_arrays` reads."""
        return {f"{name}.data": self.data, f"{name}.offsets": self.offsets}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def raw(self, row: int) -> bytes:
        """The UTF-8 bytes of string ``row``."""
        return self._bytes[self._places[row] : self._places[row + 1]].tobytes()

    def __getitem__(self, row: int) -> str:
        return self.raw(row).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def find(self, string: bytes) -> int:
        """The row of ``string`` in a sorted column, or -1; by bisection, which reads a few pages at most."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.raw(middle) < string:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.raw(low) == string else -1


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Counts in the smallest unsigned type that holds them all."""
    top = int(values.max(initial=0))
    return values.astype(np.min_scalar_type(top), copy=False)
