"""Log-probabilities from servers that take and show token ids: vLLM, and llama.cpp's own server.

Both have ``/tokenize``, so that the tokens are exactly those a local model would read, and texts that the
tokenizer would merge with their context, conversations, and (where the tokenizer has a beginning-of-sequence
token) texts without context can be scored, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from steelyard.contracts import Continuation, Message, Prompt, Score
from steelyard.models.endpoint_remote import Remote, Unusable
from steelyard.models.endpoint_scoring import NEARLY, ScoringWay, is_logprob, made_score

FORCING = 1e5
"""Added to a logit to make its token certain; logits are a few hundred at most."""
SMALLEST = -1e30
"""llama.cpp writes the lowest float for the logarithm of a probability that is 0 in single precision."""


class Token(NamedTuple):
    """A token: its number and, where the server shows it, its text."""

    id: int
    text: str = ""


class Tokenizing(Protocol):
    """What encoding a request needs of a server."""

    @property
    def remote(self) -> Remote:
        """The model."""

    def tokens(self, text: str, special: bool) -> list[Token]:
        """The tokens of a text; ``special`` adds those that the tokenizer puts around one."""

    def rendered(self, conversation: Sequence[Message]) -> tuple[str, bool]:
        """A conversation as text, up to the start of the assistant's turn, and whether it takes ``special``."""


def encode(server: Tokenizing, request: Continuation) -> tuple[list[Token], list[Token]]:
    """Context and target; see :func:`steelyard.models.requests.encode_continuation`, which this repeats."""
    context: Prompt = request.context
    text, special = (context, True) if isinstance(context, str) else server.rendered(context)
    bare = text.rstrip()
    continuation = text[len(bare) :] + request.text
    if not bare:
        prefix = server.tokens("", True)
        if not prefix:
            raise server.remote.lacks(
                "cannot score a text without context: its tokenizer has no token for the beginning"
            )
        target = server.tokens(continuation, False)
        return prefix[:1], target[1:] if target[:1] == prefix[:1] else target  # the text may bring it
    before = _without_doubled_start(server, bare, special)
    whole = _without_doubled_start(server, bare + continuation, special)
    target = whole[len(before) :]
    if target:
        return whole[: len(before)], target
    return before, server.tokens(continuation, False)


def _without_doubled_start(server: Tokenizing, text: str, special: bool) -> list[Token]:
    """Tokens of a text which may bring its beginning-of-sequence token itself."""
    found = server.tokens(text, special)
    doubled = special and len(found) > 1 and found[0].id == found[1].id
    if doubled and [token.id for token in server.tokens("", True)[:1]] == [found[0].id]:
        return found[1:]
    return found


# ------------------------------------------------------------------------------------------------ vLLM


