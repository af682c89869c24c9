"""The OpenAI API's requests and errors: what is read, what is refused, and how a refusal looks.

A parameter is either carried out, harmless to leave aside (``user``, ``metadata``), or refused by name: a
request is never answered as though a parameter it sets had been obeyed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from steelyard.contracts import Grammar, Message, Role
from steelyard.parts import nearest
from steelyard.serving.grammars import ResponseFormat, StructuredOutputs, grammar_of

MAX_CHOICES = 128
MAX_PROMPTS = 2048


class ApiError(Exception):
    """A refusal in the shape of the OpenAI API's error object."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The JSON body: ``{"error": {"message", "type", "param", "code"}}``."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


# ------------------------------------------------------------------------------------------ field types


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("the text holds half of a surrogate pair and is not valid Unicode") from error
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _prompts(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (int, list)) for item in items):
        raise ValueError(
            "prompts of token ids are not supported, send text "
            "(lm-evaluation-harness: set tokenized_requests=False)"
        )
    return items


def _joined_parts(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    texts = []
    for number, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            what = f"of type {kind!r}" if isinstance(kind, str) else "without a type"
            raise ValueError(f"part {number} is {what}; only {{'type': 'text', 'text': ...}} is supported")
        texts.append(part["text"])
    return "\n".join(texts)


Text = Annotated[str, AfterValidator(_encodable)]
NonEmptyText = Annotated[str, Field(min_length=1), AfterValidator(_encodable)]
StopStrings = Annotated[
    list[NonEmptyText], Field(max_length=16), BeforeValidator(_as_list, json_schema_input_type=str | list[str])
]
Prompts = Annotated[
    list[Text],
    Field(min_length=1, max_length=MAX_PROMPTS),
    BeforeValidator(_prompts, json_schema_input_type=str | list[str]),
]

_RECORD = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class TextPart(BaseModel):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn as sent: ``developer`` is the newer name of ``system``; text parts are joined by line ends."""

    model_config = _RECORD
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "name": (),
        "tool_calls": ([],),
        "tool_call_id": (),
        "function_call": (),
        "audio": (),
        "refusal": (),
        "annotations": ([],),
    }

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, BeforeValidator(_joined_parts, json_schema_input_type=str | list[TextPart])]

    def to_message(self) -> Message:
        """The contract's form."""
        role: Role = "system" if self.role == "developer" else self.role
        return Message(role, self.content)


class StreamOptions(BaseModel):
    """``include_usage`` asks for one more chunk that counts tokens."""

    model_config = _RECORD
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {"include_obfuscation": (False,)}

    include_usage: bool = False


# ------------------------------------------------------------------------------------------- requests

OWN_FIELDS = frozenset({"citations"})
"""What this server adds to its messages and may get back with the conversation."""
HARMLESS = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Accepted and left aside: they change who is billed or what is kept, never the answer."""

_UNSUPPORTED_BY_BOTH: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
}
"""Parameters that are known and refused, with the values that ask for nothing and so are let through."""


class Parameters(BaseModel):
    """What both endpoints read. Temperature is 0 unless given: the system answers as it was measured."""

    model_config = _RECORD

    model: Text
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0)
    stop: StopStrings = Field(default_factory=list)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None

    @property
    def grammar(self) -> Grammar | None:
        """What the answer must look like."""
        return grammar_of(self.response_format, self.structured_outputs)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Parameters):
    """The body of ``POST /v1/chat/completions``."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **_UNSUPPORTED_BY_BOTH,
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True, False),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "modalities": (["text"],),
        "audio": (),
        "prediction": (),
        "reasoning_effort": (),
        "verbosity": (),
        "web_search_options": (),
        "moderation": (),
        "echo": (False,),
        "best_of": (1,),
    }

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)


