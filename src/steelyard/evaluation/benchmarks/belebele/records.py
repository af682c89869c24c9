"""Belebele's questions: read, aligned over languages, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import LanguageModel, Message, Sample, Sampling
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.records import SUFFIXES
from steelyard.evaluation.task_header import TaskHeader, data_folder, how_to_get, hub_records, records_of
from steelyard.parts import nearest

LANGUAGES_FILE = Path(__file__).with_name("languages.json")
QUESTIONS, VARIANTS = 900, 122
HEADER = TaskHeader(
    paper="The Belebele Benchmark: a Parallel Reading Comprehension Dataset in 122 Language Variants",
    data_set="Belebele",
    licence="CC BY-SA 4.0",
    metric="accuracy",
    folder="belebele",
    layout="LANGUAGE.jsonl (link, question_number, flores_passage, question, mc_answer1 to 4, correct_answer_num)",
    hub="facebook/belebele",
    url="https://dl.fbaipublicfiles.com/belebele/Belebele.zip",
)
TEXTS = ("flores_passage", "question", "mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")


class Language(NamedTuple):
    """A language variant.

    ``resources`` is the class of Joshi et al. 2020, from 0 (left behind) to 5 (rich), None where their list does
    not have it; of romanised variants it is the language's.
    """

    name: str
    script: str
    family: str
    resources: int | None

    @property
    def level(self) -> str:
        """High (4, 5), medium (3), low (0 to 2) or unclassified."""
        if self.resources is None:
            return "unclassified"
        return "high" if self.resources >= 4 else "medium" if self.resources == 3 else "low"


@cache
def languages() -> Mapping[str, Language]:
    """The 122 variants by FLORES-200 code."""
    records = json.loads(LANGUAGES_FILE.read_text(encoding="utf-8"))
    return {code: Language(*fields) for code, fields in records.items()}


def chosen_languages(wanted: Sequence[str] | None, folder: Path | None) -> list[str]:
    """The variants asked for, checked; by default those that a folder has, or all."""
    known = languages()
    for code in wanted or ():
        if code not in known:
            raise UsageError(f"Belebele has no variant {code!r}{nearest(code, known)}; codes are as swh_Latn")
    if wanted:
        return list(dict.fromkeys(wanted))
    if folder is None:
        return list(known)
    found = [code for code in known if _file(folder, code) is not None]
    if not found:
        raise UsageError(f"{folder}: no variant of Belebele is here; {how_to_get(HEADER)}")
    return found


def read_variant(code: str, data: str | Path | None) -> tuple[Sample, ...]:
    """The questions of one variant, in the order of its file; ids are the same in every variant.

    A question's id is its passage's link and its number; ``group`` is the passage.

    Raises:
        InputError: A damaged record, or a question that is there twice.
    """
    folder = data_folder(HEADER, data)
    if folder is None:
        found = hub_records(HEADER, config=code)
        records: list[tuple[str, Mapping[str, Any]]] = [
            (f"{HEADER.hub} {code}:{i + 1}", r) for i, r in enumerate(found)
        ]
    else:
        file = _file(folder, code)
        if file is None:
            raise InputError(f"{folder}: has no {code}.jsonl; {how_to_get(HEADER)}")
        records = list(records_of(file))
    samples: dict[str, Sample] = {}
    for place, record in records:
        sample = question_of(place, record)
        if sample.id in samples:
            raise InputError(f"{place}: the question {sample.id!r} was there before; keep one of them")
        samples[sample.id] = sample
    if not samples:
        raise InputError(f"{folder or HEADER.hub}: {code} has no questions; {how_to_get(HEADER)}")
    return tuple(samples.values())


def question_of(place: str, record: Mapping[str, Any]) -> Sample:
    """One record in the official columns as a sample."""
    missing = [name for name in (*TEXTS, "link", "question_number") if record.get(name) in (None, "")]
    if missing:
        raise InputError(f"{place}: has no {missing[0]!r}; Belebele's columns are {HEADER.layout}")
    number = str(record.get("correct_answer_num", "")).strip().removesuffix(".0")
    if number not in ("1", "2", "3", "4"):
        raise InputError(f"{place}: correct_answer_num is {number!r}, not 1, 2, 3 or 4; mend the record")
    passage = "|".join(str(record[name]) for name in ("link", "split") if record.get(name))
    data = {
        "context": str(record["flores_passage"]),
        "prompt": str(record["question"]).strip(),
        "choices": [str(record[f"mc_answer{i}"]) for i in range(1, 5)],
        "answer": int(number) - 1,
        "split": "test",
    }
    return Sample(f"{passage}|{record['question_number']}", data, group=passage)


def check_aligned(variants: Mapping[str, Sequence[Sample]]) -> None:
    """Refuse variants that do not ask the same questions with the same answers.

    Raises:
        InputError: The first difference: the variants, the question, and what differs.
    """
    first, *others = variants
    expected = {sample.id: sample.data["answer"] for sample in variants[first]}
    for code in others:
        found = {sample.id: sample.data["answer"] for sample in variants[code]}
        for lacking, having, key in ((code, first, expected), (first, code, found)):
            gone = next((i for i in key if i not in (found if lacking == code else expected)), None)
            if gone is not None:
                raise InputError(
                    f"{lacking} has not the question {gone!r} that {having} has; give complete files of both"
                )
        wrong = next((i for i, answer in expected.items() if found[i] != answer), None)
        if wrong is not None:
            raise InputError(f"{code} and {first} have different answers to {wrong!r}; get both files anew")


def translate_records(
    translator: LanguageModel,
    records: Sequence[Mapping[str, Any]],
    *,
    source: str,
    target: str = "English",
    max_tokens: int = 400,
    request: Callable[[str, str, str], str] | None = None,
) -> list[dict[str, Any]]:
    """Machine translations of records, for the translate-test setting: written as JSONL they are a variant.

    Passage, question and answers are translated one by one, so that none can borrow from another; equal texts are
    translated once. What must stay (link, number, right answer) is copied.

    Args:
        translator: Any model; a chat model is asked in one message.
        records: Records in the official columns.
        source: The language translated from, in words.
        target: The language translated into.
        max_tokens: Longest translation of one text.
        request: Text, source and target to the words that ask for it.
    """
    ask = request or _translation_request
    texts = list(dict.fromkeys(str(record[name]) for record in records for name in TEXTS))
    prompts = [[Message("user", ask(text, source, target))] for text in texts]
    replies = translator.generate(prompts, Sampling(max_tokens=max_tokens))
    known = {text: " ".join(reply.text.split()) for text, reply in zip(texts, replies, strict=True)}
    empty = next((text for text, found in known.items() if not found), None)
    if empty is not None:
        raise InputError(f"the translator gave nothing for {empty[:60]!r}; use another model")
    return [{**record, **{name: known[str(record[name])] for name in TEXTS}} for record in records]


def _translation_request(text: str, source: str, target: str) -> str:
    return f"Translate from {source} into {target}. Reply with the translation only.\n\n{text}"


def _file(folder: Path, code: str) -> Path | None:
    names = [code, code.replace("_Arab", "_arab")]
    places = [folder / part for part in (".", "data", "Belebele")]
    found = (place / f"{name}{suffix}" for place in places for name in names for suffix in SUFFIXES)
    return next((path for path in found if path.exists()), None)
