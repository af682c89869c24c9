"""Requests as tokens: what a model reads for a continuation or a prompt.

The rules are those of EleutherAI's lm-evaluation-harness, so that scores can be compared with published ones:
context and continuation are encoded together and split at the length of the encoded context, white space at
the end of the context belongs to the continuation, an empty context is the beginning-of-sequence token (the
end-of-sequence token where there is none), and what does not fit is cut from the left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from steelyard.contracts import Continuation, Message, Prompt, Sampling, Samplings
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError


class Encoded(NamedTuple):
    """A request as tokens: log P(``target`` | ``context``) is wanted; ``pieces`` are the target's texts."""

    context: tuple[int, ...]
    target: tuple[int, ...]
    pieces: tuple[str, ...]


class Window(NamedTuple):
    """One run of the model: ``target`` is predicted after ``context``."""

    context: tuple[int, ...]
    target: tuple[int, ...]


def render(tokenizer: Any, prompt: Prompt, name: str = "the model") -> tuple[str, bool]:
    """The text a prompt stands for, and whether the tokenizer may add its special tokens to it.

    A conversation goes through the chat template up to the start of the assistant's turn; the template writes
    its own special tokens, so none are added.
    """
    if isinstance(prompt, str):
        return prompt, True
    messages = [{"role": m.role, "content": m.content} for m in prompt if isinstance(m, Message)]
    if not messages or len(messages) != len(prompt):
        raise InputError(f"{name}: a conversation must be a non-empty list of messages")
    if not getattr(tokenizer, "chat_template", None):
        raise CapabilityError(
            f"{name} has no chat template (capability 'chat'): use the plain or raw prompt style"
        )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise whatever their authors chose
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name}: its chat template refuses this conversation: {reason}") from error
    return str(text), False


