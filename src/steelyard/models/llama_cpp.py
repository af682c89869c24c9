"""GGUF weights run as they are by llama.cpp: one answer at a time, or a few, fast and in little memory.

    model = load_model("smollm2-135m", engine="llama.cpp")     # or load_model("llama.cpp:model.Q4_K_M.gguf")

Tokens are those of the tokenizer that Steelyard itself reads from the file, so prompts, chat template, stop
strings, truncation and the boundary between context and continuation are the same as for the converted model.
The numbers are not: llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights, and
keeps keys and values in 16 bits. With SmolLM2-135M in Q4_1 the log-probability of a token differs from that of the
float32 conversion by 0.06 nats in the median, by less than 0.2 for nine in ten and by 0.33 at most (392 tokens),
to either side. What else is computed in the same call moves it by as much, by 0.57 at most, because rounding
magnifies the last bit of a sum. The same calls give the same results again; other ones, also a run that was cut
off and continued, give them within these bounds only. Weights that are not quantised come much closer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from steelyard.contracts import Continuation, Generation, ModelCard, Prompt, Sampling, Samplings, Score
from steelyard.errors import CapabilityError
from steelyard.models.answers import Answer
from steelyard.models.generation import prepare, start, take_tokens
from steelyard.models.grammars import follower, grammar_tokenizer
from steelyard.models.llama_cpp_batches import branches, root, waves
from steelyard.models.llama_cpp_context import Context, Entry, Weights
from steelyard.models.prefix_tree import PrefixTree, common_prefix, owner_of
from steelyard.models.readout import Asked, Reading, Readout
from steelyard.models.requests import Window, sampling_each
from steelyard.models.scoring import Key, score_with

WAVE_SEQUENCES = 64
"""Most sequences scored together."""
WAVE_TOKENS = 1024
"""Most tokens computed for them, but for a single longer one."""
MOST_ROWS = 16
"""Most answers that grow together: with more, a token costs no less."""


@dataclass(frozen=True)
class LlamaCppModel:
    """A GGUF file that llama.cpp runs, as a language model.

    Scores and answers depend slightly on what is asked together; the module's documentation says how much. Calls
    from several threads take turns, step by step. ``cache_tokens`` bounds the tokens cached for one call,
    unless a single request needs more; ``threads`` unless given are as many as torch uses.

    Attributes:
        weights: the loaded file.
        tokenizer: its tokenizer, in transformers' form.
        card: what is known of it.
        end_tokens: tokens that end an answer.
    """

    weights: Weights
    tokenizer: Any
    card: ModelCard
    end_tokens: frozenset[int]
    cache_tokens: int = 4096
    threads: int | None = None
    _idle: list[Context] = field(default_factory=list, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    encoder_decoder = False

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.card.name

    @property
    def context_length(self) -> int | None:
        """How many tokens it takes at once."""
        return self.card.context_length

    @property
    def vocabulary(self) -> int:
        """Number of logits per position."""
        return self.weights.vocabulary

    @cached_property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as grammars see it."""
        return grammar_tokenizer(_as_engine(self), self.end_tokens)

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each request, in order; no token that requests share is computed twice."""
        self._need("score")
        return score_with(self, requests, lambda work: self._read(work, Asked(top, detail)))

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt, in order; the same prompt under several seeds is read once."""
        self._need("generate")
        answers = self._answers(prompts, sampling_each(prompts, sampling))
        waiting = sorted((a for a in answers if a.finish_reason is None), key=lambda a: tuple(a.prompt))
        for _ in self._run(waiting):
            pass
        return [answer.generation() for answer in answers]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield increments; joined, their texts equal ``generate``'s."""
        self._need("generate")
        (answer,) = self._answers([prompt], sampling_each([prompt], sampling))
        for _ in self._run([answer] if answer.finish_reason is None else []):
            if answer.finish_reason is None:
                increment = answer.increment()
                if increment.text:
                    yield increment
        yield answer.increment()

    # ------------------------------------------------------------------------------------------- scoring

    def _read(self, work: Mapping[Key, Window], ask: Asked) -> dict[Key, Reading]:
        inputs = {key: (window.context + window.target)[:-1] for key, window in work.items()}
        tree = PrefixTree.of([tokens for tokens in inputs.values() if tokens])
        number = {tokens: index for index, tokens in enumerate(tree.sequences)}
        starts = dict(zip(work, accumulate((len(w.target) for w in work.values()), initial=0), strict=False))
        owners = tree.owners()
        wanted: dict[tuple[int, int], list[tuple[int, int]]] = {}  # node -> (target, token)
        for key, window in work.items():
            for i, token in enumerate(window.target):
                sequence, position = number[inputs[key]], len(window.context) - 1 + i
                node = (owner_of(owners[sequence], position), position)
                wanted.setdefault(node, []).append((starts[key] + i, token))
        readout = Readout(self.tokenizer, sum(len(w.target) for w in work.values()), ask)
        if wanted:
            self._walk(tree, wanted, readout)
        return {key: readout.reading(starts[key], starts[key] + len(w.target)) for key, w in work.items()}

    def _walk(
        self, tree: PrefixTree, wanted: Mapping[tuple[int, int], list[tuple[int, int]]], readout: Readout
    ) -> None:
        """Compute a tree wave by wave; sequence 0 of the context holds the last one of the wave before."""
        cells = max(map(len, tree.sequences)) + max(WAVE_TOKENS, max(map(len, tree.sequences)))
        with self._context(cells, WAVE_SEQUENCES + 1) as context:
            for wave in waves(tree, WAVE_SEQUENCES, WAVE_TOKENS):
                part = PrefixTree(tree.sequences[wave], tree.shared[wave])
                members = [[1 + k] for k in range(len(part.sequences))]
                nodes = {(s - wave.start, p) for s, p in wanted if wave.start <= s < wave.stop}
                root(context, part, members, 0)
                entries = list(branches(part, members, nodes))
                read = [
                    wanted[wave.start + entry.sequences[0] - 1, entry.position] for entry in entries if entry.read
                ]
                for logits in context.decode(entries):
                    rows, read = read[: len(logits)], read[len(logits) :]
                    _take(readout, torch.from_numpy(logits), rows)
                context.forget(0)
                context.share(len(members), 0, len(part.sequences[-1]))
                for (other,) in members:
                    context.forget(other)

    # ---------------------------------------------------------------------------------------- generation

    def _answers(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Answer]:
        engine = _as_engine(self)
        grammars = {sampling.grammar for sampling in samplings} - {None}
        followers = {grammar: follower(engine, grammar) for grammar in grammars if grammar is not None}
        read = [prepare(engine, prompt, each) for prompt, each in zip(prompts, samplings, strict=True)]
        return [start(engine, tokens, each, followers) for tokens, each in zip(read, samplings, strict=True)]

    def _run(self, answers: Sequence[Answer]) -> Iterator[None]:
        """Advance answers until all are finished; yields after each token. Finished ones make room for others."""
        if not answers:
            return
        widest = max(len(answer.prompt) + answer.sampling.max_tokens for answer in answers)
        count = min(len(answers), MOST_ROWS, max(1, self.cache_tokens // widest))
        with self._context(count * widest, count) as context:
            rows = _Rows(context, count)
            waiting = list(answers)
            while waiting or rows.alive:
                new, waiting = waiting[: rows.free], waiting[rows.free :]
                grown, logits = rows.advance(new)
                for (row, answer), token in zip(
                    grown, take_tokens(_as_engine(self), [answer for _, answer in grown], logits), strict=True
                ):
                    rows.last[row] = token
                    if answer.finish_reason is not None:
                        del rows.alive[row]
                yield

    # ------------------------------------------------------------------------------------------ contexts

    @contextmanager
    def _context(self, cells: int, sequences: int) -> Iterator[Context]:
        """An empty context of one's own; the last one is kept for the next call that it is large enough for."""
        threads = self.threads or torch.get_num_threads()
        with self._lock:
            context = self._idle.pop() if self._idle else None
        if context is None or not context.fits(cells, sequences, threads):
            context = None  # freed before the next one is made
            context = Context(self.weights, cells, sequences, threads)
        try:
            yield context
        finally:
            context.clear()
            with self._lock:
                self._idle[:] = [context]

    def _need(self, capability: Any) -> None:
        if capability not in self.card.capabilities:
            have = ", ".join(sorted(self.card.capabilities)) or "none"
            raise CapabilityError(f"{self.name} lacks the capability {capability!r} (it has: {have})")


class _Rows:
    """Answers in the sequences of a context; what a finished one read stays until its place is taken."""

    def __init__(self, context: Context, count: int) -> None:
        self.context = context
        self.count = count
        self.alive: dict[int, Answer] = {}
        self.last: dict[int, int] = {}
        self.prompts: dict[int, tuple[int, ...]] = {}

    @property
    def free(self) -> int:
        """Places not taken by an unfinished answer."""
        return self.count - len(self.alive)

    def advance(self, new: Sequence[Answer]) -> tuple[list[tuple[int, Answer]], torch.Tensor]:
        """One token more for all, and the first one of new ones: who grew, and logits (answers, vocabulary)."""
        entries = [
            Entry(self.last[row], len(answer.prompt) + answer.written - 1, [row], True)
            for row, answer in self.alive.items()
        ]
        grown = list(self.alive.items())
        read = list(range(len(grown)))
        if new:
            places = [row for row in range(self.count) if row not in self.alive][: len(new)]
            tree = PrefixTree.of([tuple(answer.prompt) for answer in new])
            order = {tokens: k for k, tokens in enumerate(tree.sequences)}
            read += [len(grown) + order[tuple(answer.prompt)] for answer in new]
            members: list[list[int]] = [[] for _ in tree.sequences]
            for row, answer in zip(places, new, strict=True):
                members[order[tuple(answer.prompt)]].append(row)
            entries += self._admit(tree, members)
            grown += zip(places, new, strict=True)
            self.alive.update(zip(places, new, strict=True))
        logits = np.concatenate(list(self.context.decode(entries)))
        return grown, torch.from_numpy(logits)[read]

    def _admit(self, tree: PrefixTree, members: Sequence[Sequence[int]]) -> Iterator[Entry]:
        """Entries of new prompts beyond what the prompt of a row here shares with them."""
        first = tree.sequences[0]
        common = {row: min(common_prefix(prompt, first), len(first) - 1) for row, prompt in self.prompts.items()}
        source = max(common, key=common.__getitem__, default=members[0][0])
        tree = PrefixTree(tree.sequences, (common.get(source, 0), *tree.shared[1:]))
        root(self.context, tree, members, source)
        for tokens, rows in zip(tree.sequences, members, strict=True):
            self.prompts.update(dict.fromkeys(rows, tokens))
        return branches(tree, members, {(k, len(tokens) - 1) for k, tokens in enumerate(tree.sequences)})


def _as_engine(model: Any) -> Any:
    """The model where only the name, tokens and limits of an engine are asked for."""
    return model


def _take(readout: Readout, logits: torch.Tensor, rows: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Read the targets of each row of logits (rows, vocabulary)."""
    flat = [(row, target, token) for row, targets in enumerate(rows) for target, token in targets]
    nodes, targets, tokens = np.array(flat, dtype=np.int64).T
    readout.read(lambda part: logits[part], nodes, targets, tokens, logits.shape[1])
