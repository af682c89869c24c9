"""Requests in the forms that people measure with, built from public data sets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steelyard.contracts import Continuation

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LETTERS = "ABCDE"
FORMS = ("arc cloze", "arc letters, 5 shots", "stem completion", "piqa", "boolq", "long context, 4 endings")


def records(data: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a JSONL file below the data folder."""
    file = data / name
    if not file.is_file():
        sys.exit(f"{file}: not found; give the folder of the public data sets with --data")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def questions(form: str, data: Path, count: int) -> list[list[Continuation]]:
    """Requests of ``count`` questions in one of :data:`FORMS`, a list for each question."""
    if form == "arc cloze":
        return [_cloze(row) for row in records(data, "arc_challenge/test.jsonl")[:count]]
    if form == "arc letters, 5 shots":
        rows = records(data, "arc_challenge/test.jsonl")
        header = "".join(f"{_listed(row)} {LETTERS[row['label']]}\n\n" for row in rows[-5:])
        return [
            [Continuation(header + _listed(row), f" {letter}") for letter in LETTERS[: len(row["choices"])]]
            for row in rows[:count]
        ]
    if form == "stem completion":  # the shape of OpenBookQA: the bare stem, completed by each choice
        return [
            [Continuation(row["question"], f" {choice}") for choice in row["choices"]]
            for row in records(data, "arc_challenge/test.jsonl")[:count]
        ]
    if form == "piqa":
        return [_cloze(row) for row in records(data, "piqa/test.jsonl")[:count]]
    if form == "boolq":
        rows = records(data, "boolq/test.jsonl")[:count]
        return [[Continuation(f"{row['question']}?\nAnswer:", f" {c}") for c in ("yes", "no")] for row in rows]
    return list(_long(data))[:count]


def texts(data: Path, count: int) -> list[str]:
    """The first articles of WikiText-2's validation part."""
    file = data / "wikitext2" / "valid.txt"
    if not file.is_file():
        sys.exit(f"{file}: not found; give the folder of the public data sets with --data")
    parts = re.split(r"(?m)^(?= = [^=].*[^=] = $)", file.read_text(encoding="utf-8"))
    return [part for part in parts if part.strip()][:count]


def _cloze(row: dict[str, Any]) -> list[Continuation]:
    return [Continuation(f"Question: {row['question']}\nAnswer:", f" {choice}") for choice in row["choices"]]


def _listed(row: dict[str, Any]) -> str:
    choices = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=False))
    return f"Question: {row['question']}\n{choices}Answer:"


def _long(data: Path) -> Iterator[list[Continuation]]:
    """An encyclopedia paragraph, and as endings one sentence each of the paragraph that follows and of others."""
    file = data / "xquad" / "xquad.en.json"
    if not file.is_file():
        sys.exit(f"{file}: not found; give the folder of the public data sets with --data")
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = [p["context"] for article in articles for p in article["paragraphs"]]
    sentences = [next((s for s in re.split(r"(?<=\.) ", p) if 80 < len(s) < 240), p[:160]) for p in paragraphs]
    for index, paragraph in enumerate(paragraphs):
        endings = [sentences[(index + step) % len(sentences)] for step in (1, 7, 19, 31)]
        yield [Continuation(f"{paragraph}\nThe text goes on:", f" {ending}") for ending in endings]
