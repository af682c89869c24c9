"""Jinja templates of untrusted configurations, in a sandbox.

A template sees one document and nothing else: no file, no module, no attribute of Python's own. It cannot change
the document, nor build text without bounds; it can still waste time.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped]
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from steelyard.errors import InputError

LONGEST = 1_000_000
"""Longest text or list that a multiplication in a template may make; also the longest rendered text."""

SECONDS = 2.0
"""How long one regular expression may search one text."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        counts = [value for value in (left, right) if isinstance(value, int)]
        if sizes and counts and sizes[0] * counts[0] > LONGEST:
            raise TemplateError(f"a text longer than {LONGEST} characters")
        if operator == "**" and any(abs(value) > 64 for value in counts):
            raise TemplateError("a power of more than 64")
        return super().call_binop(context, operator, left, right)


def regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    """``re.sub`` as a template filter, under a time limit."""
    return str(regex.sub(pattern, replacement, text, count=count, timeout=SECONDS))


@lru_cache(maxsize=256)
def _compiled(template: str) -> Template:
    environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = regex_replace
    return environment.from_string(template)


def render(template: str, document: Mapping[str, Any], key: str) -> str:
    """The template's text for one document.

    Args:
        template: Jinja text.
        document: Its variables.
        key: The configuration's key, for messages.

    Raises:
        InputError: The template is wrong, names a field the document lacks, or asks for what the sandbox forbids.

    >>> render("Q: {{ question }}", {"question": "Why?"}, "doc_to_text")
    'Q: Why?'
    """
    try:
        text = _compiled(template).render(**document)
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        regex.error,
        TimeoutError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{key}: the template cannot be filled in ({reason}); the document has {', '.join(document)}"
        ) from None
    if len(text) > LONGEST:
        raise InputError(f"{key}: the text is longer than {LONGEST} characters")
    return text


def literal(text: str, key: str) -> Any:
    """The Python literal (list, number) that a rendered template spells.

    Raises:
        InputError: It spells none.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InputError(f"{key}: {text[:80]!r} is not a list; write it as {{{{ [first, second] }}}}") from None
