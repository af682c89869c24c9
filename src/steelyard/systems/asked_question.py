"""The question that a prompt asks, and the place in front of it where passages belong."""

from __future__ import annotations

import dataclasses
import re

from steelyard.contracts import Prompt

_QUESTION = re.compile(r"^Question: ?(.*?)(?:\nAnswer:)?\s*\Z", re.MULTILINE | re.DOTALL)


def question_of(prompt: Prompt) -> str:
    r"""The question that a prompt asks: the last user message, what follows the last "Question:" of a text, or all
    of it where there is no such line.

    >>> question_of("Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:")
    '2+2?'
    """
    if not isinstance(prompt, str):
        asked = [message.content for message in prompt if message.role == "user"]
        return asked[-1].strip() if asked else ""
    match = _QUESTION.match(prompt, _place(prompt))
    return (match[1] if match else prompt).strip()


def before_question(prompt: Prompt, text: str) -> Prompt:
    r"""The prompt with ``text`` and an empty line before its question.

    Solved examples, earlier turns and instructions stay in front. Without text, or without a user message in a
    conversation, nothing changes.

    >>> before_question("Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:", "Sums.")
    'Question: 1+1?\nAnswer: 2\n\nSums.\n\nQuestion: 2+2?\nAnswer:'
    """
    if not text:
        return prompt
    if isinstance(prompt, str):
        place = _place(prompt)
        return f"{prompt[:place]}{text}\n\n{prompt[place:]}"
    changed = list(prompt)
    for index in reversed(range(len(changed))):
        if changed[index].role == "user":
            changed[index] = dataclasses.replace(changed[index], content=f"{text}\n\n{changed[index].content}")
            break
    return changed


def _place(prompt: str) -> int:
    """Where the last "Question:" line begins; 0 without one."""
    return prompt.rfind("\nQuestion:") + 1
