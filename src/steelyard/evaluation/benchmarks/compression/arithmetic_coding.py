"""A lossless arithmetic coder driven by a language model: text or bytes in, a short code out, and back.

The decoder repeats the encoder's computation token by token, so it needs the same weights, precision, library
versions, number of threads and kind of processor; a checksum in the code tells where one of them differed. Needs
``steelyard[evaluation]`` (constriction).
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import LanguageModel
from steelyard.errors import InputError, ModelError
from steelyard.evaluation.benchmarks.compression.code_lengths import byte_tokens, tokens_of, weights_of
from steelyard.models.requests import prefix_token

_TEXT, _BYTES = 0x51, 0x52
_CHECKSUM = 4


class Compressed(NamedTuple):
    """A code, and the summed -log2 p of its tokens, in bits."""

    code: bytes
    bits: float


def compress(model: LanguageModel, content: str | bytes, *, context: int = 1024) -> Compressed:
    """Code ``content`` with the model's next-token probabilities, in chunks of ``context`` tokens.

    The code is one byte for the kind, the number of tokens in 7-bit groups, a CRC-32, and the range coder's
    words. Each probability is rounded to 24 bits, so a token costs 24 bits at most.

    Source: range coding, Martin 1979; the chunks as in ``coding_windows`` without a stride.
    """
    queue = _stream().queue
    whole = weights_of(model, "coding")
    tokens = tokens_of(whole.tokenizer, content, model.card.name)
    if isinstance(content, str) and _spelled(whole.tokenizer, tokens) != content:
        raise ModelError(
            f"{model.card.name}: its tokens do not spell this text back, so it cannot be coded as text"
        )
    encoder, bits = queue.RangeEncoder(), 0.0
    predictions = _predictions(whole, context)
    chances = next(predictions)
    for token in tokens:
        encoder.encode(token, _categorical(chances))
        bits -= float(np.log2(max(float(chances[token]), 2.0**-149)))
        chances = predictions.send(token)
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    kind = _TEXT if isinstance(content, str) else _BYTES
    header = bytes([kind]) + _varint(len(tokens)) + zlib.crc32(raw).to_bytes(_CHECKSUM, "little")
    return Compressed(header + encoder.get_compressed().astype("<u4").tobytes(), bits)


def decompress(model: LanguageModel, code: bytes, *, context: int = 1024) -> str | bytes:
    """What :func:`compress` coded, with the same model and ``context``.

    Raises:
        InputError: no such code, or a damaged one.
        ModelError: it decodes to something else: another model, context or machine than the encoder's.
    """
    queue = _stream().queue
    whole = weights_of(model, "decoding")
    count, checksum, words = _parse(code)
    decoder = queue.RangeDecoder(words)
    predictions = _predictions(whole, context)
    chances = next(predictions)
    tokens: list[int] = []
    for _ in range(count):
        tokens.append(int(decoder.decode(_categorical(chances))))
        chances = predictions.send(tokens[-1])
    content: str | bytes
    if code[0] == _TEXT:
        content = _spelled(whole.tokenizer, tokens)
        raw = content.encode("utf-8", "surrogatepass")
    else:
        values = {token: byte for byte, token in enumerate(byte_tokens(whole.tokenizer, model.card.name))}
        raw = content = bytes(values.get(token, 0) for token in tokens)
    if zlib.crc32(raw) != checksum:
        raise ModelError(
            f"{model.card.name}: decoding gave something else than was coded; use the encoder's model, context, "
            "precision and machine"
        )
    return content


def _predictions(model: Any, context: int) -> Generator[NDArray[np.float32], int, None]:
    """Next-token probabilities, float32 (vocabulary,), one token at a time; each chunk starts anew."""
    import torch

    module, prefix = model.module, prefix_token(model.tokenizer, model.card.name)
    token, used = prefix, 0
    cache: Any = None
    while True:
        with torch.inference_mode():
            ids = torch.tensor([[token]], device=module.device)
            output = module(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            chances = output.logits[0, -1].double().softmax(-1).float().cpu().numpy()
        token = yield chances
        used += 1
        if used == context:
            token, cache, used = prefix, None, 0


def _categorical(chances: NDArray[np.float32]) -> Any:
    return _stream().model.Categorical(chances, perfect=False)


def _stream() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise ModelError(
            "arithmetic coding needs the package constriction; install steelyard[evaluation]"
        ) from error
    return constriction.stream


def _spelled(tokenizer: Any, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _parse(code: bytes) -> tuple[int, int, NDArray[np.uint32]]:
    count, place = 0, 1
    for place in range(1, min(len(code), 10)):
        count |= (code[place] & 0x7F) << (7 * (place - 1))
        if code[place] < 0x80:
            break
    start = place + 1 + _CHECKSUM
    if not code or code[0] not in (_TEXT, _BYTES) or len(code) < start or (len(code) - start) % 4:
        raise InputError("not a code that compress made, or a cut one; code the document again")
    checksum = int.from_bytes(code[place + 1 : start], "little")
    return count, checksum, np.frombuffer(code[start:], dtype="<u4").astype(np.uint32)
