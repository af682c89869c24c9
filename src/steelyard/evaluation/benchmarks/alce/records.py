"""ALCE's questions as its authors publish them: one JSON list a data set, each question with its documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.alce.citations import Layout
from steelyard.evaluation.task_header import TaskHeader, how_to_get, required_folder

Subset: TypeAlias = Literal["asqa", "qampari", "eli5"]

HEADER = TaskHeader(
    paper="Enabling Large Language Models to Generate Text with Citations",
    data_set="ALCE",
    licence="MIT for the authors' program; ASQA Apache-2.0, QAMPARI CC0, ELI5 not stated",
    metric="citation recall and precision, and each data set's own correctness",
    folder="ALCE-data",
    layout="asqa_eval_gtr_top100.json, qampari_eval_gtr_top100.json and eli5_eval_bm25_top100.json",
    hub="princeton-nlp/ALCE-data, file ALCE-data.tar, unpacked",
    url="https://github.com/princeton-nlp/ALCE",
)
FILES: Mapping[Subset, str] = {
    "asqa": "asqa_eval_gtr_top100.json",
    "qampari": "qampari_eval_gtr_top100.json",
    "eli5": "eli5_eval_bm25_top100.json",
}
LAYOUTS: Mapping[Subset, Layout] = {"asqa": "prose", "qampari": "list", "eli5": "prose"}


@dataclass(frozen=True, slots=True)
class Source:
    """One document of a question: ``summary`` and ``snippet`` are shorter forms, where the file has them.

    ``passage`` is what the judge reads in place of ``text``, where a file names a sentence of it.
    """

    title: str
    text: str
    summary: str | None = None
    snippet: str | None = None
    passage: str | None = None

    @property
    def premise(self) -> str:
        """The document as the judge reads it."""
        return f"Title: {self.title}\n{self.text if self.passage is None else self.passage}"


@dataclass(frozen=True, slots=True)
class Item:
    """One question: its documents, best first, a person's answer, and what an answer should hold.

    ``accepted`` has the short answers to each sub-question (ASQA) or the names of each gold answer (QAMPARI);
    ``claims`` are those of ELI5.
    """

    id: str
    question: str
    answer: str
    documents: tuple[Source, ...]
    accepted: tuple[tuple[str, ...], ...] = ()
    claims: tuple[str, ...] = ()


def read_items(subset: Subset, data: str | None) -> list[Item]:
    """The questions of one data set.

    Args:
        subset: Which.
        data: Its file, or the folder that holds it; by default the folder below ``STEELYARD_DATA``.

    Raises:
        UsageError: The data are not here.
        InputError: The file is not in the published layout.
    """
    place = required_folder(HEADER, data)
    file = place / FILES[subset] if place.is_dir() else place
    if not file.exists():
        raise UsageError(f"{file}: no such file; {how_to_get(HEADER)}")
    records = _json(file)
    if not isinstance(records, list) or not records:
        raise InputError(f"{file}: not a list of questions; give one of {HEADER.layout}")
    items = [_item(subset, record, f"{file}: question {number}") for number, record in enumerate(records, start=1)]
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise InputError(f"{file}: two questions have the id {item.id!r}")
        seen.add(item.id)
    return items


def _item(subset: Subset, record: Any, place: str) -> Item:
    if not isinstance(record, dict):
        raise InputError(f"{place}: is no object")
    question = _text(record, "question", place)
    documents = tuple(
        _source(one, f"{place}, document {number}") for number, one in enumerate(_list(record, "docs", place), 1)
    )
    name = record.get("sample_id") or record.get("id") or place.rsplit(" ", 1)[-1]
    accepted, claims = _READERS[subset](record, place)
    answer = record.get("answer")
    return Item(str(name), question, answer if isinstance(answer, str) else "", documents, accepted, claims)


def _source(record: Any, place: str) -> Source:
    if not isinstance(record, dict):
        raise InputError(f"{place}: is no object")
    shorter = {
        name: record[name] for name in ("summary", "extraction", "sent") if isinstance(record.get(name), str)
    }
    return Source(
        _text(record, "title", place),
        _text(record, "text", place),
        shorter.get("summary"),
        shorter.get("extraction"),
        shorter.get("sent"),
    )


Gold: TypeAlias = tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]


def _asqa(record: Mapping[str, Any], place: str) -> Gold:
    pairs = _list(record, "qa_pairs", place)
    answers = [pair.get("short_answers") if isinstance(pair, dict) else None for pair in pairs]
    return _names(answers, "qa_pairs", place), ()


def _qampari(record: Mapping[str, Any], place: str) -> Gold:
    return _names(_list(record, "answers", place), "answers", place), ()


def _eli5(record: Mapping[str, Any], place: str) -> Gold:
    claims = _list(record, "claims", place)
    if not claims or not all(isinstance(claim, str) and claim.strip() for claim in claims):
        raise InputError(f"{place}: 'claims' must be a list of sentences")
    return (), tuple(claims)


_READERS: Mapping[Subset, Callable[[Mapping[str, Any], str], Gold]] = {
    "asqa": _asqa,
    "qampari": _qampari,
    "eli5": _eli5,
}


def _names(lists: Sequence[Any], field: str, place: str) -> tuple[tuple[str, ...], ...]:
    for names in lists:
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{place}: {field!r} must hold lists of accepted answers")
    if not lists:
        raise InputError(f"{place}: {field!r} is empty, so that nothing would be right")
    return tuple(tuple(names) for names in lists)


def _text(record: Mapping[str, Any], name: str, place: str) -> str:
    if not isinstance(record.get(name), str):
        raise InputError(f"{place}: has no text {name!r}; see {HEADER.url}")
    return str(record[name])


def _list(record: Mapping[str, Any], name: str, place: str) -> list[Any]:
    if not isinstance(record.get(name), list):
        raise InputError(f"{place}: has no list {name!r}; see {HEADER.url}")
    return list(record[name])


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{file}: not a JSON file ({str(error).splitlines()[0]})") from None