def prefix_token(tokenizer: Any, name: str = "the model") -> int:
    """The token an empty context stands for: beginning of sequence, else end of sequence."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    raise ModelError(f"{name}: its tokenizer has neither a beginning- nor an end-of-sequence token")


def encode_text(tokenizer: Any, text: str, special: bool) -> list[int]:
    """Tokens of a text; ``special`` lets the tokenizer add its own, unless the text already starts with them."""
    return list(_encode(tokenizer, text, special)["input_ids"])


def encode_prompt(tokenizer: Any, prompt: Prompt, name: str = "the model") -> list[int]:
    """Tokens of a prompt for generation; an empty prompt is the beginning-of-sequence token."""
    text, special = render(tokenizer, prompt, name)
    return encode_text(tokenizer, text, special) or [prefix_token(tokenizer, name)]


def encode_continuations(
    tokenizer: Any, requests: Sequence[Continuation], name: str = "the model", *, separate: bool = False
) -> list[Encoded]:
    """Tokens of requests. ``separate`` is for encoder-decoders, whose two sides are encoded apart.

    An empty text gives an empty target. Where the last context token and the text merge into one token, so
    that nothing would be left to predict, the two are encoded apart.
    """
    texts = [render(tokenizer, request.context, name) for request in requests]
    pairs = [_move_spaces(text, request.text) for (text, _), request in zip(texts, requests, strict=True)]
    batch = _Batch(tokenizer)
    for (_, special), (context, continuation), request in zip(texts, pairs, requests, strict=True):
        if request.text and context:
            batch.want(context, special)
            batch.want(continuation if separate else context + continuation, special and not separate)
        elif request.text:
            batch.want(continuation, False)
    batch.encode()
    return [
        _encoded(tokenizer, batch, pair, special, name, separate) if request.text else Encoded((), (), ())
        for request, (_, special), pair in zip(requests, texts, pairs, strict=True)
    ]


def encode_continuation(
    tokenizer: Any, request: Continuation, name: str = "the model", *, separate: bool = False
) -> Encoded:
    """Tokens of one request; see :func:`encode_continuations`."""
    return encode_continuations(tokenizer, [request], name, separate=separate)[0]


def _encoded(
    tokenizer: Any, batch: _Batch, pair: tuple[str, str], special: bool, name: str, separate: bool
) -> Encoded:
    context, continuation = pair
    if not context:
        return _after_prefix(tokenizer, batch, continuation, name)
    before = batch.tokens(context, special)
    if not separate:
        whole = batch.tokens(context + continuation, special)
        if len(whole) > len(before):
            pieces = batch.pieces(context + continuation, special, len(before))
            return Encoded(before, whole[len(before) :], pieces)
    return Encoded(before, batch.tokens(continuation, False), batch.pieces(continuation, False, 0))


def rolling_windows(tokens: Sequence[int], prefix: int, length: int) -> list[Window]:
    """Cut a long text into windows of at most ``length`` inputs so that each token is predicted once.

    The first window predicts the first ``length`` tokens after ``prefix``; later windows predict up to
    ``length`` further tokens, and the last one is filled up on the left with context.

    Source: lm-evaluation-harness, rolling log-likelihood.

    >>> [w.target for w in rolling_windows([1, 2, 3, 4, 5], 0, 2)]
    [(1, 2), (3, 4), (5,)]
    >>> rolling_windows([1, 2, 3, 4, 5], 0, 2)[-1].context
    (3, 4)
    """
    tokens = tuple(tokens)
    windows = [Window((prefix,), tokens[:length])] if tokens else []
    for start in range(length, len(tokens), length):
        end = min(start + length, len(tokens))
        windows.append(Window(tokens[end - length - 1 : start], tokens[start:end]))
    return windows


def windows_of(encoded: Encoded, length: int | None, name: str, separate: bool = False) -> list[Window]:
    """The runs of the model one request needs, each within ``length`` inputs."""
    context, target = encoded.context, encoded.target
    if not target:
        return []
    if length is None:
        return [Window(context, target)]
    if separate:
        if len(target) > length:
            raise InputError(_too_long(name, len(target), length))
        return [Window(context[-length:], target)]
    if len(context) == 1 and len(target) > length:
        return rolling_windows(target, context[0], length)
    if len(target) > length:
        raise InputError(_too_long(name, len(target), length))
    return [Window(context[max(0, len(context) + len(target) - length - 1) :], target)]


def sampling_each(prompts: Sequence[Prompt], sampling: Samplings) -> list[Sampling]:
    """The sampling of each prompt; raises :class:`UsageError` for settings that mean nothing.

    >>> [s.seed for s in sampling_each(["a", "a"], [Sampling(seed=1), Sampling(seed=2)])]
    [1, 2]
    """
    found = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    if len(found) != len(prompts):
        raise UsageError(f"{len(prompts)} prompts but {len(found)} samplings: give one for all, or one for each")
    for each in dict.fromkeys(found):
        check_sampling(each)
    return found


def check_sampling(sampling: Sampling) -> None:
    """Refuse settings that mean nothing."""
    grammar = sampling.grammar
    checks = {
        "max_tokens must be 0 or more": sampling.max_tokens >= 0,
        "temperature must be a finite number, 0 or more": 0 <= sampling.temperature < math.inf,
        "top_p must be above 0 and at most 1": 0 < sampling.top_p <= 1,
        "top_k must be 0 or more": sampling.top_k >= 0,
        "min_p must be from 0 to 1": 0 <= sampling.min_p <= 1,
        "repetition_penalty must be a finite number above 0": 0 < sampling.repetition_penalty < math.inf,
        "logprobs must be 0 or more": sampling.logprobs >= 0,
        "a grammar is exactly one of choices, regex and json_schema": grammar is None
        or sum(map(bool, (grammar.choices, grammar.regex, grammar.json_schema))) == 1,
        "a stop string must not be empty": all(sampling.stop),
    }
    for rule, kept in checks.items():
        if not kept:
            raise UsageError(f"sampling: {rule}")


def label_tokens(tokenizer: Any, tokens: Iterable[int]) -> list[str]:
    """A distinct readable text for each of several alternative tokens."""
    labels: list[str] = []
    for token in tokens:
        text = tokenizer.decode([token])
        if text in labels or "\ufffd" in text:
            text = str(tokenizer.convert_ids_to_tokens(token))
        labels.append(text)
    return labels


def _too_long(name: str, tokens: int, length: int) -> str:
    return (
        f"{name}: a continuation of {tokens} tokens does not fit its context of {length} tokens; shorten it, or "
        "leave its context empty to score it in rolling windows"
    )


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _after_prefix(tokenizer: Any, batch: _Batch, text: str, name: str) -> Encoded:
    tokens, pieces = batch.tokens(text, False), batch.pieces(text, False, 0)
    prefix = prefix_token(tokenizer, name)
    if tokens and tokens[0] == prefix:  # the text brings its own
        return Encoded(tokens[:1], tokens[1:], pieces[1:])
    return Encoded((prefix,), tokens, pieces)


class _Batch:
    """Distinct texts, tokenized in two calls: those with the tokenizer's special tokens and those without."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.places: dict[bool, dict[str, int]] = {True: {}, False: {}}
        self.encodings: dict[bool, Any] = {}

    def want(self, text: str, special: bool) -> None:
        places = self.places[self._special(text, special)]
        places.setdefault(text, len(places))

    def encode(self) -> None:
        for special, places in self.places.items():
            if places:
                self.encodings[special] = self._call(list(places), special)

    def tokens(self, text: str, special: bool) -> tuple[int, ...]:
        encoding, place = self._find(text, special)
        return tuple(encoding["input_ids"][place])

    def pieces(self, text: str, special: bool, start: int) -> tuple[str, ...]:
        encoding, place = self._find(text, special)
        offsets = encoding.get("offset_mapping")
        tokens = encoding["input_ids"][place]
        return _pieces(self.tokenizer, tokens, offsets[place] if offsets is not None else None, text, start)

    def _find(self, text: str, special: bool) -> tuple[Any, int]:
        special = self._special(text, special)
        if text not in self.places[special]:  # rare: a text that turned out to be needed by itself
            return self._call([text], special), 0
        return self.encodings[special], self.places[special][text]

    def _special(self, text: str, special: bool) -> bool:
        return special and not _brings_special(self.tokenizer, text)

    def _call(self, texts: list[str], special: bool) -> Any:
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        return self.tokenizer(texts, add_special_tokens=special, return_offsets_mapping=fast, verbose=False)


