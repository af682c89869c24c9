"""Log-probabilities of words, from any language model, in a form that can be shared.

The unit is the word, a run of characters that are not white space, and the end mark after a sentence's last
word. A sentence is a line, scored from the beginning of a text; its words are put one blank apart and its end
mark is a line break. A sub-word model's log P(word | words so far) is the sum over the word's tokens, its blank
included; a token that reaches into the next word belongs to the word in which it begins. So the words of a
sentence add up to the model's log-probability of the line exactly, whatever its tokens are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Continuation, Interval, LanguageModel, Score, Texts
from steelyard.errors import InputError, ModelError
from steelyard.evaluation.statistics import ratio_interval
from steelyard.models.ngrams.words import sentences

FORMAT = "steelyard-word-logprobs-1"
END = "</s>"


@dataclass(frozen=True, slots=True)
class WordLogprobs:
    """What a model gives the words of some sentences.

    ``logprobs`` holds, per sentence, natural logarithms for its words and then its end mark. ``unknown`` says
    of which of the words the model's vocabulary knows only the class ``<unk>``: their values are log P(``<unk>``).
    """

    model: str
    fingerprint: str
    sentences: tuple[tuple[str, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]
    unknown: tuple[tuple[bool, ...], ...]

    def flat(self) -> NDArray[np.float64]:
        """All log-probabilities in order: float64 (words and end marks,)."""
        return np.array([value for sentence in self.logprobs for value in sentence])

    def flat_unknown(self) -> NDArray[np.bool_]:
        """Which of them are the class of unknown words: bool, as :meth:`flat`."""
        return np.array([flag for sentence in self.unknown for flag in sentence], dtype=np.bool_)


def word_logprobs(model: LanguageModel, texts: Texts, *, vocabulary: Container[str] | None = None) -> WordLogprobs:
    """Score the words of every line of ``texts``.

    ``vocabulary`` tells known words from unknown ones; by default it is the model's own where it is a word
    model, and sub-word models know every word.
    """
    lines = [tuple(words) for words in sentences(texts)]
    if not lines:
        raise InputError("word log-probabilities need at least one sentence; the texts given hold no words")
    known = vocabulary if vocabulary is not None else getattr(model, "vocabulary", None)
    scores = model.score([Continuation("", " ".join(words) + "\n") for words in lines])
    values = [_by_word(words, score, model.card.name) for words, score in zip(lines, scores, strict=True)]
    flags = [(*((known is not None and word not in known) for word in words), False) for words in lines]
    return WordLogprobs(model.card.name, model.card.fingerprint, tuple(lines), tuple(values), tuple(flags))


def _by_word(words: Sequence[str], score: Score, name: str) -> tuple[float, ...]:
    """Sums of token log-probabilities by word and end mark."""
    text = " ".join(words) + "\n"
    if "".join(score.tokens) != text:
        raise ModelError(f"{name}: its tokens do not spell the text {text[:40]!r}, so words cannot be told apart")
    ends = np.cumsum([len(words[0]), *(len(word) + 1 for word in words[1:]), 1])
    starts = np.cumsum([0, *map(len, score.tokens)])[:-1]
    places = np.minimum(np.searchsorted(ends, starts, side="right"), len(words))
    sums: list[list[float]] = [[] for _ in range(len(words) + 1)]
    for place, value in zip(places.tolist(), score.token_logprobs, strict=True):
        sums[place].append(value)
    return tuple(math.fsum(values) for values in sums)


def perplexity_interval(found: WordLogprobs, logprobs: NDArray[np.float64] | None = None) -> Interval:
    """Perplexity: exp of the mean negative log-probability of words and end marks.

    The interval treats sentences as independent. ``logprobs`` replaces the model's own values, such as by those
    of a mixture.
    """
    lengths = np.array([len(values) for values in found.logprobs])
    nats = -sentence_sums(found.flat() if logprobs is None else logprobs, lengths)
    if not np.isfinite(nats).all():
        return Interval(math.inf, math.inf, math.inf, len(lengths))
    value, low, high, count = ratio_interval(nats, lengths)
    return Interval(_exp(value), _exp(low), _exp(high), count)


def sentence_sums(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of runs of the given lengths: float64 (sentences,)."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    result: NDArray[np.float64] = np.add.reduceat(values, starts)
    return result


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)


def distinct_names(found: Sequence[WordLogprobs]) -> list[str]:
    """The models' names; those that several bear with the beginning of their fingerprint, and a number if need
    be.
    """
    names = [each.model for each in found]
    names = [
        f"{name}-{each.fingerprint[:8]}" if names.count(name) > 1 else name
        for name, each in zip(names, found, strict=True)
    ]
    return [f"{name}-{i}" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]


def aligned(members: Sequence[WordLogprobs]) -> NDArray[np.float64]:
    """Log-probabilities of several models for the same words: float64 (models, words and end marks).

    Raises :class:`InputError` where they are not of the same words, naming the first sentence that differs.
    """
    first = members[0]
    for other in members[1:]:
        if other.sentences == first.sentences:
            continue
        count = min(len(first.sentences), len(other.sentences))
        place = next((i for i in range(count) if first.sentences[i] != other.sentences[i]), count)
        raise InputError(
            f"word log-probabilities of {first.model} and {other.model} are not of the same words: they differ "
            f"from sentence {place + 1} on; score both on one text"
        )
    return np.stack([member.flat() for member in members])


# ------------------------------------------------------------------------------------------------------- files


def write_word_logprobs(found: WordLogprobs, file: Path) -> Path:
    r"""Write a tab-separated file that anybody can read.

    Its first line is ``# `` and a JSON object: ``format``, ``model``, ``fingerprint``, ``log`` (natural),
    ``sentences`` and ``words_sha256`` (of the sentences joined by line breaks, their words one blank apart).
    Then one line a
    word: word, log-probability, and ``unk`` where it is that of the class of unknown words. The end mark is
    ``</s>`` with ``end`` in the third column.
    """
    file = Path(file)
    header = {
        "format": FORMAT,
        "model": found.model,
        "fingerprint": found.fingerprint,
        "log": "natural",
        "sentences": len(found.sentences),
        "words_sha256": _digest(found.sentences),
    }
    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"# {json.dumps(header, ensure_ascii=False)}\n")
        for words, values, flags in zip(found.sentences, found.logprobs, found.unknown, strict=True):
            for word, value, flag in zip(words, values, flags, strict=False):
                stream.write(f"{word}\t{value!r}\t{'unk' if flag else ''}\n")
            stream.write(f"{END}\t{values[-1]!r}\tend\n")
    part.replace(file)
    return file


def read_word_logprobs(file: Path) -> WordLogprobs:
    """Read what :func:`write_word_logprobs` wrote; anything damaged is an :class:`InputError` with its line."""
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    header = _header(file, lines[0])
    sentences_: list[tuple[str, ...]] = []
    logprobs: list[tuple[float, ...]] = []
    unknown: list[tuple[bool, ...]] = []
    words: list[str] = []
    values: list[float] = []
    flags: list[bool] = []
    for number, line in enumerate(lines[1:], 2):
        if not line and number == len(lines):
            break
        word, value, flag = _unit(file, number, line)
        values.append(value)
        flags.append(flag == "unk")
        if flag != "end":
            words.append(word)
            continue
        sentences_.append(tuple(words))
        logprobs.append(tuple(values))
        unknown.append(tuple(flags))
        words, values, flags = [], [], []
    if words or len(sentences_) != header["sentences"] or _digest(sentences_) != header["words_sha256"]:
        raise InputError(f"{file}: its words are not those it was written with (cut or edited); fetch it again")
    return WordLogprobs(header["model"], header["fingerprint"], tuple(sentences_), tuple(logprobs), tuple(unknown))


def _header(file: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line.removeprefix("# "))
        if header["format"] != FORMAT or header["log"] != "natural":
            raise ValueError
        return {key: header[key] for key in ("model", "fingerprint", "sentences", "words_sha256")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}:1: not a file of word log-probabilities ({FORMAT})") from error


def _unit(file: Path, number: int, line: str) -> tuple[str, float, str]:
    fields = line.split("\t")
    try:
        word, text, flag = fields
        value = float(text)
    except ValueError as error:
        raise InputError(f"{file}:{number}: needs a word, a number and a flag, one tab apart") from error
    if math.isnan(value) or value > 1e-6 or flag not in ("", "unk", "end"):
        raise InputError(f"{file}:{number}: {text} {flag} is no log-probability with the flag unk, end or none")
    return word, value, flag


def _digest(lines: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256("\n".join(" ".join(words) for words in lines).encode()).hexdigest()
