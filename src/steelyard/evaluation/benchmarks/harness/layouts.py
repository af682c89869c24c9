"""Layouts: how copies of well-known data sets lie on disk, and what a record becomes.

A *layout* names the files of each split and turns a record into the document that lm-evaluation-harness's template
expects, whichever of the known forms the record has: the hub's, the authors' own, or that of the LLM-Adapters
repository (``question``, ``choices``, ``label``), which calls validation parts "test".
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from steelyard.errors import InputError
from steelyard.evaluation.records import SUFFIXES
from steelyard.evaluation.task_header import records_of

Record: TypeAlias = Mapping[str, Any]
Document: TypeAlias = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_HEADING = re.compile(r"^ = [^=].*[^=] = ?$")
_STEPS = "Let's think step by step."


@dataclass(frozen=True, slots=True)
class Layout:
    """File name patterns of each split, the first that is there counting, and how a file and a record are read.

    ``read`` yields place and record of everything in a file; ``document`` makes a document of a record.
    """

    files: Mapping[str, tuple[str, ...]]
    read: Callable[[Path], Iterator[tuple[str, Record]]]
    document: Callable[[Record], Document]


def _choice_list(record: Record) -> tuple[list[str], list[str], str]:
    """Texts, labels and right label of a record's choices, in any of three forms."""
    found: Any = record["choices"] if "choices" in record else record["question"]["choices"]
    if isinstance(found, Mapping):
        return list(found["text"]), list(found["label"]), str(record["answerKey"])
    if found and isinstance(found[0], Mapping):
        return [c["text"] for c in found], [c["label"] for c in found], str(record["answerKey"])
    labels = list(LETTERS[: len(found)])
    return list(found), labels, labels[int(record["label"])]


def arc_document(record: Record) -> Document:
    """``question``, ``choices`` (texts and labels) and ``answerKey``: ARC and CommonsenseQA."""
    question: Any = record["question"]
    texts, labels, key = _choice_list(record)
    stem = question["stem"] if isinstance(question, Mapping) else str(question)
    return {"question": stem, "choices": {"text": texts, "label": labels}, "answerKey": key}


def openbookqa_document(record: Record) -> Document:
    """``question_stem``, ``choices`` and ``answerKey``."""
    if "question_stem" in record:
        record = {**record, "question": record["question_stem"]}
    made = arc_document(record)
    return {"question_stem": made.pop("question"), **made}


def piqa_document(record: Record) -> Document:
    """``goal``, ``sol1``, ``sol2`` and ``label``."""
    if "goal" in record:
        return {key: record[key] for key in ("goal", "sol1", "sol2", "label")}
    first, second = record["choices"]
    return {"goal": record["question"], "sol1": first, "sol2": second, "label": record["label"]}


def boolq_document(record: Record) -> Document:
    """``passage`` (empty where a copy has none), ``question`` without question mark, and ``label`` (1 is yes)."""
    label = record["answer"] if "answer" in record else record["label"]
    question = str(record["question"]).strip().removesuffix("?")
    return {"passage": record.get("passage", ""), "question": question, "label": int(label)}


