"""Orders that a reranker gave, kept as data from which a smaller one can be trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.contracts import Hit
from steelyard.errors import InputError


@dataclass(frozen=True, slots=True)
class TeacherOrder:
    """A query with its passages, the teacher's best first; ``teacher`` names model and part."""

    query: str
    hits: tuple[Hit, ...]
    teacher: str = ""


def write_orders(file: Path, queries: Sequence[str], hits: Sequence[Sequence[Hit]], *, teacher: str) -> int:
    """Write the reranked ``hits`` of each query to a JSONL file, one query a line, and return the number of lines.

    A line is ``{"query": ..., "teacher": ..., "passages": [{"id": ..., "text": ..., "source": ...}, ...]}``, best
    first. The file appears when it is whole.
    """
    lines = [
        {
            "query": query,
            "teacher": teacher,
            "passages": [{"id": hit.id, "text": hit.text, "source": hit.source} for hit in each],
        }
        for query, each in zip(queries, hits, strict=True)
    ]
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    partial.replace(file)
    return len(lines)


def read_orders(file: Path) -> Iterator[TeacherOrder]:
    """The orders of a file, one at a time; hits are scored 1, 1/2, 1/3 ... by place.

    Raises:
        InputError: the file cannot be read, or a line is no order; it names the line.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _order(line, f"{file}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); check the path") from error


def _order(line: str, place: str) -> TeacherOrder:
    try:
        record = json.loads(line)
        query, teacher = record["query"], record.get("teacher", "")
        passages = [(one["id"], one["text"], one.get("source", "")) for one in record["passages"]]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{place}: is not an order of passages ({error}); it needs query and passages") from error
    if not all(isinstance(text, str) for text in (query, teacher, *(t for one in passages for t in one))):
        raise InputError(f"{place}: query, teacher, ids, texts and sources must be texts")
    if len({one[0] for one in passages}) < len(passages):
        raise InputError(f"{place}: two passages have one id; an order names each passage once")
    hits = tuple(Hit(id, 1.0 / rank, text, source) for rank, (id, text, source) in enumerate(passages, start=1))
    return TeacherOrder(query, hits, teacher)