@dataclass(frozen=True)
class PromptLogprobScorer:
    """vLLM's ``prompt_logprobs`` on ``/completions``: log-probability and rank of each token of the prompt."""

    way: ClassVar[ScoringWay] = "prompt"
    remote: Remote

    def score(self, request: Continuation, top: int) -> Score:
        """Two small requests for the tokens, one for the log-probabilities."""
        context, target = encode(self, request)
        ids = [token.id for token in (*context, *target)]
        entries = self.remote.ask("completions", self._body(ids, top), lambda answer: self._entries(answer, ids))
        chosen = entries[len(context) :]
        own = [entry[str(token.id)] for entry, token in zip(chosen, target, strict=True)]
        ranks = tuple(int(item["rank"]) - 1 for item in own)
        return made_score(
            request.text,
            [str(item.get("decoded_token") or "") for item in own],
            [item["logprob"] for item in own],
            greedy=not any(ranks),
            context_tokens=len(context),
            ranks=ranks,
            top=tuple(_most_probable(entry, top) for entry in chosen) if top else (),
        )

    def works(self) -> bool:
        """Whether the server knows ``prompt_logprobs`` and ``/tokenize``."""
        try:
            answer = self.remote.attempt("/tokenize", {"prompt": "a b c", "add_special_tokens": True})
            ids = [token.id for token in self._tokens({} if answer is None else answer)]
            if len(ids) < 2:
                return False
            answer = self.remote.attempt("completions", self._body(ids, 1))
            self._entries({} if answer is None else answer, ids)
        except Unusable:
            return False
        return True

    def tokens(self, text: str, special: bool) -> list[Token]:
        """``/tokenize``."""
        return self.remote.ask("/tokenize", {"prompt": text, "add_special_tokens": special}, self._tokens)

    def rendered(self, conversation: Sequence[Message]) -> tuple[str, bool]:
        """The tokens of the rendered conversation, back as text; both ways must lead to the same tokens."""
        messages = [{"role": m.role, "content": m.content} for m in conversation]
        body = {"messages": messages, "add_generation_prompt": True, "add_special_tokens": False}
        ids = [token.id for token in self.remote.ask("/tokenize", body, self._tokens)]
        text = self.remote.ask("/detokenize", {"tokens": ids}, self._text)
        if [token.id for token in self.tokens(text, False)] != ids:
            raise self.remote.lacks(
                "cannot score after this conversation: its rendered text does not lead back to its tokens; use "
                "the plain prompt style"
            )
        return text, False

    def _body(self, ids: Sequence[int], top: int) -> dict[str, Any]:
        return {"prompt": list(ids), "prompt_logprobs": max(top, 1), "max_tokens": 1, "temperature": 0.0}

    def _tokens(self, answer: Any) -> list[Token]:
        ids = answer.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
            raise self.remote.wrong("/tokenize", "no list of token ids")
        return [Token(number) for number in ids]

    def _text(self, answer: Any) -> str:
        text = answer.get("prompt")
        if not isinstance(text, str):
            raise self.remote.wrong("/detokenize", "no text")
        return text

    def _entries(self, answer: Any, ids: Sequence[int]) -> list[dict[str, Any]]:
        """What is said of each token; the first has nothing before it, and so nothing is said of it."""
        entries = self.remote.choice(answer, "completions").get("prompt_logprobs")
        if not isinstance(entries, list) or len(entries) != len(ids):
            raise self.remote.wrong("completions", "not one entry for each token in prompt_logprobs")
        for number, entry in zip(ids[1:], entries[1:], strict=True):
            item = entry.get(str(number)) if isinstance(entry, dict) else None
            if not isinstance(item, dict) or not is_logprob(item.get("logprob")):
                raise self.remote.wrong("completions", f"no log-probability of token {number} in prompt_logprobs")
            if not isinstance(item.get("rank"), int) or item["rank"] < 1:
                raise self.remote.wrong("completions", f"no rank of token {number} in prompt_logprobs")
        return [entry or {} for entry in entries]


def _most_probable(entry: dict[str, Any], top: int) -> dict[str, float]:
    """The ``top`` alternatives by text; where two share one, the less probable one is named by its number."""
    ranked = sorted(entry.items(), key=lambda pair: -pair[1]["logprob"])[:top]
    return _by_text([(str(item.get("decoded_token") or ""), int(key), item["logprob"]) for key, item in ranked])


