from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Ask, Continuation, Generation, PromptStyle, Score, Task
from steelyard.errors import InputError, ModelError, UsageError
from steelyard.evaluation import records
from steelyard.evaluation.task_files import load_task

GOOD = '{"prompt": "Is ice cold?", "choices": ["yes", "no"], "answer": 0}'


def row(**columns: Any) -> str:
    return json.dumps(columns)


def changed(**columns: Any) -> str:
    return json.dumps({"prompt": "Is ice cold?", "choices": ["yes", "no"], "answer": 0} | columns)


# name of the case: (content, what the message must say, the place it must name)
BAD_JSONL: dict[str, tuple[str | bytes, str, str]] = {
    "empty file": ("", "has no rows", ""),
    "blank lines only": ("\n \n", "has no rows", ""),
    "broken line": (GOOD + '\n{"prompt": "x"\n', "broken JSON at column", ":2:"),
    "pretty-printed": (json.dumps(json.loads(GOOD), indent=1), "write one complete object a line", ":1:"),
    "array file": (f"[{GOOD}]", "is an array, not an object", ":1:"),
    "a bare number": ("3", "not an object", ":1:"),
    "member twice": ('{"prompt": "x", "prompt": "y", "answers": ["z"]}', "'prompt' appears twice", ":1:"),
    "NaN": ('{"prompt": "x", "answers": ["y"], "weight": NaN}', "NaN is not a JSON value", ":1:"),
    "deep nesting": ('{"prompt": ' + "[" * 100_000 + "}", "nested too deeply", ":1:"),
    "wrong column": (row(promt="x", answers=["y"]), "unknown column 'promt'; did you mean 'prompt'?", ":1:"),
    "column of another format": (row(question="x", answers=["y"]), "did you mean 'prompt'?", ":1:"),
    "column unlike any": (changed(zzqq=1), "known columns are prompt, messages", ":1:"),
    "duplicate id": (changed(id="a") + "\n" + changed(id="a"), "'a' was used before, at line 1", ":2:"),
    "answer too high": (changed(answer=2), "answer 2 is outside the 2 choices; give an index 0..1", ":1:"),
    "answer negative": (changed(answer=-1), "answer -1 is outside", ":1:"),
    "answer letter too high": (changed(answer="C"), "answer 'C' is not one of the 2 choices", ":1:"),
    "answer of other text": (changed(answer="maybe"), "'maybe' is not one of", ":1:"),
    "answer true": (changed(answer=True), "'answer' is true or false", ":1:"),
    "answer ambiguous": (changed(choices=["B", "A"], answer="A"), "may be a letter or the text", ":1:"),
    "answer missing": (row(prompt="x", choices=["a", "b"]), "has 'choices' but no 'answer'", ":1:"),
    "answer without choices": (row(prompt="x", answers=["a"], answer=0), "'answer' without 'choices'", ":1:"),
    "one choice": (changed(choices=["yes"]), "'choices' has 1 of at least 2 entries", ":1:"),
    "same choice twice": (changed(choices=["yes", "yes"]), "'yes' appears twice", ":1:"),
    "choices not a list": (changed(choices="yes"), "'choices' is a text, not a list", ":1:"),
    "choice not text": (changed(choices=["yes", 7]), "'choices[1]' is a number, not a text", ":1:"),
    "choices and answers": (changed(answers=["yes"]), "both 'choices' and 'answers'", ":1:"),
    "no answer at all": (row(prompt="x"), "has no 'choices', 'answers' or 'text'", ":1:"),
    "no question": (row(answers=["x"]), "has no 'prompt'", ":1:"),
    "prompt and messages": (
        changed(messages=[{"role": "user", "content": "x"}]),
        "both 'prompt' and 'messages'",
        ":1:",
    ),
    "empty prompt": (changed(prompt="  "), "'prompt' is empty", ":1:"),
    "prompt a number": (changed(prompt=12), "'prompt' is a number, not a text", ":1:"),
    "empty accepted answer": (row(prompt="x", answers=["y", ""]), "'answers[1]' is empty", ":1:"),
    "no accepted answer": (row(prompt="x", answers=[]), "'answers' has 0 of at least 1", ":1:"),
    "accepted answer a number": (row(prompt="x", answers=[4]), "'answers[0]' is a number", ":1:"),
    "weight zero": (changed(weight=0), "weight 0 is not above 0", ":1:"),
    "weight negative": (changed(weight=-2.5), "weight -2.5 is not above 0", ":1:"),
    "weight endless": (GOOD[:-1] + ', "weight": 1e999}', "not above 0 and finite", ":1:"),
    "weight in words": (changed(weight="two"), "'weight' is a text", ":1:"),
    "unknown split": (changed(split="validation"), "split 'validation' is not known", ":1:"),
    "train rows only": (changed(split="train"), "has no test rows", ""),
    "id of control characters": (changed(id="a\nb"), "control characters", ":1:"),
    "half a surrogate": (changed(prompt="\ud800"), "surrogate", ":1:"),
    "messages in words": (row(messages="hello", answers=["x"]), "'messages' is a text, not a list", ":1:"),
    "unknown role": (
        row(messages=[{"role": "bot", "content": "x"}], answers=["x"]),
        "messages[0] has the role 'bot'",
        ":1:",
    ),
    "last turn not the user's": (
        row(messages=[{"role": "assistant", "content": "x"}], answers=["x"]),
        "ends with a turn of the assistant",
        ":1:",
    ),
    "texts and questions": (GOOD + "\n" + row(text="abc"), "mixes texts with questions", ""),
    "empty text": (row(text=""), "'text' is empty", ":1:"),
    "context of a text": (row(text="abc", context="d"), "'context' beside 'text'", ":1:"),
    "broken pattern": (row(prompt="x", answers=["y"], pattern="(a"), "not a regular expression", ":1:"),
    "latin-1": (
        GOOD.encode() + b'\n{"prompt": "caf\xe9"}',
        f"byte 0xe9 at offset {len(GOOD) + 16} is not UTF-8",
        ":2:",
    ),
    "utf-16": (GOOD.encode("utf-16"), "UTF-16 or UTF-32; save it as UTF-8", ":1:"),
    "several problems": ("1\n2\n3\n", "(and 2 more, at lines 2, 3; 3 of 3 rows are bad", ":1:"),
}


