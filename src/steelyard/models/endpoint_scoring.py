"""Log-probabilities of given text, in each of the ways in which servers give them.

Every scorer reads the tokens that the local one reads (:mod:`steelyard.models.requests`): context and text
encoded together and split at the length of the encoded context, white space at the context's end being the
text's. What a server cannot give exactly is a :class:`CapabilityError`; nothing is approximated.

===========  ===========================================  ===================================================
way          what is asked                                what comes besides the log-probabilities
===========  ===========================================  ===================================================
``echo``     OpenAI's ``/completions`` with ``echo``      alternatives; no empty contexts, no conversations
``prompt``   vLLM's ``prompt_logprobs``                   alternatives, ranks; conversations
``forced``   llama.cpp's ``/completion``, token by token  alternatives; conversations
``prefill``  TGI's ``decoder_input_details``              no alternatives, no empty contexts, no conversations
===========  ===========================================  ===================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from steelyard.contracts import Continuation, Score
from steelyard.errors import CapabilityError
from steelyard.models.endpoint_remote import Remote, Unusable

ScoringWay: TypeAlias = Literal["echo", "prompt", "forced", "prefill"]
NEARLY = 1e-6
"""Log-probabilities closer than this are equal: servers round."""


class RemoteScorer(Protocol):
    """One way to get at log-probabilities of given text."""

    way: ClassVar[ScoringWay]

    def score(self, request: Continuation, top: int) -> Score:
        """Score one request whose text is not empty; ``top`` asks for that many alternatives."""


def made_score(
    text: str, tokens: Sequence[str], logprobs: Sequence[float], *, greedy: bool, context_tokens: int, **more: Any
) -> Score:
    """The record of a scored ``text``; ``more`` are its ``top`` and ``ranks``."""
    values = tuple(float(value) for value in logprobs)
    return Score(
        logprob=math.fsum(values),
        token_logprobs=values,
        tokens=tuple(tokens),
        utf8_bytes=len(text.encode("utf-8", "surrogatepass")),
        greedy=greedy,
        context_tokens=context_tokens,
        **more,
    )


# ------------------------------------------------------------------------------------------------ echo


class Echo(NamedTuple):
    """An echoed prompt: texts, log-probabilities, alternatives and character offsets of its tokens."""

    tokens: list[str]
    logprobs: list[float | None]
    top: list[Mapping[str, float] | None]
    offsets: list[int]


@dataclass(frozen=True)
class EchoScorer:
    """OpenAI's ``/completions`` with ``echo``, asked for ``count`` new tokens: 0 where the server allows it."""

    way: ClassVar[ScoringWay] = "echo"
    remote: Remote
    count: int

    def score(self, request: Continuation, top: int) -> Score:
        """One request, and one more where a token reaches across the context's end."""
        context = plain_context(self.remote, request)
        bare, prompt = context.rstrip(), context + request.text
        echoed = self._echo(prompt, max(top, 1))
        end = sum(offset < len(prompt) for offset in echoed.offsets)
        first = next((i for i, offset in enumerate(echoed.offsets[:end]) if offset >= len(bare)), end)
        if first == end or echoed.offsets[first] > len(bare):
            alone = self._echo(bare, 1)
            first = sum(offset < len(bare) for offset in alone.offsets)
            if first >= end:
                raise merged(self.remote, request)
        return self._read(echoed, request.text, first, end, top)

    def works(self) -> bool:
        """Whether the server scores a prompt this way."""
        answer = self.remote.attempt("completions", self._body("a b c", 1))
        try:
            echoed = self._echoed({} if answer is None else answer, "a b c")
        except Unusable:
            return False
        return len(echoed.tokens) > 1 + self.count and all(is_logprob(value) for value in echoed.logprobs[1:3])

    def _body(self, prompt: str, top: int) -> dict[str, Any]:
        return {"prompt": prompt, "echo": True, "logprobs": top, "max_tokens": self.count, "temperature": 0.0}

    def _echo(self, prompt: str, top: int) -> Echo:
        return self.remote.ask("completions", self._body(prompt, top), lambda answer: self._echoed(answer, prompt))

    def _echoed(self, answer: Any, prompt: str) -> Echo:
        logprobs = self.remote.choice(answer, "completions").get("logprobs")
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        fields: list[Any] = [logprobs.get(name) if isinstance(logprobs, dict) else None for name in names]
        if not all(
            isinstance(values, list) and values and len(values) == len(fields[0] or []) for values in fields
        ):
            raise self.remote.wrong("completions", f"no lists {', '.join(names)} of one length in logprobs")
        tokens, values, top, offsets = fields
        if not all(isinstance(token, str) for token in tokens):
            raise self.remote.wrong("completions", "a token that is not text in logprobs")
        if not all(isinstance(offset, int) for offset in offsets):
            raise self.remote.wrong("completions", "a text_offset that is not a number in logprobs")
        return Echo(tokens, values, top, _offsets(tokens, prompt) or self._checked(tokens, offsets, prompt))

    def _checked(self, tokens: Sequence[str], offsets: Sequence[int], prompt: str) -> list[int]:
        """The server's own offsets, where tokens are parts of characters, so that their texts do not add up."""
        for token, offset in zip(tokens, offsets, strict=True):
            known = token.isascii() and not token.startswith("bytes:")
            if known and offset < len(prompt) and not prompt.startswith(token, offset):
                raise self.remote.wrong("completions", f"token {token!r} is not at text_offset {offset}")
        return list(offsets)

    def _read(self, echo: Echo, text: str, first: int, end: int, top: int) -> Score:
        chosen = range(first, end)
        logprobs = [echo.logprobs[i] for i in chosen]
        if not all(is_logprob(value) for value in logprobs):
            raise self.remote.wrong("completions", f"no log-probability for {text[:40]!r}")
        values = [float(value) for value in logprobs if value is not None]
        tops = [dict(echo.top[i] or {}) for i in chosen]
        best = [
            max(alternatives.values(), default=value) for value, alternatives in zip(values, tops, strict=True)
        ]
        return made_score(
            text,
            [echo.tokens[i] for i in chosen],
            values,
            greedy=all(value >= most - NEARLY for value, most in zip(values, best, strict=True)),
            context_tokens=first,
            top=tuple(tops) if top else (),
        )