def truthfulqa_document(record: Record) -> Document:
    """``question`` with the choices of MC1 (the best answer first) and MC2, and their labels."""
    if "mc1_targets" in record:
        made = {"question": record["question"]}
        for name in ("mc1_targets", "mc2_targets"):
            found = record[name]
            if "choices" not in found:
                found = {"choices": list(found), "labels": list(found.values())}
            made[name] = found
        return made
    right, wrong = (_semicolons(record[name]) for name in ("Correct Answers", "Incorrect Answers"))
    one = [str(record["Best Answer"]).strip(), *wrong]
    return {
        "question": str(record["Question"]).strip(),
        "mc1_targets": {"choices": one, "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
    }


def _semicolons(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(";") if piece.strip()]


def any_records(file: Path) -> Iterator[tuple[str, Record]]:
    """Records of a JSONL, CSV or Parquet file, of a JSON list, or of a JSON object with ``examples``."""
    if file.suffix == ".csv":
        yield from _table(file)
        return
    if file.suffix in SUFFIXES:
        yield from records_of(file)
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    found = found.get("examples") if isinstance(found, Mapping) else found
    if not isinstance(found, list):
        raise InputError(f"{file}: neither a list of records nor an object with 'examples'")
    for number, record in enumerate(found):
        yield f"{file}:record {number + 1}", record


def _table(file: Path) -> Iterator[tuple[str, Record]]:
    """Rows of a CSV file as they are: texts, with empty cells kept."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream, strict=True)):
                yield f"{file}:row {number + 1}", row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a CSV table in UTF-8 ({error})") from None


def _examples_or_prompts(file: Path) -> Iterator[tuple[str, Record]]:
    if file.suffix == ".txt":
        yield from _worked(file)
    else:
        yield from any_records(file)


def _worked(file: Path) -> Iterator[tuple[str, Record]]:
    r"""Worked examples of a BIG-bench Hard prompt file: "Q: ...\nA: Let's think step by step. ..." each."""
    body = file.read_text(encoding="utf-8").split("-----\n", 1)[-1]
    for number, block in enumerate(body.split("\n\nQ: ")[1:]):
        question, separator, answer = block.partition(f"\nA: {_STEPS}")
        if not separator:
            raise InputError(f"{file}: example {number + 1} has no line beginning 'A: {_STEPS}'")
        yield f"{file}:example {number + 1}", {"input": question, "target": answer.strip()}


def pages(text: str) -> list[str]:
    r"""The articles of a WikiText file, cut before each top-level heading line (" = Title = ").

    >>> len(pages(" \n = One = \n \n First . \n = Two = \n \n Second . \n"))
    2
    """
    found: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if _HEADING.match(line.rstrip("\n")):
            found.append([])
        found[-1].append(line)
    return [page for page in map("".join, found) if page.strip()]


def _articles(file: Path) -> Iterator[tuple[str, Record]]:
    for number, page in enumerate(pages(file.read_text(encoding="utf-8"))):
        yield f"{file}:article {number + 1}", {"page": page}


def _passages(file: Path) -> Iterator[tuple[str, Record]]:
    if file.suffix != ".txt":
        yield from any_records(file)
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        if line.strip():
            yield f"{file}:{number + 1}", {"text": line}


def plain_document(record: Record) -> Document:
    """The record as it is."""
    return dict(record)


_CHOICE_FILES: Mapping[str, tuple[str, ...]] = {
    "test": ("test.jsonl", "*Test.jsonl", "test.json"),
    "validation": ("validation.jsonl", "valid.jsonl", "val.jsonl", "dev*.jsonl", "*Dev.jsonl", "test.jsonl"),
    "train": ("train*.jsonl", "*Train.jsonl", "train.json"),
}

LAYOUTS: Mapping[str, Layout] = {
    "arc": Layout(_CHOICE_FILES, any_records, arc_document),
    "openbookqa": Layout(_CHOICE_FILES, any_records, openbookqa_document),
    "piqa": Layout(_CHOICE_FILES, any_records, piqa_document),
    "boolq": Layout(_CHOICE_FILES, any_records, boolq_document),
    "truthfulqa": Layout({"validation": ("mc_task.json", "TruthfulQA*.csv")}, any_records, truthfulqa_document),
    "gsm8k": Layout({"test": ("test*.jsonl",), "train": ("train*.jsonl",)}, any_records, plain_document),
    "bbh": Layout(
        {"test": ("{name}.json",), "cot_prompts": ("cot-prompts/{name}.txt",)},
        _examples_or_prompts,
        plain_document,
    ),
    "wikitext": Layout(
        {
            "test": ("wiki.test.raw", "wiki.test.tokens", "test.txt"),
            "validation": ("wiki.valid.raw", "wiki.valid.tokens", "valid.txt"),
        },
        _articles,
        plain_document,
    ),
    "lambada": Layout(
        {"test": ("lambada_test*.jsonl", "test.jsonl", "lambada_test*.txt", "test.txt")}, _passages, plain_document
    ),
}
"""Every layout by name."""


def find_file(folder: Path, patterns: Sequence[str], name: str) -> Path | None:
    """The first file of a folder that matches one of the patterns, in which ``{name}`` is ``dataset_name``."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern.replace("{name}", name)))
        if found:
            return found[0]
    return None


def read_layout(layout: Layout, file: Path) -> list[Document]:
    """The documents of a file.

    Raises:
        InputError: A record lacks what the layout needs; the message names its place.
    """
    documents = []
    for place, record in layout.read(file):
        try:
            documents.append(layout.document(record))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{place}: not a record of this data set ({reason})") from None
    return documents
