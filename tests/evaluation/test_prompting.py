from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.contracts import Continuation, Example, Message, PromptStyle, Sample
from steelyard.errors import UsageError
from steelyard.evaluation import prompting
from steelyard.evaluation.evaluate import resolved_style


def short(number: int, **data: Any) -> Sample:
    return Sample(f"s{number}", {"prompt": f"Question number {number}?", "answers": [f"answer {number}"]} | data)


def prompt_of(sample: Sample, style: PromptStyle, rows: list[Sample] | None = None) -> Any:
    return prompting.build_prompt(sample, prompting.resolved(rows or [sample], style))


GIVEN = (Example("1 + 1?", "2"), Example("2 + 2?", "4"))


def test_plain() -> None:
    style = PromptStyle(instruction="Be brief.", examples=GIVEN, shots=1)
    assert prompt_of(short(1), style) == (
        "Be brief.\n\nQuestion: 1 + 1?\nAnswer: 2\n\nQuestion: Question number 1?\nAnswer:"
    )
    assert prompt_of(short(1, context="A passage."), PromptStyle()) == (
        "A passage.\n\nQuestion: Question number 1?\nAnswer:"
    )


def test_chat() -> None:
    style = PromptStyle("chat", instruction="Be brief.", examples=GIVEN)
    assert prompt_of(short(1, context="A passage."), style) == [
        Message("system", "Be brief."),
        Message("user", "1 + 1?"),
        Message("assistant", "2"),
        Message("user", "2 + 2?"),
        Message("assistant", "4"),
        Message("user", "A passage.\n\nQuestion number 1?"),
    ]
    assert prompt_of(short(1), PromptStyle("chat")) == [Message("user", "Question number 1?")]


def test_raw_is_untouched() -> None:
    sample = Sample("x", {"prompt": "  Once upon\n", "choices": [" a", "b "], "answer": 0})
    assert prompt_of(sample, PromptStyle("raw")) == "  Once upon\n"
    assert [prompting.choice_text(c, PromptStyle("raw")) for c in (" a", "b ")] == [" a", "b "]
    assert [prompting.choice_text(c, PromptStyle("plain")) for c in (" a", "b ")] == [" a", " b"]
    assert [prompting.choice_text(c, PromptStyle("chat")) for c in (" a", "b ")] == ["a", "b"]


def test_rows_with_messages() -> None:
    turns = [
        {"role": "system", "content": "You know rivers."},
        {"role": "user", "content": "Longest?"},
        {"role": "assistant", "content": "The Nile."},
        {"role": "user", "content": "And in Europe?"},
    ]
    sample = Sample("m", {"messages": turns, "answers": ["Volga"]})
    as_they_are = [Message(t["role"], t["content"]) for t in turns]  # type: ignore[arg-type]
    assert prompt_of(sample, PromptStyle("chat")) == as_they_are
    assert prompt_of(sample, PromptStyle("raw")) == as_they_are
    assert prompt_of(sample, PromptStyle("plain")) == (
        "You know rivers.\n\nQuestion: Longest?\nAnswer: The Nile.\n\nQuestion: And in Europe?\nAnswer:"
    )
    chat = prompt_of(sample, PromptStyle("chat", instruction="Be brief.", examples=GIVEN[:1]))
    assert chat[0] == Message("system", "Be brief.\n\nYou know rivers.")
    assert chat[1:3] == [Message("user", "1 + 1?"), Message("assistant", "2")]
    assert chat[3:] == as_they_are[1:]


def test_examples_with_passages_look_like_the_question() -> None:
    rows = [short(i, context=f"Passage {i}.") for i in range(2)]
    style = prompting.resolved(rows, PromptStyle(shots=1))
    assert prompting.build_prompt(rows[0], style) == (
        "Passage 1.\n\nQuestion: Question number 1?\nAnswer: answer 1\n\n"
        "Passage 0.\n\nQuestion: Question number 0?\nAnswer:"
    )


