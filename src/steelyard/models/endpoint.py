"""A model behind an OpenAI-compatible server: vLLM, llama.cpp, TGI, Steelyard's own, or a hosted one."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from steelyard.contracts import (
    Capability,
    Continuation,
    FinishReason,
    Generation,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    TextRole,
    Usage,
)
from steelyard.errors import CapabilityError, EndpointError
from steelyard.models.endpoint_transport import Refused, Transport
from steelyard.models.requests import check_sampling, sampling_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

In = TypeVar("In")
Out = TypeVar("Out")

EMBED_BATCH = 64


class Offer(NamedTuple):
    """What a server was found to offer. ``echo`` is the ``max_tokens`` with which it scores, or None."""

    capabilities: frozenset[Capability]
    completions: bool
    echo: int | None
    context_length: int | None


class EndpointModel:
    """A language model by HTTP. What it offers is found out by trying when the card is first asked for.

    The key is read from the environment variable ``api_key_env`` for each request; it is neither stored nor
    shown. Requests run ``concurrency`` at a time; overload, server errors and dropped connections are tried
    again ``retries`` times, a server that stays silent for ``timeout`` seconds is not.

        model = EndpointModel("http://127.0.0.1:8000/v1", "smollm2-135m")
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 60.0,
        concurrency: int = 8,
        retries: int = 4,
        backoff: float = 0.5,
    ) -> None:
        self.url = url
        self.model = model
        self.concurrency = concurrency
        self.transport = Transport(url.rstrip("/"), api_key_env, timeout, retries, backoff, concurrency)

    @cached_property
    def card(self) -> ModelCard:
        """The fingerprint hashes address and model name; the weights behind them may change unseen."""
        address = self.transport.address
        return ModelCard(
            name=self.model,
            fingerprint=hashlib.sha256(f"{address}\n{self.model}".encode()).hexdigest()[:32],
            context_length=self.offer.context_length,
            family="endpoint",
            capabilities=self.offer.capabilities,
            source=address,
            verified=False,
        )

    @cached_property
    def offer(self) -> Offer:
        """What the server offers, found by one small request each."""
        found: set[Capability] = set()
        chat = self._try("chat/completions", messages=[{"role": "user", "content": "a"}], max_tokens=1)
        completions = self._try("completions", prompt="a", max_tokens=1)
        raw = not isinstance(completions, Refused)
        if not isinstance(chat, Refused):
            found |= {"generate", "chat"}
        if raw:
            found.add("generate")
        echo = next((count for count in (0, 1) if raw and self._echoes(count)), None)
        if echo is not None:
            found |= {"score", "logprobs"}
        if not isinstance(self._try("embeddings", retry=False, input=["a"]), Refused):
            found.add("embed")
        if not found and isinstance(chat, Refused):
            raise chat
        return Offer(frozenset(found), raw, echo, self._context_length())

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score through ``/completions`` with ``echo``; the server tokenizes context and text together."""
        if detail:
            raise CapabilityError(
                f"{self.model} at {self.transport.address} gives neither ranks nor entropies: servers show only "
                "the most probable tokens"
            )
        if self.offer.echo is None:
            raise CapabilityError(
                f"{self.model} at {self.transport.address} lacks the capability 'score': its /completions does "
                "not echo prompts with log-probabilities"
            )
        return self._each(lambda request: self._score(request, top), requests)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Conversations go to ``/chat/completions``, raw text to ``/completions``."""
        pairs = list(zip(prompts, sampling_each(prompts, sampling), strict=True))
        return self._each(lambda pair: self._generate(*pair), pairs)

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield increments as the server sends them."""
        check_sampling(sampling)
        path, body = self._request(prompt, sampling)
        reason: FinishReason = "stop"
        usage = Usage()
        for event in self._events(path, body | {"stream": True}):
            usage = _usage(event) if event.get("usage") else usage
            for choice in event.get("choices") or []:
                reason = _reason(choice.get("finish_reason")) if choice.get("finish_reason") else reason
                text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                if text:
                    yield dataclasses.replace(_with_logprobs(text, choice), finish_reason=None)
        yield Generation("", finish_reason=reason, usage=usage)

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """Unit vectors from ``/embeddings``, float32 (n, d)."""
        import numpy as np

        if "embed" not in self.offer.capabilities:
            raise CapabilityError(f"{self.model} at {self.transport.address} lacks the capability 'embed'")
        batches = [list(texts[i : i + EMBED_BATCH]) for i in range(0, len(texts), EMBED_BATCH)]
        rows = [row for batch in self._each(self._embed, batches) for row in batch]
        if len({len(row) for row in rows}) > 1:
            raise self._wrong("embeddings", "vectors of different lengths")
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
        if not np.isfinite(vectors).all():
            raise self._wrong("embeddings", "vectors that are not finite")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(norms, 1e-12)
        return unit

    # ------------------------------------------------------------------------------------ one request each

    def _generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        path, body = self._request(prompt, sampling)
        answer = self.transport.post(path, body)
        choice = self._choice(answer, path)
        holder = choice if isinstance(prompt, str) else choice.get("message")
        key = "text" if isinstance(prompt, str) else "content"
        if not isinstance(holder, dict) or key not in holder or not isinstance(holder[key], str | None):
            raise self._wrong(path, f"a choice without {key!r}")
        made = _with_logprobs(holder[key] or "", choice)
        return dataclasses.replace(made, finish_reason=_reason(choice.get("finish_reason")), usage=_usage(answer))

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[Any]:
        """Events with the usage at the end, or without it where a server does not know that option."""
        try:
            yield from self.transport.events(path, body | {"stream_options": {"include_usage": True}})
        except Refused as error:  # only before the first event
            if error.status not in (400, 422):
                raise
            yield from self.transport.events(path, body)

    def _request(self, prompt: Prompt, sampling: Sampling) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        body |= {"top_k": sampling.top_k} if sampling.top_k else {}
        body |= {"stop": list(sampling.stop)} if sampling.stop else {}
        if not isinstance(prompt, str):
            body["messages"] = [{"role": m.role, "content": m.content} for m in prompt]
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs} if sampling.logprobs else {}
            return "chat/completions", body
        if not self.offer.completions:
            raise CapabilityError(
                f"{self.model} at {self.transport.address} takes conversations only: it has no /completions for "
                "raw text; use the chat prompt style"
            )
        body["prompt"] = prompt
        body |= {"logprobs": sampling.logprobs} if sampling.logprobs else {}
        return "completions", body

    def _score(self, request: Continuation, top: int) -> Score:
        if not isinstance(request.context, str):
            raise CapabilityError(
                f"{self.model} at {self.transport.address} cannot score after a conversation: a server does not "
                "show its chat template; use the plain prompt style"
            )
        if not request.text:
            return Score(0.0, (), (), 0, True)
        bare = request.context.rstrip()
        if not bare:
            raise CapabilityError(
                f"{self.model} at {self.transport.address} cannot score a text without context: servers give no "
                "log-probability of the first token"
            )
        prompt = request.context + request.text
        echoed = self._echo(prompt, self.offer.echo or 0, max(top, 1))
        score = _read_echo(echoed, request.text, len(bare), len(prompt), top)
        if score is None:
            raise self._wrong("completions", f"no log-probability for {request.text[:40]!r}")
        return score

    def _echo(self, prompt: str, count: int, top: int) -> Echo:
        settings = {"echo": True, "logprobs": top, "max_tokens": count, "temperature": 0.0}
        answer = self.transport.post("completions", {"model": self.model, "prompt": prompt, **settings})
        return self._echoed(answer)

    def _echoed(self, answer: Any) -> Echo:
        logprobs = self._choice(answer, "completions").get("logprobs")
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        fields = [logprobs.get(name) if isinstance(logprobs, dict) else None for name in names]
        if not all(
            isinstance(values, list) and values and len(values) == len(fields[0] or []) for values in fields
        ):
            raise self._wrong("completions", f"no lists {', '.join(names)} of one length in logprobs")
        return Echo(*fields)  # type: ignore[arg-type]

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        answer = self.transport.post("embeddings", {"model": self.model, "input": list(texts)})
        data = answer.get("data")
        if not isinstance(data, list) or len(data) != len(texts):
            raise self._wrong("embeddings", f"not one vector for each of {len(texts)} texts")
        try:
            ordered = sorted(data, key=lambda item: item.get("index", 0))
            return [[float(value) for value in item["embedding"]] for item in ordered]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._wrong("embeddings", "an entry without a vector") from error

    # --------------------------------------------------------------------------------------------- helpers

    def _each(self, call: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
        """Run calls side by side, in order; the first failure ends the rest."""
        if len(items) <= 1:
            return [call(item) for item in items]
        with ThreadPoolExecutor(min(self.concurrency, len(items))) as pool:
            futures = [pool.submit(call, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _try(self, path: str, *, retry: bool = True, **body: Any) -> Any:
        """One probing request: the answer, or the refusal; a server out of reach is an error."""
        try:
            return self.transport.post(path, {"model": self.model, **body}, retry=retry)
        except Refused as error:
            if error.status in (401, 403, 429):
                raise
            return error

    def _echoes(self, count: int) -> bool:
        settings = {"echo": True, "logprobs": 1, "max_tokens": count, "temperature": 0.0}
        answer = self._try("completions", retry=False, prompt="a b c", **settings)
        try:
            echoed = self._echoed({} if isinstance(answer, Refused) else answer)
        except EndpointError:
            return False
        return len(echoed.tokens) > 1 + count and all(isinstance(v, float | int) for v in echoed.logprobs[1:])

    def _context_length(self) -> int | None:
        try:
            entries = self.transport.get("models").get("data") or []
        except EndpointError:
            return None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("id") == self.model:
                length = entry.get("max_model_len") or entry.get("context_length")
                return length if isinstance(length, int) else None
        return None

    def _choice(self, answer: Any, path: str) -> dict[str, Any]:
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            count = len(choices) if isinstance(choices, list) else "no"
            raise self._wrong(path, f"{count} choices instead of one")
        choice: dict[str, Any] = choices[0]
        return choice

    def _wrong(self, path: str, what: str) -> EndpointError:
        return EndpointError(f"{self.transport.address}/{path}: unusable answer for model {self.model!r}: {what}")


class Echo(NamedTuple):
    """An echoed prompt: texts, log-probabilities, alternatives and character offsets of its tokens."""

    tokens: list[str]
    logprobs: list[float | None]
    top: list[Mapping[str, float] | None]
    offsets: list[int]


def _read_echo(echo: Echo, text: str, start: int, end: int, top: int) -> Score | None:
    """Score of the tokens that reach beyond character ``start`` and begin before ``end``; None if one misses."""
    ends = [*echo.offsets[1:], math.inf]
    chosen = [i for i, offset in enumerate(echo.offsets) if offset < end and ends[i] > start]
    logprobs = [echo.logprobs[i] for i in chosen]
    if not chosen or any(value is None or math.isnan(value) for value in logprobs):
        return None
    values = tuple(float(value) for value in logprobs if value is not None)
    tops = [dict(echo.top[i] or {}) for i in chosen]
    return Score(
        logprob=math.fsum(values),
        token_logprobs=values,
        tokens=tuple(echo.tokens[i] for i in chosen),
        utf8_bytes=len(text.encode("utf-8", "surrogatepass")),
        greedy=all(value >= max(t.values(), default=value) - 1e-6 for value, t in zip(values, tops, strict=True)),
        context_tokens=chosen[0],
        top=tuple(tops) if top else (),
    )


def _with_logprobs(text: str, choice: Mapping[str, Any]) -> Generation:
    """A generation with what a choice says of its tokens, in either API's form."""
    logprobs = choice.get("logprobs") or {}
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if content:
        tokens = tuple(str(item.get("token", "")) for item in content)
        values = tuple(float(item.get("logprob", math.nan)) for item in content)
        tops = tuple({t["token"]: float(t["logprob"]) for t in item.get("top_logprobs") or []} for item in content)
        return Generation(text, tokens, math.fsum(values), token_logprobs=values, top=tops)
    if isinstance(logprobs, dict) and logprobs.get("tokens"):
        values = tuple(float(value) for value in logprobs.get("token_logprobs") or [] if value is not None)
        tops = tuple(dict(t or {}) for t in logprobs.get("top_logprobs") or [])
        return Generation(text, tuple(logprobs["tokens"]), math.fsum(values), token_logprobs=values, top=tops)
    return Generation(text)


def _reason(stated: Any) -> FinishReason:
    if stated == "length":
        return "length"
    return "error" if stated in ("content_filter", "error") else "stop"


def _usage(answer: Mapping[str, Any]) -> Usage:
    usage = answer.get("usage") or {}
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
