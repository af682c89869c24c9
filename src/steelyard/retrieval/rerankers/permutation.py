"""Permutations as models write them: ``[2] > [3] > [1]``, read and repaired."""

from __future__ import annotations

import re
from typing import NamedTuple

_BRACKETED = re.compile(r"\[\s*([0-9]+)\s*\]")
_NUMBER = re.compile(r"[0-9]+")


class Permutation(NamedTuple):
    """A permutation of 0..n-1, best first.

    Attributes:
        order: all numbers, those that were read in front.
        read: how many of them were read; 0 where the text says nothing.
        repeated: how many were named again.
        foreign: how many numbers were named that no passage has.
    """

    order: list[int]
    read: int
    repeated: int
    foreign: int


def read_permutation(text: str, n: int) -> Permutation:
    """Read the order of ``n`` passages, numbered from 1, in a model's words.

    Numbers in brackets count; where there are none, all numbers do. Repeated ones count where they stand first,
    foreign ones not at all, and missing ones follow in the order in which they were shown.

    Source: Is ChatGPT Good at Search?, released code (which always takes all numbers).

    >>> read_permutation("[2] > [1] > [2] > [9]", 3)
    Permutation(order=[1, 0, 2], read=2, repeated=1, foreign=1)
    """
    found = _BRACKETED.findall(text) or _NUMBER.findall(text)
    digits = len(str(n))
    named = [int(word.lstrip("0") or "0") - 1 if len(word.lstrip("0")) <= digits else n for word in found]
    valid = [number for number in named if 0 <= number < n]
    order = list(dict.fromkeys(valid))
    seen = set(order)
    rest = [number for number in range(n) if number not in seen]
    return Permutation(order + rest, len(order), len(valid) - len(order), len(named) - len(valid))
