"""Generation: greedy or sampled, in batches that sequences join and leave, with streaming.

Greedy output equals transformers' ``generate`` token for token. A sampled answer depends on the prompt and the
:class:`~steelyard.contracts.Sampling` alone, never on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from steelyard.contracts import Generation, Grammar, Prompt, Sampling, Samplings
from steelyard.errors import InputError, ModelError
from steelyard.models.answers import Answer
from steelyard.models.forward import Engine
from steelyard.models.grammars import Follower, follower
from steelyard.models.readout import top_alternatives
from steelyard.models.requests import check_sampling, encode_prompt, sampling_each
from steelyard.models.sampling import choose
from steelyard.models.stepping import stepper, takes_rows

MOST_ROWS = 128
"""Most sequences that run at a time."""
MOST_PADDED_ROWS = 32
"""The same, where they have to be padded."""
CACHED_TOKENS = 4
"""Tokens that caches may hold, for each of the engine's ``batch_tokens``: a cached token needs about as much
memory as a tenth to a half of one that is being computed."""


def generate(engine: Engine, prompts: Sequence[Prompt], sampling: Samplings) -> list[Generation]:
    """Continue prompts, in order; raises :class:`InputError` where they cannot fit the context."""
    each = sampling_each(prompts, sampling)
    followers = {s.grammar: follower(engine, s.grammar) for s in dict.fromkeys(each) if s.grammar is not None}
    tokens = [prepare(engine, prompt, chosen) for prompt, chosen in zip(prompts, each, strict=True)]
    answers = [start(engine, read, chosen, followers) for read, chosen in zip(tokens, each, strict=True)]
    waiting = sorted((a for a in answers if a.finish_reason is None), key=_width, reverse=True)
    while waiting:
        rows = most_rows(engine, _width(waiting[0]))
        count = len(waiting)
        if count > rows:  # those that need less than half the room wait for rows of their own
            count = sum(2 * _width(answer) >= _width(waiting[0]) for answer in waiting)
        for _ in run(engine, waiting[:count], rows):
            pass
        waiting = waiting[count:]
    return [answer.generation() for answer in answers]


def stream(engine: Engine, prompt: Prompt, sampling: Sampling) -> Iterator[Generation]:
    """Continue one prompt, yielding what is new; the last record carries the finish reason and the usage."""
    check_sampling(sampling)
    grammar = sampling.grammar
    followers = {} if grammar is None else {grammar: follower(engine, grammar)}
    answer = start(engine, prepare(engine, prompt, sampling), sampling, followers)
    for _ in run(engine, [answer] if answer.finish_reason is None else [], 1):
        if answer.finish_reason is None:
            increment = answer.increment()
            if increment.text:
                yield increment
    yield answer.increment()


def prepare(engine: Engine, prompt: Prompt, sampling: Sampling) -> list[int]:
    """Tokens of a prompt, cut on the left only as far as ``max_tokens`` new ones need the room."""
    tokens = encode_prompt(engine.tokenizer, prompt, engine.name)
    length = engine.context_length
    if length is None:
        return tokens
    if sampling.max_tokens >= length:
        raise InputError(
            f"{engine.name}: max_tokens {sampling.max_tokens} leaves no room for a prompt in its context of "
            f"{length} tokens; ask for fewer"
        )
    return tokens[-length:] if engine.encoder_decoder else tokens[-(length - sampling.max_tokens) :]


def start(
    engine: Engine, prompt: Sequence[int], sampling: Sampling, followers: Mapping[Grammar, Follower]
) -> Answer:
    """An answer of no tokens, at the beginning of its grammar."""
    grammar = sampling.grammar
    return Answer(engine, prompt, sampling, None if grammar is None else followers[grammar].copy())


def most_rows(engine: Engine, width: int) -> int:
    """How many sequences of ``width`` tokens may run at a time."""
    if takes_rows(engine):
        return max(1, min(MOST_ROWS, engine.logit_rows, CACHED_TOKENS * engine.batch_tokens // width))
    return max(1, min(MOST_PADDED_ROWS, engine.batch_tokens // width))


def run(engine: Engine, answers: Sequence[Answer], rows: int) -> Iterator[None]:
    """Advance answers until all are finished, at most ``rows`` at a time; yields after each token.

    Finished ones leave, and those that wait take their places: several together, since reading a short prompt
    alone costs as much as a token for all.
    """
    waiting = list(answers)
    batch = stepper(engine, min(rows, len(waiting)))
    alive: list[Answer] = []
    tokens: list[int] = []
    while alive or waiting:
        free = rows - len(alive)
        joins = not alive or (batch.continuous and free >= min(len(waiting), -(-rows // 8)))
        new, waiting = (waiting[:free], waiting[free:]) if joins else ([], waiting)
        logits = [batch.advance(tokens)] if alive else []
        logits += [batch.admit([answer.prompt for answer in new])] if new else []
        alive += new
        tokens = take_tokens(engine, alive, torch.cat(logits))
        yield
        order = [row for row, answer in enumerate(alive) if answer.finish_reason is None]
        if len(order) < len(alive):
            order = batch.keep(order)
            alive, tokens = [alive[row] for row in order], [tokens[row] for row in order]


def _width(answer: Answer) -> int:
    return len(answer.prompt) + answer.sampling.max_tokens


def take_tokens(engine: Engine, answers: Sequence[Answer], logits: torch.Tensor) -> list[int]:
    """Choose the next token of each answer from logits (answers, vocabulary), and append it."""
    norms = logits.logsumexp(-1)
    if bool(torch.isnan(norms).any()):
        raise ModelError(
            f"{engine.name}: the probabilities of the next token are not numbers; its weights are damaged or "
            "overflow in this dtype: load it in float32"
        )
    tokens = choose(logits, [answer.chooser() for answer in answers])
    index = torch.tensor(tokens, device=logits.device).unsqueeze(1)
    logprobs = (logits.gather(1, index).squeeze(1) - norms).tolist()
    tops = _tops(engine, answers, logits, norms)
    for answer, token, logprob, top in zip(answers, tokens, logprobs, tops, strict=True):
        answer.take(token, logprob, top, engine.end_tokens)
    return tokens


def _tops(
    engine: Engine, answers: Sequence[Answer], logits: torch.Tensor, norms: torch.Tensor
) -> list[Mapping[str, float] | None]:
    """The most probable alternatives of the answers that ask for them, as many as each wants."""
    found: list[Mapping[str, float] | None] = [None] * len(answers)
    for count in {answer.sampling.logprobs for answer in answers} - {0}:
        rows = [row for row, answer in enumerate(answers) if answer.sampling.logprobs == count]
        index = torch.tensor(rows, device=logits.device)
        tops = top_alternatives(engine.tokenizer, logits[index], norms[index], count)
        for row, top in zip(rows, tops, strict=True):
            found[row] = top
    return found
