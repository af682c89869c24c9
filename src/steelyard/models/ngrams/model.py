"""The language model around n-gram counts: ``score`` and ``generate`` over words."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import (
    AppliedPart,
    Continuation,
    FinishReason,
    Generation,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    Usage,
)
from steelyard.errors import CapabilityError
from steelyard.models.detokenizing import find_stop
from steelyard.models.ngrams.arpa import Backoff
from steelyard.models.ngrams.smoothing import Smoothed
from steelyard.models.ngrams.words import BEGIN_ID, END, END_ID, UNKNOWN_ID, Stream, Unit, Vocabulary, split_units
from steelyard.models.requests import sampling_each


class _Read(NamedTuple):
    """A request as read: the sentence so far, and the units to score with their numbers."""

    before: list[int]
    units: list[Unit]
    tokens: list[int]
    context_units: int


class NgramModel:
    r"""A word n-gram model, a language model like any other.

    - A token is a word with the white space before it; a line break is the end mark, and the words after it
      begin a new sentence. Context and text are split apart, so a word that straddles the two counts as two.
    - A word outside the vocabulary is ``<unk>`` and scores log P(``<unk>``): the class of all unknown words, not
      this word. ``word in model.vocabulary`` tells.
    - The end of a text is no end mark: score ``text + "\n"`` to have it counted.
    - ``greedy``, ranks and entropies are over the vocabulary with ``</s>`` and ``<unk>``. Answers never hold
      ``<unk>``; ``</s>`` ends them and, as for other models, is not part of their log-probability.

        model.score([Continuation("the cat sat on the", " mat")])[0].logprob
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        smoothed: Smoothed | Backoff,
        name: str = "ngram",
        part: AppliedPart | None = None,
        source: str | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.smoothed = smoothed
        self.name = name
        self.part = part
        self.source = source

    @cached_property
    def card(self) -> ModelCard:
        """Parameters are n-grams; the fingerprint hashes words, counts and what is computed of them."""
        return ModelCard(
            name=self.name,
            fingerprint=_fingerprint(self.vocabulary, self.smoothed),
            parameters=self.smoothed.entries,
            memory_bytes=sum(array.nbytes for array in self.smoothed.arrays()),
            family="ngram",
            capabilities=frozenset({"score", "generate", "logprobs"}),
            parts=(self.part,) if self.part else (),
            source=self.source,
        )

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each request, in order; all words are looked up together."""
        read = [self._read(request) for request in requests]
        values = self._logprobs(read)
        return [
            self._score(request, each, logprobs, top, detail)
            for request, each, logprobs in zip(requests, read, values, strict=True)
        ]

    def distribution(self, sentence: Sequence[str]) -> NDArray[np.float64]:
        """P(. | the words of the sentence so far) over the vocabulary, float64 (size,); ``<s>`` has 0."""
        return self.smoothed.distribution([BEGIN_ID, *self.vocabulary.encode(sentence)])

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt word by word until the end of its sentence."""
        each = sampling_each(prompts, sampling)
        return [self._answer(prompt, chosen) for prompt, chosen in zip(prompts, each, strict=True)]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield words; joined, their texts equal ``generate``'s."""
        whole = self.generate([prompt], sampling)[0]
        left = whole.text
        for i, (token, value) in enumerate(zip(whole.tokens, whole.token_logprobs, strict=True)):
            yield Generation(left[: len(token)], (token,), value, None, Usage(), (value,), whole.top[i : i + 1])
            left = left[len(token) :]
        yield Generation("", (), 0.0, whole.finish_reason, whole.usage)

    def save(self, file: Path) -> Path:
        """Write the model as one ``.npz`` file that ``ngram:FILE`` reads back."""
        from steelyard.models.ngrams.files import save

        return save(self, file)

    # ---------------------------------------------------------------------------------------------- scoring

    def _read(self, request: Continuation) -> _Read:
        context = _text_of(self.name, request.context)
        before = split_units(context, False)
        begun = bool(before) and before[-1].word != END
        units = split_units(request.text, begun)
        sentence: list[str] = []
        for unit in before:
            sentence = [] if unit.word == END else [*sentence, unit.word]
        tokens = [END_ID if unit.word == END else self.vocabulary.encode([unit.word])[0] for unit in units]
        return _Read([BEGIN_ID, *self.vocabulary.encode(sentence)], units, tokens, len(before))

    def _logprobs(self, read: Sequence[_Read]) -> list[list[float]]:
        tokens: list[int] = []
        places: list[int] = []
        wanted: list[int] = []
        for request in read:
            tokens += request.before
            places += range(len(request.before))
            for token in request.tokens:
                wanted.append(len(tokens))
                places.append(places[-1] + 1)
                tokens.append(token)
                if token == END_ID:
                    tokens.append(BEGIN_ID)
                    places.append(0)
        stream = Stream(np.array(tokens, dtype=np.int64), np.array(places, dtype=np.int64))
        values = np.log(self.smoothed.probabilities(stream)[np.array(wanted, dtype=np.int64)]).tolist()
        ends = np.cumsum([len(request.tokens) for request in read]).tolist()
        return [values[end - len(r.tokens) : end] for end, r in zip(ends, read, strict=True)]

    def _score(self, request: Continuation, read: _Read, logprobs: list[float], top: int, detail: bool) -> Score:
        greedy, ranks, entropies, tops = True, [], [], []
        sentence = list(read.before)
        for token in read.tokens:
            if not (greedy or detail or top):
                break  # nothing more to learn from whole distributions
            chances = self.smoothed.distribution(sentence)
            rank = int((chances > chances[token]).sum())
            greedy = greedy and rank == 0
            if detail:
                ranks.append(rank)
                positive = chances[chances > 0]
                entropies.append(float(-(positive * np.log(positive)).sum()))
            if top:
                tops.append(self._top(chances, top))
            sentence = [BEGIN_ID] if token == END_ID else [*sentence, token]
        return Score(
            logprob=math.fsum(logprobs),
            token_logprobs=tuple(logprobs),
            tokens=tuple(unit.piece for unit in read.units),
            utf8_bytes=len(request.text.encode("utf-8", "surrogatepass")),
            greedy=greedy,
            context_tokens=read.context_units,
            top=tuple(tops),
            ranks=tuple(ranks),
            entropies=tuple(entropies),
        )

    def _top(self, chances: NDArray[np.float64], count: int) -> dict[str, float]:
        best = np.argsort(-chances, kind="stable")[:count]
        return {self.vocabulary.words[i]: math.log(chances[i]) for i in best.tolist() if chances[i] > 0}

    # ------------------------------------------------------------------------------------------- generation

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Generation:
        if sampling.grammar is not None:
            raise CapabilityError(f"{self.name} has no grammars: its tokens are whole words")
        read = self._read(Continuation(prompt, ""))
        before = _text_of(self.name, prompt)
        space = "" if not before or before[-1].isspace() else " "
        sentence, written = list(read.before), _Written([], [], [])
        reason: FinishReason = "length"
        used = 0
        for token, value, chances in self._draws(sentence, sampling):
            used += 1
            if token == END_ID:
                reason = "stop"
                break
            sentence.append(token)
            written.pieces.append(space + self.vocabulary.words[token])
            written.logprobs.append(value)
            if sampling.logprobs:
                written.tops.append(self._top(chances, sampling.logprobs))
            space = " "
            cut = find_stop("".join(written.pieces), sampling.stop)
            if cut is not None:
                written, reason = written.until(cut), "stop"
                break
        return Generation(
            text="".join(written.pieces),
            tokens=tuple(written.pieces),
            logprob=math.fsum(written.logprobs),
            finish_reason=reason,
            usage=Usage(read.context_units, used),
            token_logprobs=tuple(written.logprobs),
            top=tuple(written.tops),
        )

    def _draws(self, sentence: list[int], sampling: Sampling) -> Iterator[tuple[int, float, NDArray[np.float64]]]:
        """Tokens drawn one after the other; the caller appends them to ``sentence``."""
        import torch

        from steelyard.models.sampling import Chooser, choose, random_numbers

        numbers = random_numbers(sampling.seed, sentence) if sampling.temperature > 0 else None
        for _ in range(sampling.max_tokens):
            chances = self.smoothed.distribution(sentence)
            usable = chances.copy()
            usable[UNKNOWN_ID] = 0.0
            with np.errstate(divide="ignore"):
                logits = torch.from_numpy(np.log(usable))
            seen = sorted(set(sentence)) if sampling.repetition_penalty != 1 else None
            token = choose(logits[None], [Chooser(sampling, numbers, seen, None)])[0]
            yield token, math.log(chances[token]), chances


class _Written(NamedTuple):
    pieces: list[str]
    logprobs: list[float]
    tops: list[dict[str, float]]

    def until(self, end: int) -> _Written:
        """What begins before the character ``end``, the last piece cut there."""
        starts = np.cumsum([0, *map(len, self.pieces)])[:-1].tolist()
        kept = [piece[: end - start] for piece, start in zip(self.pieces, starts, strict=True) if start < end]
        return _Written(kept, self.logprobs[: len(kept)], self.tops[: len(kept)])


def _text_of(name: str, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    raise CapabilityError(f"{name} has no chat template (capability 'chat'): use the plain or raw prompt style")


def _fingerprint(vocabulary: Vocabulary, smoothed: Smoothed | Backoff) -> str:
    digest = hashlib.sha256(json.dumps([type(smoothed).__name__, smoothed.order, vocabulary.words]).encode())
    for array in smoothed.arrays():
        if array.dtype.kind == "f":  # sums may differ in the last digits between machines
            digest.update(np.round(array.astype("<f8"), 9).tobytes())
        else:
            digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()[:32]
