"""Multiple-choice questions written by a language model from articles, as AstroMLab-1's were.

A model writes a few questions from each passage; a filter drops those that only a reader of the passage could
answer, and those that are malformed, repeated or give the answer away by its length. What is kept can be written
to a file that ``mcq-exam-benchmark:exam=astromlab-1,data=FILE`` reads.

    made = generate_questions(model, {"review-1": text})
    made.kept[0]["question"], made.dropped[0].reason

Source: AstroMLab 1: Who Wins Astronomy Jeopardy!? (2024), section 2: five questions an article, specific to its
content yet answerable without it, choices of similar length. The prompts and the filter are ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from steelyard.contracts import Continuation, LanguageModel, Message, Sampling
from steelyard.evaluation.grading import normalise_answer

LETTERS = "ABCD"
LENGTH_RATIO = 3.0
"""A choice may be this many times as long as the median of the four, or as short."""

_REQUEST = """Write {count} multiple-choice questions for experts from the text below. Each question must stand by
itself: do not mention the text, its authors, its figures, tables, sections or equations. Give four choices of
similar length, exactly one of them right. Reply with a JSON list of objects with the keys "question", "A", "B",
"C", "D", "answer" (a letter) and "explanation".

Text:
{passage}"""

_CHECK = """A student has never seen any particular article. Can this question be understood and answered
from general knowledge of the field alone, or does it point to a text that is not shown?

Question: {question}

Reply with one word, Yes (it stands by itself) or No.
Answer:"""

_CONTEXT = re.compile(
    r"\b(?:the|this|that|these|our|present)\s+(?:\w+\s+)?(?:text|passage|article|review|paper|study|authors?|chapter|excerpt"
    r"|manuscript|document|survey\s+article|figure|table|section|equation|appendix)s?\b"
    r"|\b(?:fig(?:ure|\.)|table|section|sec\.|eq(?:uation|\.)|appendix|chapter)\s*\(?\s*(?:\d|[ivx]+\b|[A-Z]\b)"
    r"|\b(?:as|was|were|is|are)\s+(?:mentioned|discussed|described|shown|stated|noted|presented|outlined)"
    r"\s+(?:above|below|here|earlier|previously|in\s+(?:the|this))\b"
    r"|\baccording\s+to\s+(?:the\s+)?(?:text|passage|article|authors?|review|paper|study|above)\b"
    r"|\b(?:above|following|preceding)\s+(?:text|passage|paragraph|discussion|figure|table|equation)\b"
    r"|\b(?:we|our)\s+(?:find|found|show|present|results?|analysis|sample)\b",
    re.IGNORECASE,
)


class Dropped(NamedTuple):
    """A question that was left out, and why."""

    question: str
    reason: str
    source: str


class Generated(NamedTuple):
    """``kept`` are records with the columns of AstroMLab-1; ``dropped`` those left out, with reasons."""

    kept: list[dict[str, str]]
    dropped: list[Dropped]


def depends_on_context(question: str) -> bool:
    """Whether a question points to a text that its reader does not see.

    >>> depends_on_context("What do the authors conclude from Figure 3?")
    True
    >>> depends_on_context("Which process dominates the cooling of white dwarfs?")
    False
    """
    return bool(_CONTEXT.search(question))


def fault_of(record: Mapping[str, Any]) -> str:
    """What is wrong with a written question; empty if nothing is found."""
    texts = [record.get(name) for name in ("question", *LETTERS)]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return "malformed"
    if str(record.get("answer", "")).strip().upper() not in tuple(LETTERS):
        return "no answer"
    choices = [str(text).strip() for text in texts[1:]]
    if len({normalise_answer(choice) or choice for choice in choices}) < len(choices):
        return "equal choices"
    if depends_on_context(" ".join(str(text) for text in texts)):
        return "depends on context"
    sizes = sorted(len(choice) for choice in choices)
    median = (sizes[1] + sizes[2]) / 2
    if sizes[-1] > LENGTH_RATIO * median or sizes[0] * LENGTH_RATIO < median:
        return "choices of unequal length"
    return ""


def generate_questions(
    model: LanguageModel,
    passages: Mapping[str, str],
    *,
    per_passage: int = 5,
    checker: LanguageModel | None = None,
    max_tokens: int = 1500,
    seed: int = 0,
) -> Generated:
    """Have a model write questions from passages, and filter them.

    Args:
        model: Writes the questions.
        passages: Texts by the name of their source.
        per_passage: Questions asked for from each.
        checker: A model asked of each question that the rules let pass whether it stands by itself; the answer of
            higher log-likelihood, " Yes" or " No", decides.
        max_tokens: Longest reply.
        seed: Of the model's sampling, should it sample.
    """
    prompts = [
        [Message("user", _REQUEST.format(count=per_passage, passage=passage))] for passage in passages.values()
    ]
    replies = model.generate(prompts, Sampling(max_tokens=max_tokens, seed=seed))
    kept: list[dict[str, str]] = []
    dropped: list[Dropped] = []
    seen: set[str] = set()
    for source, reply in zip(passages, replies, strict=True):
        records = read_reply(reply.text)
        if not records:
            dropped.append(Dropped("", "no readable question in the reply", source))
        for record in records:
            question = str(record.get("question", ""))
            reason = fault_of(record)
            if not reason and normalise_answer(question) in seen:
                reason = "asked before"
            if reason:
                dropped.append(Dropped(question, reason, source))
                continue
            seen.add(normalise_answer(question))
            kept.append(_clean(record, source))
    return _checked(Generated(kept, dropped), checker) if checker is not None else Generated(kept, dropped)


def read_reply(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a reply, also where prose or code fences surround them or the list is cut off."""
    decoder = json.JSONDecoder()
    records: list[dict[str, Any]] = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            records.append(value)
        at = text.find("{", end)
    return records


def _clean(record: Mapping[str, Any], source: str) -> dict[str, str]:
    fields = {name: str(record[name]).strip() for name in ("question", *LETTERS)}
    explanation = str(record.get("explanation") or "").strip()
    return {
        **fields,
        "answer": str(record["answer"]).strip().upper(),
        **({"explanation": explanation} if explanation else {}),
        "source": source,
    }


def _checked(made: Generated, checker: LanguageModel) -> Generated:
    requests = [
        Continuation(_CHECK.format(question=record["question"]), word)
        for record in made.kept
        for word in (" Yes", " No")
    ]
    scores = [score.logprob for score in checker.score(requests)] if requests else []
    verdicts = [yes > no for yes, no in zip(scores[::2], scores[1::2], strict=True)]
    refused = [
        Dropped(record["question"], "depends on context, says the checker", record["source"])
        for record, fine in zip(made.kept, verdicts, strict=True)
        if not fine
    ]
    kept = [record for record, fine in zip(made.kept, verdicts, strict=True) if fine]
    return Generated(kept, [*made.dropped, *refused])


def write_questions(records: Sequence[Mapping[str, str]]) -> str:
    """Records as the lines of a JSONL file."""
    return "".join(json.dumps(dict(record), ensure_ascii=False) + "\n" for record in records)
