"""Taking secrets out of settings before they are written anywhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

HIDDEN = "***"
"""What stands in the place of a secret."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORDS = _words(
    "password passwd passphrase passcode pwd secret secrets authorization credential credentials bearer "
    "cookie cookies apikey apikeys"
)
_SECRET_ENDINGS = ("password", "passwd", "secret", "apikey")
_KEY_OWNERS = _words(
    "api access private secret signing encryption account subscription auth ssh openai ai hf azure"
)
_TOKEN_OWNERS = _words("api access auth bearer refresh session hf github gitlab")
_VOCABULARY = _words(  # what precedes "token" where a token of a vocabulary is meant
    "per pad padding eos bos unk sep cls mask special stop start end first last next prev previous "
    "image audio prefix suffix middle max min new each single text word by"
)
_PLACES = _words("env environ variable var file path folder name")
_QUERY_WORDS = _words("key sig signature code sas jwt")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://([^\s\"'<>]+)")
_USERINFO = re.compile(r"^(?:[^/?#@:]*:.*@|[^/?#]*@)")
_PAIR_IN_URL = re.compile(r"(?<=[?&#;])([^=&#;]*)=([^&#;]*)")
_NAME = re.compile(  # name= or "name": or --name, up to where its value starts
    r"(?:(?<!\S)(?P<flag>--?)|(?<!\w))(?P<name>\w[\w.-]{0,80})(?:[\"']?\s*[=:]\s*|(?(flag)\s+|(?!)))"
)
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|(?:(?:bearer|basic|token)\s+)?[^\s\"',;&]+", re.IGNORECASE)
_KNOWN_FORMATS = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|(?<=\bBearer )[\w.~+/=-]{16,}"
)


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret.

    ``api_key``, ``HF_TOKEN`` and ``dbPassword`` do; ``max_tokens``, ``pad_token`` and ``api_key_env`` (the name
    of a variable) do not.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _PLACES:
        return False
    pairs = set(itertools.pairwise(words))
    if any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words):
        return True
    if any(second in ("key", "keys") and first in _KEY_OWNERS for first, second in pairs):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "tokens":
        return before in _TOKEN_OWNERS
    if last.endswith("token"):
        return before not in _VOCABULARY
    return last == "auth" or words == ["pass"]


def scrub(value: Any, *, prose: bool = False) -> Any:
    """A JSON-ready copy of ``value`` without secrets.

    Replaced by ``***``, at any depth: values of settings whose name says that they are secret, user names and
    passwords in URLs, the values of URL queries, what follows a flag such as ``--token``, and strings in the
    known formats of access keys. With ``prose`` (measurements, which quote prompts and answers), text is
    touched only where it can be nothing but a secret: URL user names and passwords, URL query values with a
    secret's name, and known key formats. Tuples become lists and paths strings, as JSON has neither.

    >>> scrub({"model": "https://me:pw@host/v1?key=1", "token": "abc", "max_tokens": 8})
    {'model': 'https://***@host/v1?key=***', 'token': '***', 'max_tokens': 8}
    """
    if isinstance(value, str):
        return _scrub_text(value, prose)
    if isinstance(value, PathLike):
        return _scrub_text(str(fspath(value)), prose)
    if isinstance(value, Mapping):
        return {
            _scrub_text(name, prose) if isinstance(name, str) else name: (
                _hide(item) if isinstance(name, str) and is_secret_name(name) else scrub(item, prose=prose)
            )
            for name, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return _scrub_items(value, prose)
    return value


def _hide(value: Any) -> Any:
    """``value`` hidden; an absent or switched-off secret stays readable, as it tells nothing."""
    return value if value is None or isinstance(value, bool) or value == "" else HIDDEN


def _scrub_items(items: Sequence[Any], prose: bool) -> list[Any]:
    scrubbed: list[Any] = []
    after_flag = False
    for item in items:
        scrubbed.append(HIDDEN if after_flag and isinstance(item, str) else scrub(item, prose=prose))
        after_flag = isinstance(item, str) and item.startswith("-") and "=" not in item and is_secret_name(item)
    return scrubbed


def _scrub_text(text: str, prose: bool) -> str:
    text = _KNOWN_FORMATS.sub(HIDDEN, text)
    if "://" in text:
        text = _URL.sub(lambda found: _scrub_url(found[1], found[2], prose), text)
    return text if prose else _scrub_named(text)


def _scrub_named(text: str) -> str:
    """Hide the values that stand behind a secret's name inside running text."""
    pieces: list[str] = []
    done = at = 0
    while found := _NAME.search(text, at):
        at = found.end()
        if is_secret_name(found["name"]) and (value := _VALUE.match(text, at)):
            pieces += [text[done:at], HIDDEN]
            done = at = value.end()
    return "".join([*pieces, text[done:]])


def _scrub_url(scheme: str, rest: str, prose: bool) -> str:
    rest = _USERINFO.sub(f"{HIDDEN}@", rest)

    def pair(found: re.Match[str]) -> str:
        secret = not prose or is_secret_name(found[1]) or found[1].lower() in _QUERY_WORDS
        return f"{found[1]}={HIDDEN}" if secret and found[2] else found[0]

    return f"{scheme}://{_PAIR_IN_URL.sub(pair, rest)}"