class CompletionRequest(Parameters):
    """The body of ``POST /v1/completions``."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **_UNSUPPORTED_BY_BOTH,
        "best_of": (1,),
        "suffix": ("",),
    }

    prompt: Prompts
    max_tokens: int = Field(default=16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20)


R = TypeVar("R", ChatRequest, CompletionRequest)


# -------------------------------------------------------------------------------------------- reading


def read_json(body: bytes) -> dict[str, Any]:
    """Parse a request body: strict JSON (no NaN), UTF-8, an object, not nested without end."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the request body is not UTF-8 (byte {error.start})", code="invalid_json") from error
    except RecursionError as error:
        raise ApiError(400, "the request body is nested too deeply", code="invalid_json") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ApiError(400, f"the request body is not JSON: {error.msg} ({where})", code="invalid_json") from error
    except ValueError as error:
        raise ApiError(400, f"the request body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the request body must be a JSON object", code="invalid_json")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def read_request(kind: type[R], body: bytes) -> R:
    """Parse and check a request of one kind; every refusal is an :class:`ApiError` that names its parameter."""
    known = _known(kind, read_json(body), "")
    if "messages" in known and isinstance(known["messages"], list):
        known["messages"] = [
            _known(ChatMessage, message, f"messages[{number}].") if isinstance(message, dict) else message
            for number, message in enumerate(known["messages"])
        ]
    if isinstance(known.get("stream_options"), dict):
        known["stream_options"] = _known(StreamOptions, known["stream_options"], "stream_options.")
    try:
        request = kind.model_validate(known)
    except ValidationError as error:
        raise _refusal(error) from error
    _check_together(request)
    return request


def _known(kind: Any, raw: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The fields of ``raw`` that ``kind`` reads; nulls mean "not given", other parameters are judged by name."""
    kept = {}
    fields = kind.model_fields
    harmless = HARMLESS if issubclass(kind, Parameters) else OWN_FIELDS if kind is ChatMessage else frozenset()
    for name, value in raw.items():
        param = f"{prefix}{name}"
        if name in fields:
            if value is not None:
                kept[name] = value
        elif name in kind.unsupported:
            neutral = kind.unsupported[name]
            if value is not None and value not in neutral:
                message = f"the parameter {param!r} is not supported by this server; leave it out"
                raise ApiError(400, message, param=param, code="unsupported_parameter")
        elif name not in harmless:
            hint = nearest(name, [*fields, *kind.unsupported, *harmless])
            raise ApiError(400, f"unknown parameter {param!r}{hint}", param=param, code="unknown_parameter")
    return kept


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors()[0]
    param = ""
    for step in first["loc"]:
        param += f"[{step}]" if isinstance(step, int) else f".{step}" if param else str(step)
    if first["type"] == "missing":
        return ApiError(400, f"{param!r} is required", param=param, code="missing_required_parameter")
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else _in_lower_case(first["msg"])
    return ApiError(400, f"{param!r}: {reason}", param=param, code="invalid_value")


def _in_lower_case(message: str) -> str:
    return message[:1].lower() + message[1:]


def _check_together(request: ChatRequest | CompletionRequest) -> None:
    """Parameters that are right alone and wrong together."""
    if request.stream_options is not None and not request.stream:
        raise _conflict("stream_options", "only goes with stream=true")
    if request.structured_outputs is not None and request.response_format is not None:
        raise _conflict("structured_outputs", "does not go with response_format; give one of them")
    if isinstance(request, ChatRequest):
        if request.top_logprobs and not request.logprobs:
            raise _conflict("top_logprobs", "only goes with logprobs=true")
        limits = {request.max_tokens, request.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise _conflict("max_tokens", "differs from max_completion_tokens; give one of them")
        return
    if request.max_tokens == 0 and not request.echo:
        raise _conflict("max_tokens", "0 asks for no text at all; that needs echo=true")
    if len(request.prompt) * request.n > MAX_PROMPTS:
        raise _conflict("n", f"n times the number of prompts may not exceed {MAX_PROMPTS}")


def _conflict(param: str, reason: str) -> ApiError:
    return ApiError(400, f"{param!r}: {reason}", param=param, code="invalid_value")
