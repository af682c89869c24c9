"""Addresses of endpoints, ``http://host/v1#model?timeout=120``, and the options that go with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from steelyard.errors import EndpointError, UsageError
from steelyard.parts import nearest

OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "api_key_env": str,
    "timeout": float,
    "concurrency": int,
    "retries": int,
    "backoff": float,
    "response_cache": str,
}
"""What can be set of an endpoint, and how it is read from text; see ``EndpointModel``."""
_LEAST: Mapping[str, float] = {"timeout": 0.0, "concurrency": 1, "retries": 0, "backoff": 0.0}


class Address(NamedTuple):
    """Where a model is, its name (empty: the first one offered), and how to ask it."""

    url: str
    model: str
    options: Mapping[str, Any]


def is_address(name: str) -> bool:
    """Whether a model's name is the address of a server."""
    return name.startswith(("http://", "https://"))


def parse_address(address: str) -> Address:
    """Read an address; options stand behind the model's name, where no server ever sees them.

    Raises :class:`UsageError` for an option that does not exist or a value that is no number where one is due.

    >>> parse_address("http://h/v1#m?timeout=5&response_cache=answers")
    Address(url='http://h/v1', model='m', options={'timeout': 5.0, 'response_cache': 'answers'})
    """
    url, _, rest = address.partition("#")
    model, _, query = rest.partition("?")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        read = OPTIONS.get(name)
        if read is None:
            raise UsageError(f"{url}: no option {name!r} for an endpoint{nearest(name, OPTIONS)}")
        try:
            options[name] = read(text)
        except ValueError as error:
            kind = "a whole number" if read is int else "a number"
            raise UsageError(f"{url}: {name} must be {kind}, not {text!r}") from error
    return Address(url, model, options)


def check_options(options: Mapping[str, Any], place: str) -> None:
    """Refuse options that do not exist or cannot work."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(f"load_model has no option {name!r} for an endpoint{nearest(name, OPTIONS)}")
        if name not in _LEAST:
            continue
        whole = OPTIONS[name] is int
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not right or not math.isfinite(value) or value < _LEAST[name] or (name == "timeout" and value == 0):
            least = "more than 0 seconds" if name == "timeout" else f"{_LEAST[name]:g} or more"
            raise UsageError(f"{place}: {name} must be {least}, not {value!r}")


def first_model(url: str, options: Mapping[str, Any]) -> str:
    """The first model a server offers."""
    from steelyard.models.endpoint_transport import Refused, Transport, Unreadable

    key_name = options.get("api_key_env", "OPENAI_API_KEY")
    transport = Transport(url.rstrip("/"), key_name, options.get("timeout", 60.0), retries=1)
    try:
        offered = transport.get("models")["data"]
        return str(offered[0]["id"])
    except Refused as error:
        raise EndpointError(
            f"{transport.place('models')}: answered {error.status}; check the address and ${key_name}"
        ) from error
    except (Unreadable, KeyError, IndexError, TypeError) as error:
        raise EndpointError(
            f"{transport.place('models')}: offers no models; name one as {transport.address}#MODEL"
        ) from error
