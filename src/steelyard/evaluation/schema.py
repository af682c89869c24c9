"""The schema of task files: one checked sample from one row.

Users find the same rules in ``docs/reference/task-files.md``.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from steelyard.contracts import Sample
from steelyard.evaluation.grading import check_pattern
from steelyard.evaluation.records import Problems, Row, quoted

Kind: TypeAlias = Literal["choice", "short", "text"]

COLUMNS = (
    "prompt",
    "messages",
    "choices",
    "answer",
    "answers",
    "text",
    "id",
    "context",
    "group",
    "weight",
    "split",
    "pattern",
)
"""Every column a task file may have."""

_ALIASES: Mapping[str, str] = {
    "question": "prompt",
    "input": "prompt",
    "query": "prompt",
    "instruction": "prompt",
    "options": "choices",
    "label": "answer",
    "target": "answers",
    "output": "answers",
    "completion": "answers",
    "reference": "answers",
    "passage": "context",
    "category": "group",
    "subject": "group",
    "regex": "pattern",
    "conversation": "messages",
}
_ROLES = ("system", "user", "assistant")
_ID_LIMIT = 200


class _BadCellError(Exception):
    """One cell is wrong: ``args`` are the problem and the remedy."""


class _UnknownColumnError(_BadCellError):
    """A column is not known, in this row and most likely in all."""


def kind_of(sample: Sample) -> Kind:
    """What a sample asks for: ``"choice"``, ``"short"`` (an answer in words) or ``"text"`` (bits per byte)."""
    if "choices" in sample.data:
        return "choice"
    return "text" if "text" in sample.data else "short"


def split_of(sample: Sample) -> str:
    """``"test"`` or ``"train"``; rows of the latter serve as examples only."""
    return str(sample.data.get("split", "test"))


def read_samples(rows: Sequence[Row], problems: Problems) -> list[Sample]:
    """Check every row; what is wrong is noted in ``problems``, one problem a row."""
    in_cells = problems.path.suffix.lower() == ".csv"
    samples: list[Sample] = []
    places: dict[str, str] = {}
    unknown: set[str] = set()
    for row in rows:
        try:
            _check_columns(row.values, unknown)
            sample = _sample(_cells(row.values) if in_cells else row.values, row.place)
        except _BadCellError as error:
            problem, remedy = error.args
            problems.fatal = problems.fatal or isinstance(error, _UnknownColumnError)
            problems.add(row.place, problem, remedy)
            continue
        if sample.id in places:
            problem = f"the id {quoted(sample.id)} was used before, at {places[sample.id]}"
            problems.add(row.place, problem, "give every row its own id")
            continue
        places[sample.id] = row.place if row.place.startswith("row") else f"line {row.place}"
        samples.append(sample)
    return samples


def _check_columns(values: Mapping[str, Any], unknown: set[str]) -> None:
    """Refuse a column that is not known; each is reported once."""
    for name in values:
        if name in COLUMNS or name in unknown:
            continue
        unknown.add(name)
        near = _ALIASES.get(name.lower()) or next(
            iter(difflib.get_close_matches(name.lower(), COLUMNS, n=1)), None
        )
        hint = f"did you mean {near!r}?" if near else f"known columns are {', '.join(COLUMNS)}"
        raise _UnknownColumnError(f"unknown column {quoted(name)}", hint)


def _cells(values: Mapping[str, str]) -> dict[str, Any]:
    """CSV cells as values: lists are JSON or separated by "|", numbers are parsed."""
    out: dict[str, Any] = dict(values)
    for name in ("choices", "answers"):
        if name in values:
            cell = values[name].strip()
            out[name] = (
                _json_cell(name, cell) if cell.startswith("[") else [part.strip() for part in cell.split("|")]
            )
    if "messages" in values:
        out["messages"] = _json_cell("messages", values["messages"])
    if "weight" in values:
        try:
            out["weight"] = float(values["weight"])
        except ValueError:
            raise _BadCellError(
                f"weight {quoted(values['weight'])} is not a number", "write a number > 0"
            ) from None
    if "choices" in out and "answer" in out:
        out["answer"] = _answer_cell(values["answer"].strip(), out["choices"])
    for name in ("id", "group", "split"):
        if name in values:
            out[name] = values[name].strip()
    return out


def _json_cell(name: str, cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise _BadCellError(
            f"the cell {name!r} is not valid JSON", 'write a JSON list such as ["x", "y"]'
        ) from None


def _answer_cell(cell: str, choices: Any) -> int | str:
    """A CSV answer that is all digits is an index, unless it could also be the text of a choice."""
    if not (cell.isascii() and cell.isdigit()):
        return cell
    if isinstance(choices, list) and cell in choices:
        if choices.index(cell) == int(cell):
            return int(cell)
        raise _BadCellError(
            f"answer {cell!r} may be an index or the text of a choice", "write the choice's letter"
        )
    return int(cell)


def _sample(values: Mapping[str, Any], place: str) -> Sample:
    """One row as a sample whose ``data`` holds checked, normalised columns."""
    data: dict[str, Any] = {}
    given = [name for name in ("choices", "answers", "text") if name in values]
    if len(given) != 1:
        problem = f"has both {given[0]!r} and {given[1]!r}" if given else "has no 'choices', 'answers' or 'text'"
        raise _BadCellError(problem, "give exactly one of choices (with answer), answers, text")
    _put_question(data, values, is_text=given == ["text"])
    if given == ["choices"]:
        data["choices"] = _strings(values["choices"], "choices", at_least=2)
        data["answer"] = _answer_index(values.get("answer"), data["choices"])
    elif "answer" in values:
        raise _BadCellError("has 'answer' without 'choices'", "add choices, or rename it to 'answers'")
    elif given == ["answers"]:
        accepted = values["answers"]
        data["answers"] = _strings([accepted] if isinstance(accepted, str) else accepted, "answers", at_least=1)
    else:
        data["text"] = _string(values["text"], "text", strip=False)
    if "pattern" in values:
        data["pattern"] = _pattern(values["pattern"], short=given == ["answers"])
    data["split"] = _split(values.get("split", "test"), is_text=given == ["text"])
    return Sample(
        id=_id(values.get("id"), place),
        data=data,
        group=_optional(values.get("group"), "group"),
        weight=_weight(values.get("weight", 1.0)),
    )


def _put_question(data: dict[str, Any], values: Mapping[str, Any], *, is_text: bool) -> None:
    if "prompt" in values and "messages" in values:
        raise _BadCellError("has both 'prompt' and 'messages'", "keep one of them")
    if "prompt" in values:
        data["prompt"] = _string(values["prompt"], "prompt")
    elif "messages" in values:
        data["messages"] = _messages(values["messages"])
    elif not is_text:
        raise _BadCellError("has no 'prompt' (or 'messages')", "add the question to ask")
    context = _optional(values.get("context"), "context")
    if context and is_text:
        raise _BadCellError("has 'context' beside 'text'", "put what comes before the text into 'prompt'")
    if context:
        data["context"] = context


def _string(value: Any, name: str, *, strip: bool = True) -> str:
    """A text that is not empty; where ``strip``, white space alone counts as empty."""
    if not isinstance(value, str):
        raise _BadCellError(f"{name!r} is {_kind(value)}, not a text", 'write it in quotes, as "..."')
    if not (value.strip() if strip else value):
        raise _BadCellError(f"{name!r} is empty", "fill it in or delete the row")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise _BadCellError(f"{name!r} has half of a surrogate pair", "write the character itself in UTF-8")
    return value


def _optional(value: Any, name: str) -> str:
    return "" if value is None or value == "" else _string(value, name)


def _strings(value: Any, name: str, *, at_least: int) -> list[str]:
    if not isinstance(value, list | tuple):
        raise _BadCellError(f"{name!r} is {_kind(value)}, not a list", 'write a list such as ["x", "y"]')
    if len(value) < at_least:
        raise _BadCellError(f"{name!r} has {len(value)} of at least {at_least} entries", "add the others")
    texts = [_string(entry, f"{name}[{i}]") for i, entry in enumerate(value)]
    if name == "choices":
        for i, text in enumerate(texts):
            if text in texts[:i]:
                raise _BadCellError(f"the choice {quoted(text)} appears twice", "make the choices differ")
    return texts


def _answer_index(answer: Any, choices: Sequence[str]) -> int:
    """The right choice's index from an index, a letter or the choice's text."""
    last = len(choices) - 1
    remedy = f"give an index 0..{last}, a letter A..{chr(65 + last) if last < 26 else 'Z'} or the choice's text"
    if answer is None:
        raise _BadCellError("has 'choices' but no 'answer'", remedy)
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer <= last:
            raise _BadCellError(f"answer {answer} is outside the {len(choices)} choices", remedy)
        return answer
    if not isinstance(answer, str):
        raise _BadCellError(f"'answer' is {_kind(answer)}", remedy)
    by_text = choices.index(answer) if answer in choices else None
    letter = ord(answer) - 65 if len(answer) == 1 and "A" <= answer <= "Z" else None
    by_letter = letter if letter is not None and letter <= last else None
    if by_text is not None and by_letter is not None and by_text != by_letter:
        raise _BadCellError(f"answer {answer!r} may be a letter or the text of a choice", "give the index")
    found = by_text if by_text is not None else by_letter
    if found is None:
        raise _BadCellError(f"answer {quoted(answer)} is not one of the {len(choices)} choices", remedy)
    return found


def _messages(value: Any) -> list[dict[str, str]]:
    remedy = 'write a list such as [{"role": "user", "content": "..."}]'
    if not isinstance(value, list | tuple) or not value:
        raise _BadCellError(f"'messages' is {_kind(value)}, not a list of turns", remedy)
    turns = []
    for i, turn in enumerate(value):
        if not isinstance(turn, Mapping) or set(turn) != {"role", "content"}:
            raise _BadCellError(f"messages[{i}] is not an object of 'role' and 'content'", remedy)
        if turn["role"] not in _ROLES:
            raise _BadCellError(f"messages[{i}] has the role {quoted(turn['role'])}", f"use {', '.join(_ROLES)}")
        if turn["role"] == "system" and i:
            raise _BadCellError(f"messages[{i}] is a system turn after others", "put the system turn first")
        turns.append({"role": str(turn["role"]), "content": _string(turn["content"], f"messages[{i}].content")})
    if turns[-1]["role"] != "user":
        raise _BadCellError(
            f"'messages' ends with a turn of the {turns[-1]['role']}", "end with the user's question"
        )
    return turns


def _pattern(value: Any, *, short: bool) -> str:
    text = _string(value, "pattern")
    if not short:
        raise _BadCellError("has 'pattern' without 'answers'", "patterns grade short answers; remove it")
    fault = check_pattern(text)
    if fault:
        raise _BadCellError(f"'pattern' is not a regular expression ({fault})", "mend the pattern")
    return text


def _split(value: Any, *, is_text: bool) -> str:
    if value not in ("test", "train"):
        raise _BadCellError(f"split {quoted(value)} is not known", "use test (measured) or train (examples only)")
    if value == "train" and is_text:
        raise _BadCellError("a text row cannot be an example", "remove split or the row")
    return str(value)


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadCellError(f"'weight' is {_kind(value)}, not a number", "write a number > 0")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > 0):
        raise _BadCellError(f"weight {quoted(value)} is not above 0 and finite", "write a number > 0")
    return number


def _id(value: Any, place: str) -> str:
    if value is None:
        return place.replace(" ", "-") if place.startswith("row") else f"line-{place}"
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _string(value, "id")
    if len(text) > _ID_LIMIT or not text.isprintable():
        raise _BadCellError(
            f"the id {quoted(text)} is too long or has control characters", "use a short, plain id"
        )
    return text


def _kind(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return "missing" if value is None else names.get(type(value), type(value).__name__)