def _encode(tokenizer: Any, text: str, special: bool) -> Any:
    special = special and not _brings_special(tokenizer, text)
    return tokenizer(text, add_special_tokens=special, verbose=False)


def _brings_special(tokenizer: Any, text: str) -> bool:
    first = tokenizer.bos_token if tokenizer.bos_token is not None else tokenizer.eos_token
    return bool(first and text.startswith(first))


def _pieces(
    tokenizer: Any, tokens: Sequence[int], offsets: Sequence[tuple[int, int]] | None, text: str, start: int
) -> tuple[str, ...]:
    """Texts of the tokens from ``start`` on; joined they are the rest of ``text``.

    A character that several tokens share goes to the last of them.
    """
    if offsets is None:
        return tuple(tokenizer.decode([token]) for token in tokens[start:])
    ends = [end for _, end in offsets]
    # a piece ends no later than the next token's character begins
    for index in range(len(ends) - 2, max(start, 1) - 2, -1):
        following = offsets[index + 1]
        if following[1] > following[0] and ends[index] > following[0]:
            ends[index] = following[0]
    cursor = ends[start - 1] if start else 0
    pieces = []
    for end in ends[start:]:
        pieces.append(text[cursor:end] if end > cursor else "")
        cursor = max(cursor, end)
    if pieces and cursor < len(text):
        pieces[-1] += text[cursor:]
    return tuple(pieces)