def _offsets(tokens: Sequence[str], prompt: str) -> list[int] | None:
    """Where each token begins in ``prompt``; None where their texts do not add up to it.

    Some servers show a beginning-of-sequence token, which is not in the prompt, and count its text, too.

    >>> _offsets(["<s>", "a", " b", " new"], "a b")
    [0, 0, 1, 3]
    """
    for lead in (0, 1):
        if "".join(tokens[lead:]).startswith(prompt):
            lengths = [0] * lead + [len(token) for token in tokens[lead:]]
            return [0, *accumulate(lengths)][:-1]
    return None


def is_logprob(value: Any) -> bool:
    """Whether a server's value is the logarithm of a probability."""
    return isinstance(value, int | float) and not math.isnan(value) and value <= NEARLY


def plain_context(remote: Remote, request: Continuation) -> str:
    """The context, if it is text and not empty."""
    if not isinstance(request.context, str):
        raise remote.lacks(
            "cannot score after a conversation: this server does not show its chat template; use the plain prompt "
            "style"
        )
    if not request.context.strip():
        raise remote.lacks(
            "cannot score a text without context: this server gives no log-probability of the first token"
        )
    return request.context


def merged(remote: Remote, request: Continuation) -> CapabilityError:
    """The error for a text that no token of its own is left for."""
    return remote.lacks(
        f"cannot score {request.text[:40]!r}: its tokenizer makes one token of it and the end of the context, and "
        "this server takes no tokens; put white space between the two"
    )


# ---------------------------------------------------------------------------------------- TGI: prefill


@dataclass(frozen=True)
class PrefillScorer:
    """TGI's ``/generate`` with ``decoder_input_details``; the server must run with ``--enable-prefill-logprobs``.

    Three requests a text: its log-probabilities, the length of the context, and, since no alternatives come, the
    greedy continuation of the context, to say whether the text is it.
    """

    way: ClassVar[ScoringWay] = "prefill"
    remote: Remote

    def score(self, request: Continuation, top: int) -> Score:
        """The last tokens of the prefill."""
        if top:
            raise self.remote.lacks("gives no alternatives to a prompt's tokens, which were asked for")
        context = plain_context(self.remote, request)
        bare = context.rstrip()
        whole, _ = self._generate(context + request.text, 1)
        before, made = self._generate(bare, 1)
        target = whole[len(before) :]
        if not target:
            raise merged(self.remote, request)
        if [token["id"] for token in whole[: len(before)]] != [token["id"] for token in before]:
            raise self.remote.lacks(
                f"cannot score {request.text[:40]!r}: a token of it reaches into the context, and whether it is "
                "the most probable continuation cannot be found out; put white space between the two"
            )
        if len(target) > 1:
            _, made = self._generate(bare, len(target))
        values: list[Any] = [token.get("logprob") for token in target]
        if not all(is_logprob(value) for value in values):
            raise self.remote.wrong("/generate", f"no log-probability for {request.text[:40]!r}")
        return made_score(
            request.text,
            [str(token.get("text", "")) for token in target],
            values,
            greedy=made == [token["id"] for token in target],
            context_tokens=len(before),
        )

    def works(self) -> bool:
        """Whether the server gives the log-probabilities of a prompt."""
        answer = self.remote.attempt("/generate", self._body("a b c", 1))
        try:
            prefill, _ = self._details({} if answer is None else answer)
        except Unusable:
            return False
        return len(prefill) > 1 and all(is_logprob(token.get("logprob")) for token in prefill[1:])

    def _body(self, text: str, count: int) -> dict[str, Any]:
        parameters = {"max_new_tokens": count, "do_sample": False, "details": True, "decoder_input_details": True}
        return {"inputs": text, "parameters": parameters}

    def _generate(self, text: str, count: int) -> tuple[list[dict[str, Any]], list[Any]]:
        return self.remote.ask("/generate", self._body(text, count), self._details)

    def _details(self, answer: Any) -> tuple[list[dict[str, Any]], list[Any]]:
        """The tokens of the prompt, and the ids of those made."""
        details = answer.get("details")
        lists = [details.get(name) if isinstance(details, dict) else None for name in ("prefill", "tokens")]
        prefill, made = (value if isinstance(value, list) else [] for value in lists)
        if not prefill or not all(isinstance(token, dict) and "id" in token for token in (*prefill, *made)):
            raise self.remote.wrong("/generate", "no tokens in details.prefill")
        return prefill, [token["id"] for token in made]
