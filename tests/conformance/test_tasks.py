"""Every registered task and suite keeps its contract; rows in ``tasks.yaml`` and ``suites.yaml``.

``data`` in a row is a folder below ``tests/evaluation/fixtures``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.contracts import Ask, Continuation, Generation, PromptStyle, Response, Score, Task
from steelyard.errors import UsageError
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.tasks import open_any

FIXTURES = Path(__file__).parents[1] / "evaluation" / "fixtures"
ROWS = {kind: rows(kind) for kind in ("task", "suite")}
NAMES = [(kind, name) for kind, table in ROWS.items() for name in sorted(table)]


@pytest.mark.parametrize("kind", ROWS)
def test_every_one_has_a_row(kind: str) -> None:
    assert set(ROWS[kind]) == registered(kind)


def built(kind: str, name: str) -> Any:
    settings = dict(ROWS[kind][name])
    if "data" in settings:
        settings["data"] = str(FIXTURES / settings["data"])
    function = parts.load(name)
    return function(**parts.validate(function, settings))


def tasks_of(found: Task | Suite) -> Sequence[Task]:
    return found.tasks if isinstance(found, Suite) else [found]


@pytest.fixture(params=NAMES, ids=[name for _, name in NAMES])
def part(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


def response_to(request: Any) -> Response:
    if isinstance(request, Ask):
        return Generation("I do not know.")
    assert isinstance(request, Continuation)
    size = len(request.text.encode())
    return Score(-0.5 * size, (-0.5 * size,), (request.text,), size, False)


def test_tasks_ask_grade_and_summarise(part: tuple[str, str]) -> None:
    found = built(*part)
    assert isinstance(found, Suite) == (part[0] == "suite")
    names = [task.name for task in tasks_of(found)]
    assert len(set(names)) == len(names) > 0
    for task in tasks_of(found):
        assert isinstance(task, Task)
        samples = task.samples()
        assert len({sample.id for sample in samples}) == len(samples) > 0
        marks = []
        for sample in samples[:12]:
            json.dumps(dict(sample.data), allow_nan=False)
            requests = task.requests(sample, PromptStyle())
            assert requests == task.requests(sample, PromptStyle())
            marks.append(task.grade(sample, [response_to(request) for request in requests]))
            assert task.metric in marks[-1].values
        summary = task.summarise(marks, [1.0] * len(marks))
        low, high = summary[task.metric].low, summary[task.metric].high
        assert low <= summary[task.metric].value <= high


def test_built_again_it_is_the_same(part: tuple[str, str]) -> None:
    first, again = built(*part), built(*part)
    assert first.fingerprint == again.fingerprint
    for one, two in zip(tasks_of(first), tasks_of(again), strict=True):
        assert [sample.id for sample in one.samples()] == [sample.id for sample in two.samples()]


def test_the_header_says_where_the_items_come_from(part: tuple[str, str]) -> None:
    for task in tasks_of(built(*part)):
        header: Any = task.header  # type: ignore[attr-defined]
        assert header.paper
        assert header.data_set
        assert header.licence
        assert header.metric


def test_the_right_choice_is_right_and_a_wrong_one_wrong(part: tuple[str, str]) -> None:
    for task in tasks_of(built(*part)):
        for sample in task.samples()[:12]:
            requests = task.requests(sample, PromptStyle())
            if "choices" not in sample.data or not all(isinstance(r, Continuation) for r in requests):
                continue
            if len(requests) != len(sample.data["choices"]):
                continue
            for right in (True, False):
                sizes = [len(r.text.encode()) for r in requests if isinstance(r, Continuation)]
                favoured = sample.data["answer"] if right else (sample.data["answer"] + 1) % len(requests)
                scores = [
                    Score(-1.0 if i == favoured else -50.0, (-1.0,), ("x",), size, False)
                    for i, size in enumerate(sizes)
                ]
                assert task.grade(sample, scores).values[task.metric] == float(right)


def test_it_opens_by_name_and_refuses_unknown_settings(part: tuple[str, str]) -> None:
    kind, name = part
    settings = dict(ROWS[kind][name])
    if "data" in settings:
        settings["data"] = str(FIXTURES / settings["data"])
    text = ",".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
    opened = open_any(f"{name}:{text}" if text else name)
    assert opened.source.startswith(name)  # type: ignore[union-attr]
    assert opened.fingerprint == built(kind, name).fingerprint  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="has no setting 'no_such_setting'"):
        open_any(f"{name}:no_such_setting=1")


def test_it_is_documented(part: tuple[str, str]) -> None:
    text = parts.load(part[1]).__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {part[1]} has no {section!r}"
