"""One model behind one server: requests that name it, errors that name it, and which server it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from steelyard.errors import CapabilityError, EndpointError
from steelyard.models.endpoint_transport import PASSING_STATUS, Refused, Transport, Unreadable

T = TypeVar("T")

ServerKind: TypeAlias = Literal["vllm", "llama.cpp", "tgi", "sglang", "ollama", "steelyard", "unknown"]
_OWNERS: Mapping[str, ServerKind] = {
    "vllm": "vllm",
    "llamacpp": "llama.cpp",
    "sglang": "sglang",
    "library": "ollama",
    "steelyard": "steelyard",
}
"""What servers write as ``owned_by`` of the models they list."""


class Unusable(EndpointError):
    """An answer that lacks what was asked for."""


class Server(NamedTuple):
    """What a server says of itself."""

    kind: ServerKind
    context_length: int | None


@dataclass(frozen=True)
class Remote:
    """A model at the other end of a transport."""

    transport: Transport
    model: str

    @property
    def name(self) -> str:
        """The model and where it is, for errors."""
        return f"{self.model} at {self.transport.address}"

    def ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """POST for this model and understand the answer; see :meth:`Transport.ask`."""
        return self.transport.ask(path, {"model": self.model, **body}, read)

    def attempt(self, path: str, body: Mapping[str, Any]) -> Any | None:
        """One probing request: the answer, or None where the server does not know such a request.

        Never remembered. A server out of reach, overloaded, or one that wants another key, is an error.
        """
        try:
            return self.transport.post(path, {"model": self.model, **body}, probing=True)
        except Refused as error:
            guarded = error.status in (401, 403) and not path.startswith("/")
            if guarded or error.status in PASSING_STATUS:
                raise
            return None

    def choice(self, answer: Any, path: str) -> dict[str, Any]:
        """The only choice of an answer."""
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            count = len(choices) if isinstance(choices, list) else "no"
            raise self.wrong(path, f"{count} choices instead of one")
        choice: dict[str, Any] = choices[0]
        return choice

    def wrong(self, path: str, what: str) -> Unusable:
        """The error for an answer that cannot be used."""
        return Unusable(f"{self.transport.place(path)}: unusable answer for model {self.model!r}: {what}")

    def lacks(self, what: str) -> CapabilityError:
        """The error for what this model cannot do here."""
        return CapabilityError(f"{self.name} {what}")


def server_of(remote: Remote) -> Server:
    """Which server this is, by its list of models and, where that tells nothing, by what only one answers."""
    entry = _entry(remote)
    length = entry.get("max_model_len") or entry.get("context_length")
    kind = _OWNERS.get(str(entry.get("owned_by", "")).lower(), "unknown")
    if kind == "llama.cpp":
        settings = _get(remote, "/props").get("default_generation_settings")
        length = settings.get("n_ctx") if isinstance(settings, dict) else None
    if kind == "unknown":
        info = _get(remote, "/info")
        if "max_total_tokens" in info and "model_id" in info:
            kind, length = "tgi", info["max_total_tokens"]
    return Server(kind, length if isinstance(length, int) and length > 0 else None)


def _entry(remote: Remote) -> dict[str, Any]:
    listed = _get(remote, "models").get("data")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    named = [entry for entry in entries if entry.get("id") == remote.model]
    return (named or (entries if len(entries) == 1 else []) or [{}])[0]


def _get(remote: Remote, path: str) -> dict[str, Any]:
    """What the server says there; nothing where it knows no such address or answers in another form."""
    try:
        answer: dict[str, Any] = remote.transport.get(path)
    except Refused as error:
        if error.status in PASSING_STATUS:
            raise
        return {}
    except Unreadable:
        return {}
    return answer
