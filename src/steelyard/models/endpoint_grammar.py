"""Grammars for servers: how each is asked to keep to one, and whether an answer did.

Servers leave aside in silence what they do not know. So every answer is checked, whoever wrote it.
"""

from __future__ import annotations

import json
from typing import Any

from steelyard.contracts import Grammar
from steelyard.errors import UsageError
from steelyard.models.endpoint_remote import Remote, ServerKind


def grammar_fields(remote: Remote, kind: ServerKind, grammar: Grammar, conversation: bool) -> dict[str, Any]:
    """The fields of a request that ask for ``grammar``; raises where the server is known to have none for it."""
    if grammar.json_schema:
        return _schema_fields(remote, kind, schema_of(grammar), conversation)
    if kind == "llama.cpp":
        if grammar.regex:
            raise remote.lacks(
                "cannot keep to a regular expression: llama.cpp takes its own grammars and JSON schemas; give the "
                "grammar as choices or as a JSON schema"
            )
        return {"grammar": "root ::= " + " | ".join(_literal(choice) for choice in grammar.choices)}
    if kind == "ollama":
        raise remote.lacks("cannot keep to choices or a regular expression: Ollama takes JSON schemas only")
    regex = grammar.regex or "|".join(f"({_escaped(choice)})" for choice in grammar.choices)
    if kind == "sglang":
        return {"regex": regex}
    if kind == "tgi":
        return {"response_format": {"type": "regex", "value": _for_tgi(remote, regex, conversation)}}
    wanted: dict[str, Any] = {"choice": list(grammar.choices)} if grammar.choices else {"regex": grammar.regex}
    return {"structured_outputs": wanted}


def schema_of(grammar: Grammar) -> Any:
    """The JSON schema as data."""
    try:
        return json.loads(grammar.json_schema)
    except ValueError as error:
        raise UsageError(f"sampling: the grammar's json_schema is not JSON: {error}") from error


def departure(grammar: Grammar, text: str, complete: bool) -> str:
    """What is wrong with an answer that should keep to ``grammar``; empty where nothing is.

    An answer that was cut off (``complete`` is false) must be the beginning of one that does.

    >>> departure(Grammar(choices=("yes", "no")), "maybe", True)
    "'maybe' is none of the choices"
    >>> departure(Grammar(choices=("yes", "no")), "ye", False)
    ''
    """
    shown = repr(text if len(text) <= 60 else text[:57] + "...")
    if grammar.choices:
        fits = text in grammar.choices if complete else any(c.startswith(text) for c in grammar.choices)
        return "" if fits else f"{shown} is none of the choices"
    if grammar.regex:
        import regex  # type: ignore[import-untyped]

        try:
            found = regex.fullmatch(grammar.regex, text, partial=not complete)
        except regex.error as error:
            raise UsageError(f"sampling: the grammar's regex is wrong: {error}") from error
        return "" if found else f"{shown} does not match the regular expression"
    return _departure_from_schema(schema_of(grammar), text, shown) if complete else ""


def _departure_from_schema(schema: Any, text: str, shown: str) -> str:
    import jsonschema  # type: ignore[import-untyped]
    import referencing

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return f"{shown} is not JSON"
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        # An empty registry: without one, references to addresses would be fetched.
        error = next(kind(schema, registry=referencing.Registry()).iter_errors(value), None)
    except (jsonschema.SchemaError, referencing.exceptions.Unresolvable) as wrong:
        reason = (str(wrong).splitlines() or [""])[0]
        raise UsageError(f"sampling: the grammar's json_schema is no JSON schema: {reason}") from wrong
    return f"{shown} does not fit the JSON schema: {error.message.splitlines()[0][:100]}" if error else ""


def _schema_fields(remote: Remote, kind: ServerKind, schema: Any, conversation: bool) -> dict[str, Any]:
    if kind == "llama.cpp" and not conversation:
        return {"json_schema": schema}
    if kind == "tgi":
        return {"response_format": {"type": "json", "value": _for_tgi(remote, schema, conversation)}}
    if kind == "ollama" and not conversation:
        raise remote.lacks("cannot keep to a JSON schema in raw text, only in conversations")
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _for_tgi(remote: Remote, value: Any, conversation: bool) -> Any:
    if not conversation:
        raise remote.lacks("cannot keep to a grammar in raw text, only in conversations")
    return value


def _escaped(text: str) -> str:
    """``text`` as a regular expression that every dialect reads alike."""
    return "".join(f"\\{character}" if character in r"\.^$*+?{}[]|()" else character for character in text)


def _literal(text: str) -> str:
    r"""``text`` as a literal of llama.cpp's grammars (GBNF).

    >>> print(_literal('say "hi"'))
    "say \"hi\""
    """
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'
