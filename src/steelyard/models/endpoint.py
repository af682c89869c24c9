"""A model behind an OpenAI-compatible server: vLLM, llama.cpp, TGI, Steelyard's own, or a hosted one."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
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
from steelyard.models.endpoint_cache import ResponseCache
from steelyard.models.endpoint_grammar import departure
from steelyard.models.endpoint_remote import Remote, Server, server_of
from steelyard.models.endpoint_sampling import sampling_fields
from steelyard.models.endpoint_scoring import EchoScorer, PrefillScorer, RemoteScorer
from steelyard.models.endpoint_token_scoring import ForcedTokenScorer, PromptLogprobScorer
from steelyard.models.endpoint_transport import Refused, Transport
from steelyard.models.requests import check_sampling, sampling_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

In = TypeVar("In")
Out = TypeVar("Out")

EMBED_BATCH = 64


class Offer(NamedTuple):
    """What a server was found to offer. ``scorer`` is the way in which it scores, or None."""

    capabilities: frozenset[Capability]
    completions: bool
    scorer: RemoteScorer | None
    server: Server


class EndpointModel:
    """A language model by HTTP. What it offers is found out by trying when the card is first asked for.

    The key is read from the environment variable ``api_key_env`` for each request; it is neither stored nor
    shown. At most ``concurrency`` requests run at once, over all calls together. Overload, server errors and
    dropped connections are tried again up to ``retries`` times, after ``backoff`` seconds, then twice as long and
    so on, or when the server says; a server that stays silent for ``timeout`` seconds is tried again twice at
    most. With a folder for ``response_cache``, every answer to ``score``, ``generate`` and ``embed`` is kept
    there, and a request that was answered before is not sent again.

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
        response_cache: str | Path | None = None,
    ) -> None:
        self.url = url
        self.model = model
        self.concurrency = concurrency
        cache = None if response_cache is None else ResponseCache(response_cache)
        slots = threading.Semaphore(concurrency)
        self.transport = Transport(url.rstrip("/"), api_key_env, timeout, retries, backoff, slots, cache)
        self.remote = Remote(self.transport, model)

    @cached_property
    def card(self) -> ModelCard:
        """The fingerprint hashes address and model name; the weights behind them may change unseen."""
        address = self.transport.address
        return ModelCard(
            name=self.model,
            fingerprint=hashlib.sha256(f"{address}\n{self.model}".encode()).hexdigest()[:32],
            context_length=self.server.context_length,
            family="endpoint",
            capabilities=self.offer.capabilities,
            source=address,
            verified=False,
        )

    @cached_property
    def server(self) -> Server:
        """Which server it is, and how long a context it takes, by what it says of itself."""
        return server_of(self.remote)

    @cached_property
    def offer(self) -> Offer:
        """What the server offers, found by one or two small requests each."""
        found: set[Capability] = set()
        server = self.server
        completions = self.remote.attempt("completions", {"prompt": "a", "max_tokens": 1}) is not None
        if completions:
            found.add("generate")
        body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
        if self.remote.attempt("chat/completions", body) is not None:
            found |= {"generate", "chat"}
        scorer = next((scorer for scorer in self._scorers(completions) if scorer.works()), None)
        if scorer is not None:
            found |= {"score", "logprobs"}
        if self.remote.attempt("embeddings", {"input": ["a"]}) is not None:
            found.add("embed")
        if not found:
            self.transport.post("chat/completions", {"model": self.model, **body})  # raises what the server says
        return Offer(frozenset(found), completions, scorer, server)

    def _scorers(self, completions: bool) -> Iterator[Any]:
        """The ways to score, best first; the servers' own addresses are tried only where they may be theirs."""
        kind = self.server.kind
        if completions and kind in ("vllm", "unknown"):
            yield PromptLogprobScorer(self.remote)
        if completions and kind != "llama.cpp":
            yield from (EchoScorer(self.remote, count) for count in (0, 1))
        if kind in ("llama.cpp", "unknown"):
            yield ForcedTokenScorer(self.remote)
        if kind in ("tgi", "unknown"):
            yield PrefillScorer(self.remote)

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score in the way that the server allows; see :mod:`steelyard.models.endpoint_scoring`.

        vLLM shows each token's rank, and ``ranks`` are then filled unasked. ``detail`` asks for entropies, too,
        which no server shows; it is a :class:`CapabilityError`.
        """
        scorer = self.offer.scorer
        if scorer is None:
            raise self.remote.lacks(
                f"lacks the capability 'score': its server ({self.server.kind}) gives no log-probabilities of a "
                "given text, by none of echo, prompt_logprobs, forced tokens and prefill"
            )
        if detail:
            ranks = "ranks (without asking for detail) but no" if scorer.way == "prompt" else "neither ranks nor"
            raise self.remote.lacks(
                f"gives {ranks} entropies: servers show only the most probable tokens, not the whole distribution"
            )
        return self._each(lambda request: self._score(request, scorer, top), requests)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Conversations go to ``/chat/completions``, raw text to ``/completions``."""
        each = sampling_each(prompts, sampling)
        asked = [self._request(prompt, one) for prompt, one in zip(prompts, each, strict=True)]
        numbers = range(len(prompts))
        return self._each(lambda n: self._generate(prompts[n], each[n], *asked[n]), numbers)

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield increments as the server sends them. Streams are neither remembered nor counted as under way."""
        check_sampling(sampling)
        path, body = self._request(prompt, sampling)
        reason: FinishReason = "stop"
        usage = Usage()
        whole = ""
        for event in self._events(path, body | {"stream": True}):
            usage = _usage(event) if event.get("usage") else usage
            for choice in event.get("choices") or []:
                reason = _reason(choice.get("finish_reason")) if choice.get("finish_reason") else reason
                text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                if text:
                    whole += text
                    yield dataclasses.replace(_with_logprobs(text, choice), finish_reason=None)
        self._check_grammar(path, sampling, whole, reason)
        yield Generation("", finish_reason=reason, usage=usage)

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """Unit vectors from ``/embeddings``, float32 (n, d)."""
        import numpy as np

        if "embed" not in self.offer.capabilities:
            raise self.remote.lacks("lacks the capability 'embed'")
        batches = [list(texts[i : i + EMBED_BATCH]) for i in range(0, len(texts), EMBED_BATCH)]
        rows = [row for batch in self._each(self._embed, batches) for row in batch]
        if len({len(row) for row in rows}) > 1:
            raise self.remote.wrong("embeddings", "vectors of different lengths")
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), -1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(norms, 1e-12)
        return unit

    # ------------------------------------------------------------------------------------ one request each

    def _score(self, request: Continuation, scorer: RemoteScorer, top: int) -> Score:
        return scorer.score(request, top) if request.text else Score(0.0, (), (), 0, True)

    def _generate(self, prompt: Prompt, sampling: Sampling, path: str, body: dict[str, Any]) -> Generation:
        return self.remote.ask(path, body, lambda answer: self._generation(answer, prompt, sampling, path))

    def _generation(self, answer: Any, prompt: Prompt, sampling: Sampling, path: str) -> Generation:
        choice = self.remote.choice(answer, path)
        holder = choice if isinstance(prompt, str) else choice.get("message")
        key = "text" if isinstance(prompt, str) else "content"
        if not isinstance(holder, dict) or key not in holder or not isinstance(holder[key], str | None):
            raise self.remote.wrong(path, f"a choice without {key!r}")
        text, reason = holder[key] or "", _reason(choice.get("finish_reason"))
        self._check_grammar(path, sampling, text, reason)
        return dataclasses.replace(_with_logprobs(text, choice), finish_reason=reason, usage=_usage(answer))

    def _check_grammar(self, path: str, sampling: Sampling, text: str, reason: FinishReason) -> None:
        """Refuse an answer that does not keep to the grammar: the server has left it aside."""
        if sampling.grammar is None or reason == "error":
            return
        wrong = departure(sampling.grammar, text, complete=reason == "stop" and not sampling.stop)
        if wrong:
            raise self.remote.wrong(
                path, f"it does not keep to the grammar, which the server may not know: {wrong}"
            )

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[Any]:
        """Events with the usage at the end, or without it where a server does not know that option."""
        named = {"model": self.model, **body}
        try:
            yield from self.transport.events(path, named | {"stream_options": {"include_usage": True}})
        except Refused as error:  # only before the first event
            if error.status not in (400, 422):
                raise
            yield from self.transport.events(path, named)

    def _request(self, prompt: Prompt, sampling: Sampling) -> tuple[str, dict[str, Any]]:
        conversation = not isinstance(prompt, str)
        fields = sampling_fields(self.remote, self.server.kind, sampling, conversation)
        if not isinstance(prompt, str):
            return "chat/completions", fields | {
                "messages": [{"role": m.role, "content": m.content} for m in prompt]
            }
        if not self.offer.completions:
            raise self.remote.lacks(
                "takes conversations only: it has no /completions for raw text; use the chat prompt style"
            )
        return "completions", fields | {"prompt": prompt}

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self.remote.ask("embeddings", {"input": list(texts)}, lambda answer: self._vectors(answer, texts))

    def _vectors(self, answer: Any, texts: Sequence[str]) -> list[list[float]]:
        data = answer.get("data")
        if not isinstance(data, list) or len(data) != len(texts):
            raise self.remote.wrong("embeddings", f"not one vector for each of {len(texts)} texts")
        try:
            ordered = sorted(data, key=lambda item: item.get("index", 0))
            rows = [[float(value) for value in item["embedding"]] for item in ordered]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.remote.wrong("embeddings", "an entry without a vector") from error
        if not all(math.isfinite(value) for row in rows for value in row):
            raise self.remote.wrong("embeddings", "vectors that are not finite")
        return rows

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
