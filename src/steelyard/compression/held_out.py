"""Texts to measure a compressed model on: windows of them, and a part of the calibration texts held back."""

from __future__ import annotations

import random
from typing import NamedTuple

from steelyard.contracts import Texts
from steelyard.errors import InputError

HELD_BACK = 0.1
"""Share of the calibration texts that is held back where no other texts are given."""
ENOUGH = 40_000
"""Characters of calibration texts from which on a tenth is worth holding back: a few windows at least."""


class Split(NamedTuple):
    """Texts to calibrate on, and texts to measure on (none where there are too few)."""

    calibration: Texts
    held_out: Texts


def text_windows(texts: Texts, *, windows: int = 24, characters: int = 1000, seed: int = 0) -> list[str]:
    """Pieces of about ``characters`` characters, cut at blanks, drawn by ``seed`` and kept in order.

    >>> text_windows(["one two three four"], windows=3, characters=9)
    ['one two', 'three', 'four']
    """
    pieces = [piece for text in texts for piece in _pieces(text, characters)]
    if not pieces:
        raise InputError("the held-out texts are blank; give a few paragraphs to measure on")
    chosen = sorted(random.Random(seed).sample(range(len(pieces)), min(windows, len(pieces))))
    return [pieces[i] for i in chosen]


def hold_back(texts: Texts, *, share: float = HELD_BACK, enough: int = ENOUGH) -> Split:
    """Take the last ``share`` of the texts, by characters, away from calibration.

    Whole texts go where they can; the text at the border is cut at the end of a line, or at a blank where it has
    no lines. Texts of fewer than ``enough`` characters stay whole, and nothing is held back.

    >>> hold_back(["one two three four five"], share=0.4, enough=10)
    Split(calibration=['one two three'], held_out=['four five'])
    """
    wanted = round(share * sum(map(len, texts)))
    if sum(map(len, texts)) < enough or wanted < 1:
        return Split(texts, [])
    kept, held = list(texts), list[str]()
    while wanted > 0 and kept:
        last = kept.pop()
        cut = _border(last, max(0, len(last) - wanted))
        wanted -= len(last) - cut
        held.insert(0, last[cut:].strip())
        if last[:cut].strip():
            kept.append(last[:cut].strip())
    return Split(kept, [text for text in held if text])


def _border(text: str, place: int) -> int:
    """The end of a line, or else a blank, at or before ``place``; the place itself where there is neither."""
    for mark in ("\n", " "):
        found = text.rfind(mark, 0, place + 1)
        if found > 0:
            return found
    return place


def _pieces(text: str, characters: int) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + characters
        blank = text.rfind(" ", start + 1, end + 1) if end < len(text) else -1
        end = blank if blank > start else end
        pieces.append(text[start:end].strip())
        start = end
    if len(pieces) > 1 and len(pieces[-1]) < characters // 2:
        last = pieces.pop()
        pieces[-1] = f"{pieces[-1]} {last}"
    return [piece for piece in pieces if piece]
