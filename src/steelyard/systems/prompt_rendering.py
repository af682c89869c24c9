"""How a question becomes a prompt: one rendering for evaluation, serving and asking.

Evaluation and :class:`steelyard.systems.system.System` both render through this module, so a served system
sees the prompts it was measured with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from steelyard.contracts import Example, Message, Prompt, PromptStyle
from steelyard.errors import UsageError

PLAIN_STOP: tuple[str, ...] = ("\n",)
"""Where a short answer to a plain prompt ends."""

_QUESTION = re.compile(r"^Question: ", re.MULTILINE)


def render(style: PromptStyle, question: str, examples: Sequence[Example] = (), context: str = "") -> Prompt:
    r"""Put ``question`` the way ``style`` says, after ``examples`` and with ``context`` above it.

    ``plain`` gives text (instruction, solved examples, context, then the open question), ``chat`` gives a
    conversation (the instruction as system message, examples as turns), ``raw`` hands the question over as it
    is, below its context if there is one; instruction and examples have no place there and are refused.
    ``examples`` are those to show here; ``style.examples`` is not read.

    >>> render(PromptStyle(instruction="Be brief."), "2+2?", [Example("1+1?", "2")])
    'Be brief.\n\nQuestion: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:'
    >>> render(PromptStyle("chat"), "2+2?", context="Sums.")
    [Message(role='user', content='Sums.\n\n2+2?')]
    """
    if style.style == "raw":
        _refuse_raw_extras(style, examples)
        return f"{context}\n\n{question}" if context else question
    asked = [turn for example in examples for turn in _turns(example)]
    if style.style == "chat":
        final = f"{context}\n\n{question}" if context else question
        return [*_system(style.instruction.strip()), *asked, Message("user", final)]
    return _plain(style.instruction.strip(), [*asked, Message("user", question)], context)


def render_conversation(style: PromptStyle, messages: Sequence[Message]) -> Prompt:
    r"""Put a conversation the way ``style`` says, with the first ``style.shots`` of ``style.examples``
    (all where that is 0) before its first turn.

    The conversation's own system messages follow the instruction. A raw style leaves the conversation as it
    is. In a plain style a user's turn becomes a question and an assistant's turn its answer; the conversation
    must then end with a user's turn.

    >>> render_conversation(PromptStyle(), [Message("user", "2+2?")])
    'Question: 2+2?\nAnswer:'
    """
    if style.style == "raw":
        _refuse_raw_extras(style, style.examples)
        return list(messages)
    instructions = [style.instruction.strip(), *(m.content for m in messages if m.role == "system")]
    instruction = "\n\n".join(text for text in instructions if text)
    shown = [turn for example in style.examples[: style.shots or None] for turn in _turns(example)]
    turns = [*shown, *(m for m in messages if m.role != "system")]
    if style.style == "chat":
        return [*_system(instruction), *turns]
    if not turns or turns[-1].role != "user":
        raise UsageError("a conversation put to a system with plain prompts must end with a user message")
    return _plain(instruction, turns, "")


def stop_strings(style: PromptStyle) -> tuple[str, ...]:
    """The strings that end a short answer in this style: a line end in plain prompts, none otherwise."""
    return PLAIN_STOP if style.style == "plain" else ()


def as_question(text: str) -> str:
    """``"Question: "`` before a text, unless one of its lines already begins so (a passage with its question)."""
    return text if _QUESTION.search(text) else f"Question: {text}"


def _plain(instruction: str, turns: Sequence[Message], context: str) -> str:
    pieces = [f"{instruction}\n\n"] if instruction else []
    for index, turn in enumerate(turns):
        last = index == len(turns) - 1
        if turn.role == "assistant":
            pieces.append(f"Answer: {turn.content}\n\n")
            continue
        if last and context:
            pieces.append(f"{context}\n\nQuestion: {turn.content}\n")
        else:
            pieces.append(f"{as_question(turn.content)}\n")
    pieces.append("Answer:")
    return "".join(pieces)


def _turns(example: Example) -> tuple[Message, Message]:
    return Message("user", example.prompt), Message("assistant", example.answer)


def _system(instruction: str) -> list[Message]:
    return [Message("system", instruction)] if instruction else []


def _refuse_raw_extras(style: PromptStyle, examples: Sequence[Example]) -> None:
    if style.instruction or examples:
        what = "an instruction" if style.instruction else "examples"
        raise UsageError(f"raw prompts are handed over untouched, so {what} cannot be added; use plain or chat")