@pytest.mark.parametrize("case", BAD_JSONL)
def test_bad_jsonl_gives_one_line_that_names_place_and_problem(case: str, tmp_path: Path) -> None:
    content, message, place = BAD_JSONL[case]
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(InputError) as caught:
        load_task(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"{path}{place}")
    assert "\n" not in text
    assert len(text) < 600
    assert ";" in text  # the remedy


BAD_CSV: dict[str, tuple[str | bytes, str, str]] = {
    "header only": ("prompt,answers\n", "has no rows", ""),
    "unnamed column": ("prompt,\nx,y\n", "a column has no name", ":1:"),
    "column twice": ("prompt,prompt\nx,y\n", "'prompt' appears twice", ":1:"),
    "too many cells": ("prompt,answers\nx,y\nwhat, then,z\n", "has 3 cells where the header has 2", ":3:"),
    "open quote": ('prompt,answers\n"x,y\n', "broken CSV", ":2:"),
    "huge cell": ("prompt,answers\n" + "x" * 140_000 + ",y\n", "longer than 131,072 characters", ":2:"),
    "broken list": ('prompt,choices,answer\nx,"[""a""",0\n', "'choices' is not valid JSON", ":2:"),
    "digit that is also a choice": ("prompt,choices,answer\nx,1|2|3,1\n", "index or the text of a choice", ":2:"),
    "weight in words": ("prompt,answers,weight\nx,y,heavy\n", "weight 'heavy' is not a number", ":2:"),
    "latin-1": (b"prompt,answers\nx,caf\xe9\n", "byte 0xe9 at offset 20 is not UTF-8", ":2:"),
    "line after a quoted line break": ('prompt,answers\n"a\nb",c\nd,\n', "has no 'choices'", ":4:"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(case: str, tmp_path: Path) -> None:
    content, message, place = BAD_CSV[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(InputError) as caught:
        load_task(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}{place}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": [1, 2], "answers": [["a"], ["b"]]}, "'prompt' is a number"),
        ({"prompt": ["x", "y"], "answers": [[1], [2]]}, "'answers[0]' is a number"),
        ({"prompt": [b"\xff", b"y"], "answers": [["a"], ["b"]]}, "'prompt' is bytes"),
        ({"prompt": ["x", "y"], "choices": [["a", "b"], ["a", "b"]], "answer": [0, 5]}, "row 2: answer 5"),
        (
            {"prompt": ["x", "y"], "choices": [["a", "b"], ["a", "b"]], "answer": [0.5, 1.0]},
            "'answer' is a number",
        ),
    ],
)
def test_bad_parquet_types(columns: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "bad.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(InputError, match=r"bad\.parquet:row [12]: ") as caught:
        load_task(path)
    assert message in str(caught.value)


def test_truncated_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "cut.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["x"], "answers": [["y"]]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        load_task(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="has no rows"):
        load_task(path)


def test_huge_line_is_refused_before_it_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LINE_LIMIT", 2**20)
    path = tmp_path / "huge.jsonl"
    path.write_text(GOOD + "\n" + "x" * (2**20 + 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"huge\.jsonl:2: the line is longer than 1 MiB"):
        load_task(path)
    path.write_text(GOOD[:-1] + " " * (2**20 - len(GOOD)) + "}\n", encoding="utf-8")
    assert len(load_task(path).samples()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "no such file"),
        ("folder.jsonl", "is a folder"),
        ("task.json", "'.json' is not known for task files; use .jsonl, .csv, .parquet"),
        ("task", "a name without an ending is not known"),
    ],
)
def test_files_that_cannot_be_task_files(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder.jsonl":
        path.mkdir()
    elif name != "missing.jsonl":
        path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_task(path)
    assert message in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.jsonl"
    path.write_text(GOOD, encoding="utf-8")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        load_task(path)


def test_the_three_formats_give_the_same_task(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows: list[dict[str, Any]] = [
        {
            "id": "1",
            "prompt": "Is ice cold?",
            "choices": ["yes", "no"],
            "answer": "A",
            "weight": 2.0,
            "group": "g",
        },
        {"id": "2", "prompt": 'Say "hi",\nplease', "answers": ["hi", "hello"], "context": "Manners."},
        {"id": "3", "prompt": "An example?", "answers": ["of course"], "split": "train"},
        {"id": "4", "messages": [{"role": "user", "content": "Ça va?"}], "answers": ["oui"]},
    ]
    jsonl, table, parquet = (tmp_path / f"same.{ending}" for ending in ("jsonl", "csv", "parquet"))
    jsonl.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    table.write_text(
        "id,prompt,choices,answer,answers,weight,group,context,split,messages\n"
        "1,Is ice cold?,yes|no,0,,2,g,,,\n"
        '2,"Say ""hi"",\nplease",,,"[""hi"", ""hello""]",,,Manners.,test,\n'
        "3,An example?,,,of course,,,,train,\n"
        '4,,,,oui,,,,,"[{""role"": ""user"", ""content"": ""Ça va?""}]"\n',
        encoding="utf-8",
    )
    names = list(dict.fromkeys(name for r in rows for name in r))
    pyarrow.parquet.write_table(pyarrow.table({n: [r.get(n) for r in rows] for n in names}), parquet)
    tasks = [load_task(path) for path in (jsonl, table, parquet)]
    assert tasks[0].rows == tasks[1].rows == tasks[2].rows
    assert len({task.fingerprint for task in tasks}) == 1
    assert [s.id for s in tasks[0].samples()] == ["1", "2", "4"]
    assert tasks[0].samples()[0].data["answer"] == 0


def test_byte_order_mark_carriage_returns_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    plain, marked, table = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.csv"
    plain.write_bytes((changed(id="1") + "\n" + changed(id="2") + "\n").encode())
    marked.write_bytes(b"\xef\xbb\xbf" + (changed(id="1") + "\r\n\r\n" + changed(id="2")).encode())
    table.write_bytes(
        b"\xef\xbb\xbfid,prompt,choices,answer\r\n1,Is ice cold?,yes|no,A\r\n2,Is ice cold?,yes|no,yes\r\n"
    )
    assert load_task(plain).fingerprint == load_task(marked).fingerprint == load_task(table).fingerprint


def test_ids_default_to_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(GOOD + "\n\n" + changed(id=7) + "\n" + GOOD, encoding="utf-8")
    assert [sample.id for sample in load_task(path).samples()] == ["line-1", "7", "line-4"]


@pytest.mark.parametrize(("answer", "index"), [(1, 1), (1.0, 1), ("B", 1), ("no", 1), ("yes", 0)])
def test_ways_to_give_the_right_choice(answer: Any, index: int, make_task: Any) -> None:
    task = make_task([{"prompt": "x", "choices": ["yes", "no"], "answer": answer}])
    assert task.samples()[0].data["answer"] == index


def test_fingerprint_follows_content_not_path(make_task: Any, mixed_rows: Any) -> None:
    task = make_task(mixed_rows, name="one")
    assert isinstance(task, Task)
    assert task.name == "one"
    assert make_task(mixed_rows, name="two").fingerprint == task.fingerprint
    for column, value in [("prompt", "other"), ("weight", 2.0), ("group", "other"), ("id", "other")]:
        other = [mixed_rows[0] | {column: value}, *mixed_rows[1:]]
        assert make_task(other, name="three").fingerprint != task.fingerprint, column
    assert make_task(mixed_rows, max_tokens=50).fingerprint != task.fingerprint


CHOICE = {"prompt": "x", "choices": ["a", "b"], "answer": 0}
SHORT = {"prompt": "y", "answers": ["word"]}
NUMBER = {"prompt": "z", "answers": ["12 apples"]}


@pytest.mark.parametrize(
    ("rows", "default", "can", "cannot"),
    [
        ([CHOICE], "accuracy", ["accuracy_norm", "accuracy_token", "accuracy_byte"], ["f1", "bits_per_byte"]),
        ([SHORT], "accuracy", ["exact_match", "contains", "f1", "regex"], ["numeric", "accuracy_norm"]),
        ([NUMBER], "accuracy", ["numeric"], ["accuracy_byte"]),
        ([CHOICE, SHORT], "accuracy", ["accuracy"], ["f1", "accuracy_norm", "regex"]),
        ([{"text": "abc"}], "bits_per_byte", ["bits_per_byte"], ["accuracy"]),
    ],
)
def test_metrics_a_file_can_have(
    rows: Any, default: str, can: list[str], cannot: list[str], make_task: Any
) -> None:
    assert make_task(rows).metric == default
    for metric in can:
        task = make_task(rows, metric=metric)
        assert task.metric == metric
        assert task.higher_is_better == (metric != "bits_per_byte")
    for metric in cannot:
        with pytest.raises(UsageError, match=rf"cannot be ranked by '{metric}'; it can have .*{default}"):
            make_task(rows, metric=metric)
    with pytest.raises(UsageError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        make_task(rows, metric="acuracy")


def test_regex_metric_checks_the_answers_as_patterns(make_task: Any) -> None:
    with pytest.raises(InputError, match="is not a regular expression"):
        make_task([{"prompt": "x", "answers": ["(open"]}], metric="regex")
    task = make_task([{"prompt": "x", "answers": ["col(o|ou)r"]}], metric="regex")
    assert task.grade(task.samples()[0], [Generation("A fine colour.")]).values["regex"] == 1.0


def test_requests_by_kind_and_style(make_task: Any, mixed_rows: Any) -> None:
    task = make_task(mixed_rows)
    choice, short = task.samples()[0], task.samples()[4]
    plain = task.requests(choice, PromptStyle())
    assert plain[0] == Continuation("Question: What colour is grass?\nAnswer:", " green")
    assert [r.text for r in task.requests(choice, PromptStyle("chat"))] == ["green", "white", "black", "red"]
    (ask,) = task.requests(short, PromptStyle())
    assert isinstance(ask, Ask)
    assert (ask.sampling.max_tokens, ask.sampling.stop, ask.sampling.temperature) == (16, ("\n",), 0.0)
    (ask,) = task.requests(short, PromptStyle("chat"))
    assert ask.sampling.stop == ()
    text = make_task([{"text": "abc"}, {"text": "def", "prompt": "abc "}], name="text")
    assert text.requests(text.samples()[0], PromptStyle()) == [Continuation("", "abc")]
    assert text.requests(text.samples()[1], PromptStyle("chat")) == [Continuation("abc ", "def")]


def score(logprob: float, n: int = 1) -> Score:
    return Score(logprob, (logprob / n,) * n, ("x",) * n, n, False)


def test_grading_a_choice(make_task: Any) -> None:
    task = make_task([{"prompt": "x", "choices": ["be", "abcdefgh"], "answer": 1}])
    marks = task.grade(task.samples()[0], [score(-2.0, 1), score(-4.0, 2)])
    values = dict(marks.values)
    assert values.pop("confidence") == pytest.approx(1 / (1 + math.exp(-2)))
    assert values == {"accuracy": 0, "accuracy_norm": 1, "accuracy_token": 0, "accuracy_byte": 1}
    assert marks.prediction == "be"


def test_grading_an_answer(make_task: Any) -> None:
    task = make_task([{"prompt": "x", "answers": ["12"], "pattern": r"= (\d+)"}])
    marks = task.grade(task.samples()[0], [Generation(" The answer\nis 5 = 12")])
    assert marks.prediction == "The answer"
    assert marks.values == {"accuracy": 0, "exact_match": 0, "contains": 1, "f1": 0, "numeric": 1, "regex": 1}


def test_grading_texts_is_a_ratio_of_sums(make_task: Any) -> None:

    task = make_task([{"text": "abcd"}, {"text": "é" * 6, "weight": 2}])
    marks = [
        task.grade(sample, [score(-bits * math.log(2))])
        for sample, bits in zip(task.samples(), (8.0, 12.0), strict=True)
    ]
    assert marks[0].values["bits_per_byte"] == pytest.approx(2)
    assert marks[1].weights["bits_per_byte"] == 12
    summary = task.summarise(marks, [1, 2])
    assert summary["bits_per_byte"].value == pytest.approx((8 + 2 * 12) / (4 + 2 * 12))
    assert summary["byte_perplexity"].value == pytest.approx(2 ** ((8 + 2 * 12) / (4 + 2 * 12)))


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([score(float("nan")), score(-1.0)], "log-likelihood is nan"),
        ([score(-1.0)], "1 responses to 2 requests"),
        ([Generation("x"), Generation("y")], "the model returned text"),
    ],
)
def test_responses_that_cannot_be_graded(responses: Any, message: str, make_task: Any) -> None:
    task = make_task([CHOICE | {"id": "odd"}])
    with pytest.raises(ModelError, match=f"sample 'odd': .*{message}"):
        task.grade(task.samples()[0], responses)