def test_a_choice_row_as_an_example_shows_its_right_choice() -> None:
    sample = Sample("c", {"prompt": "Ice?", "choices": ["hot", " cold"], "answer": 1})
    assert prompting.as_example(sample, PromptStyle()) == Example("Ice?", "cold", "c")


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 12),
    shots=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    style=st.sampled_from(["plain", "chat"]),
    repeated=st.booleans(),
)
def test_the_tested_sample_is_never_its_own_example(
    n: int, shots: int, seed: int, style: Any, repeated: bool
) -> None:
    rows = [short(i) for i in range(n)]
    if repeated:  # the same question under another id is the tested question all the same
        rows.append(Sample("again", rows[0].data))
    wanted = PromptStyle(style, shots=shots, seed=seed)
    if shots > n - 1:
        with pytest.raises(UsageError, match=f"use at most {n - 1} shots"):
            prompting.resolved(rows, wanted)
        return
    ready = prompting.resolved(rows, wanted)
    assert len(ready.examples) == shots + 1
    heads = []
    for sample in rows:
        shown = prompting.shown_examples(sample, ready)
        assert len(shown) == shots
        assert len({e.prompt for e in shown}) == shots
        assert all(e.id != sample.id and e.prompt != sample.data["prompt"] for e in shown)
        heads.append(tuple(e.id for e in shown))
    # All but the shown ones (and their copies) see the same examples in the same order.
    assert heads.count(tuple(e.id for e in ready.examples[:shots])) >= len(rows) - shots - repeated


def test_train_rows_are_preferred_and_the_seed_decides() -> None:
    rows = [short(i) for i in range(20)] + [short(i, split="train") for i in range(100, 110)]
    ready = prompting.resolved(rows, PromptStyle(shots=3, seed=1))
    assert all(int(e.id[1:]) >= 100 for e in ready.examples)
    assert prompting.resolved(rows, PromptStyle(shots=3, seed=1)) == ready
    drawn = {prompting.resolved(rows, PromptStyle(shots=3, seed=s)).examples for s in range(20)}
    assert len(drawn) > 10
    assert prompting.resolved(rows, PromptStyle(shots=10)).examples  # every train row may be used
    with pytest.raises(UsageError, match="the task has 10 different train rows; use at most 10 shots"):
        prompting.resolved(rows, PromptStyle(shots=11))


@pytest.mark.parametrize(
    ("style", "message"),
    [
        (PromptStyle("raw", shots=1), "the raw style leaves the prompt as it is"),
        (PromptStyle("raw", instruction="x"), "the raw style leaves the prompt as it is"),
        (PromptStyle(shots=-1), "shots must be 0 or more"),
        (PromptStyle("poem"), "unknown prompt style 'poem'"),  # type: ignore[arg-type]
        (PromptStyle(shots=3, examples=GIVEN), "3 shots were asked for, but the style gives 2 examples"),
    ],
)
def test_contradictions_are_refused(style: PromptStyle, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prompting.resolved([short(i) for i in range(9)], style)


def test_texts_take_no_examples(make_task: Any) -> None:
    task = make_task([{"text": "abc"}])
    for style in (PromptStyle(shots=1), PromptStyle(examples=GIVEN), PromptStyle(instruction="x")):
        with pytest.raises(UsageError, match="a text is scored as it stands"):
            task.resolved(style)
    assert task.requests(task.samples()[0], PromptStyle("chat")) == [Continuation("", "abc")]


def test_a_style_with_its_examples_written_out_has_the_same_key_and_prompts(
    make_task: Any, mixed_rows: Any
) -> None:
    task = make_task(mixed_rows)
    for name in ("plain", "chat"):
        style = PromptStyle(name, shots=2, seed=5)
        shown = resolved_style(task, style).examples
        assert len(shown) == 3
        written = PromptStyle(name, shots=2, examples=shown)
        assert prompting.style_key(task.resolved(written)) == prompting.style_key(task.resolved(style))
        for sample in task.samples():
            assert task.requests(sample, written) == task.requests(sample, style)


def test_keys_tell_apart_what_shapes_prompts() -> None:
    styles = [
        PromptStyle(),
        PromptStyle("chat"),
        PromptStyle("raw"),
        PromptStyle(instruction="x"),
        PromptStyle(shots=1),
        PromptStyle(shots=2),
        PromptStyle(shots=2, seed=1),
        PromptStyle(shots=1, examples=GIVEN),
        PromptStyle(shots=2, examples=GIVEN),
        PromptStyle(shots=2, examples=GIVEN[::-1]),
    ]
    assert len({prompting.style_key(style) for style in styles}) == len(styles)
    assert prompting.style_key(PromptStyle(seed=1)) == prompting.style_key(PromptStyle(seed=2))
    assert prompting.style_key(PromptStyle(examples=GIVEN)) == prompting.style_key(styles[-2])