def _by_text(ranked: Sequence[tuple[str, int, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text, number, logprob in ranked:
        found[text if text not in found else f"<token {number}>"] = float(logprob)
    return found


# ------------------------------------------------------------------------------------------- llama.cpp


class Step(NamedTuple):
    """What llama.cpp says of one token: its log-probability, whether it is the best, and the best ones."""

    logprob: float
    best: bool
    top: dict[str, float]


@dataclass(frozen=True)
class ForcedTokenScorer:
    """llama.cpp's ``/completion``, one request a token.

    The server gives no log-probabilities of a prompt, but of each token it writes, taken from the logits before
    any sampler touched them. So each token of the text is forced, by a bias that decides the sampling and does
    not enter the reported value, after the tokens before it, which the server has in its cache.
    """

    way: ClassVar[ScoringWay] = "forced"
    remote: Remote

    def score(self, request: Continuation, top: int) -> Score:
        """As many requests as the text has tokens, and two for the tokens."""
        context, target = encode(self, request)
        ids = [token.id for token in (*context, *target)]
        steps = [self._step(ids[:place], ids[place], top) for place in range(len(context), len(ids))]
        return made_score(
            request.text,
            [token.text for token in target],
            [step.logprob for step in steps],
            greedy=all(step.best for step in steps),
            context_tokens=len(context),
            top=tuple(step.top for step in steps) if top else (),
        )

    def works(self) -> bool:
        """Whether the server takes tokens and says what it makes of a forced one."""
        try:
            answer = self.remote.attempt("/tokenize", self._tokenize("a b c", True))
            ids = [token.id for token in self._tokens({} if answer is None else answer)]
            if len(ids) < 2:
                return False
            answer = self.remote.attempt("/completion", self._body(ids[:-1], ids[-1], 1))
            self._read({} if answer is None else answer, ids[-1], 1)
        except Unusable:
            return False
        return True

    def tokens(self, text: str, special: bool) -> list[Token]:
        """``/tokenize`` with the pieces."""
        return self.remote.ask("/tokenize", self._tokenize(text, special), self._tokens)

    def rendered(self, conversation: Sequence[Message]) -> tuple[str, bool]:
        """``/apply-template``; the server adds the beginning of sequence itself, as it does when it chats."""
        messages = [{"role": m.role, "content": m.content} for m in conversation]
        return self.remote.ask("/apply-template", {"messages": messages}, self._prompt), True

    def _tokenize(self, text: str, special: bool) -> dict[str, Any]:
        return {"content": text, "add_special": special, "parse_special": True, "with_pieces": True}

    def _body(self, before: Sequence[int], token: int, top: int) -> dict[str, Any]:
        return {
            "prompt": list(before),
            "n_predict": 1,
            "n_probs": max(top, 1),
            "logit_bias": [[token, FORCING]],
            "temperature": 0.0,
            "mirostat": 0,
            "post_sampling_probs": False,
            "cache_prompt": True,
        }

    def _step(self, before: Sequence[int], token: int, top: int) -> Step:
        body = self._body(before, token, top)
        return self.remote.ask("/completion", body, lambda answer: self._read(answer, token, top))

    def _tokens(self, answer: Any) -> list[Token]:
        items = answer.get("tokens")
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and isinstance(item.get("id"), int) for item in items
        ):
            raise self.remote.wrong("/tokenize", "no list of tokens with ids")
        return [Token(item["id"], _piece(item.get("piece"))) for item in items]

    def _prompt(self, answer: Any) -> str:
        text = answer.get("prompt")
        if not isinstance(text, str):
            raise self.remote.wrong("/apply-template", "no text")
        return text

    def _read(self, answer: Any, token: int, top: int) -> Step:
        said = answer.get("completion_probabilities")
        item = said[0] if isinstance(said, list) and said else None
        if not isinstance(item, dict) or item.get("id") != token or not is_logprob(item.get("logprob")):
            raise self.remote.wrong("/completion", f"no log-probability of token {token}, which was forced")
        alternatives = item.get("top_logprobs")
        if not isinstance(alternatives, list) or not all(
            isinstance(other, dict) and is_logprob(other.get("logprob")) for other in alternatives
        ):
            raise self.remote.wrong("/completion", "no list top_logprobs")
        logprob, best = float(item["logprob"]), max((float(a["logprob"]) for a in alternatives), default=None)
        if best is None or logprob > best + NEARLY or logprob < SMALLEST:
            raise self.remote.wrong(
                "/completion", f"a log-probability of {logprob:g} for token {token}, which cannot be"
            )
        named = [(str(a.get("token", "")), int(a.get("id", -1)), float(a["logprob"])) for a in alternatives[:top]]
        return Step(logprob, logprob >= best - NEARLY, _by_text(named))


def _piece(piece: Any) -> str:
    """A token's text; llama.cpp writes bytes that are no character of their own as numbers."""
    if isinstance(piece, list):
        return bytes(value for value in piece if isinstance(value, int) and 0 <= value < 256).decode(
            "utf-8", "replace"
        )
    return str(piece or "")
