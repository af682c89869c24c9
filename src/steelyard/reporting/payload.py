"""The data that the report's script reads: candidates' tooltips and all samples, as one JSON text.

Texts are kept once and referred to by number: the same few-shot prompt asked of twelve candidates would
otherwise be written twelve times. The JSON is escaped so that it is inert inside a ``<script>`` element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.reporting.formatting import finite

# "<", ">" and "&" could end the element or start markup; the two separators end a line in older JavaScript;
# lone surrogates cannot be written as UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


class Texts:
    """A table of distinct texts."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of ``text``, entering it where it is new."""
        return self.numbers.setdefault(text, len(self.numbers))


def text_of(value: Any) -> str:
    """A prompt, a conversation, a reference or any JSON value as plain text.

    >>> text_of([{"role": "user", "content": "2+2?"}])
    'user: 2+2?'
    >>> text_of(["four", "4"])
    'four | 4'
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and value:
        if all(isinstance(v, Mapping) and "role" in v and "content" in v for v in value):
            return "\n".join(f"{v['role']}: {text_of(v['content'])}" for v in value)
        if all(isinstance(v, str) for v in value):
            return " | ".join(value)
    return json.dumps(value, ensure_ascii=False)


def fields_of(record: Any, texts: Texts) -> list[list[int]]:
    """A raw request or response as pairs of text numbers: field name, content."""
    items = record.items() if isinstance(record, Mapping) else [("text", record)]
    return [[texts.number(str(key)), texts.number(text_of(value))] for key, value in items]


def cited_texts(responses: Sequence[Any], texts: Texts) -> list[list[Any]]:
    """Responses that cite, as ``[text, citations]``.

    A citation is ``[marker, answer start, answer end, source, start, end, quote, place]``, texts by their numbers;
    ``place`` names page and section. Offsets count characters, of the response's text and of the source.
    """
    found = []
    for response in responses:
        citations = response.get("citations") if isinstance(response, Mapping) else None
        if citations:
            cited = [_cited(citation, texts) for citation in citations if isinstance(citation, Mapping)]
            found.append([texts.number(text_of(response.get("text"))), cited])
    return found


def _cited(citation: Mapping[str, Any], texts: Texts) -> list[int]:
    metadata = citation.get("metadata") or {}
    places = [f"page {metadata['page']}"] if "page" in metadata else []
    places += [str(metadata["section"])] if "section" in metadata else []
    marker, first, last, start, end = (
        int(finite(citation.get(name)) or 0) for name in ("marker", "answer_start", "answer_end", "start", "end")
    )
    source, quote, place = (
        texts.number(text_of(text)) for text in (citation.get("source"), citation.get("quote"), ", ".join(places))
    )
    return [marker, first, last, source, start, end, quote, place]


def sample_rows(samples: Sequence[Mapping[str, Any]], order: Mapping[str, int], texts: Texts) -> list[list[Any]]:
    """One row per sample: id, group, prompt, reference (text numbers) and the answers.

    An answer is ``[candidate index, prediction, value or null, requests, responses, cited]``; ``cited`` holds what
    :func:`cited_texts` finds in the responses.
    """
    rows = []
    for sample in samples:
        answers = [
            [
                order[name],
                texts.number(text_of(answer.get("prediction"))),
                finite(answer.get("value")),
                [fields_of(r, texts) for r in answer.get("requests") or ()],
                [fields_of(r, texts) for r in answer.get("responses") or ()],
                cited_texts(answer.get("responses") or (), texts),
            ]
            for name, answer in (sample.get("answers") or {}).items()
            if name in order
        ]
        columns = (sample.get("id"), sample.get("group"), sample.get("prompt"), sample.get("reference"))
        rows.append([*(texts.number(text_of(c)) for c in columns), answers])
    return rows


def script_json(value: Any) -> str:
    """``value`` as JSON that is safe as the text of a ``<script type="application/json">`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
