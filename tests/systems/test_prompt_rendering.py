from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Example, Message, PromptStyle, Sample
from steelyard.errors import UsageError
from steelyard.evaluation.prompting import build_prompt
from steelyard.systems.prompt_rendering import render, render_conversation, stop_strings

EXAMPLES = (Example("1+1?", "2"), Example("2+2?", "4"))
WITH_PASSAGE = (Example("1 + 1 =", "2"), Example("Sums are easy.\n\nQuestion: 2 + 2 =", "4"))


def test_plain_with_everything() -> None:
    style = PromptStyle("plain", instruction="Answer briefly.")
    assert render(style, "3+3?", EXAMPLES, "Sums are easy.") == (
        "Answer briefly.\n\n"
        "Question: 1+1?\nAnswer: 2\n\n"
        "Question: 2+2?\nAnswer: 4\n\n"
        "Sums are easy.\n\n"
        "Question: 3+3?\nAnswer:"
    )


def test_chat_with_everything() -> None:
    style = PromptStyle("chat", instruction="Answer briefly.")
    assert render(style, "3+3?", EXAMPLES[:1], "Sums are easy.") == [
        Message("system", "Answer briefly."),
        Message("user", "1+1?"),
        Message("assistant", "2"),
        Message("user", "Sums are easy.\n\n3+3?"),
    ]


@given(st.text())
def test_raw_hands_over_what_it_gets(text: str) -> None:
    assert render(PromptStyle("raw"), text) == text


def test_raw_takes_no_extras() -> None:
    with pytest.raises(UsageError, match="untouched, so examples"):
        render(PromptStyle("raw"), "x", EXAMPLES)
    with pytest.raises(UsageError, match="untouched, so an instruction"):
        render(PromptStyle("raw", instruction="y"), "x")


@given(
    st.text(min_size=1) | st.just("A passage.\n\nQuestion: Why?"),
    st.text(),
    st.sampled_from(["plain", "chat"]),
    st.integers(0, 2),
)
def test_a_served_system_sees_the_prompts_it_was_measured_with(
    question: str, instruction: str, kind: str, shots: int
) -> None:
    """Against the rendering that evaluation has of its own samples."""
    style = PromptStyle(kind, shots, 0, instruction, WITH_PASSAGE[:shots])  # type: ignore[arg-type]
    sample = Sample("asked", {"prompt": question, "answers": ["-"]})
    assert render_conversation(style, [Message("user", question)]) == build_prompt(sample, style)


@given(st.text(), st.text(), st.sampled_from(["plain", "chat"]))
def test_a_single_question_is_rendered_as_in_evaluation(question: str, instruction: str, kind: str) -> None:
    style = PromptStyle(kind, instruction=instruction, examples=EXAMPLES)  # type: ignore[arg-type]
    assert render_conversation(style, [Message("user", question)]) == render(style, question, EXAMPLES)


def test_longer_conversations_keep_their_turns() -> None:
    turns = [
        Message("system", "Be kind."),
        Message("user", "A?"),
        Message("assistant", "B."),
        Message("user", "C?"),
    ]
    plain = PromptStyle("plain", instruction="Answer.", examples=EXAMPLES[:1])
    assert render_conversation(plain, turns) == (
        "Answer.\n\nBe kind.\n\nQuestion: 1+1?\nAnswer: 2\n\nQuestion: A?\nAnswer: B.\n\nQuestion: C?\nAnswer:"
    )
    chat = render_conversation(PromptStyle("chat", instruction="Answer.", examples=EXAMPLES[:1]), turns)
    assert chat == [
        Message("system", "Answer.\n\nBe kind."),
        Message("user", "1+1?"),
        Message("assistant", "2"),
        *turns[1:],
    ]
    assert render_conversation(PromptStyle("raw"), turns) == turns


@pytest.mark.parametrize(
    "turns", [[], [Message("system", "x")], [Message("user", "a"), Message("assistant", "b")]]
)
def test_plain_needs_a_question_at_the_end(turns: list[Message]) -> None:
    with pytest.raises(UsageError, match="end with a user message"):
        render_conversation(PromptStyle("plain"), turns)


def test_only_plain_answers_end_at_a_line() -> None:
    assert stop_strings(PromptStyle("plain")) == ("\n",)
    assert stop_strings(PromptStyle("chat")) == stop_strings(PromptStyle("raw")) == ()
