"""Two judges review a pair of answers, then talk until they agree or the turns are used up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import PositiveInt

from steelyard.contracts import Answers, LanguageModel, Message, ModelCard, Sampling, Verdict
from steelyard.errors import UsageError
from steelyard.evaluation.judging.model_judge import combined, mirrored
from steelyard.evaluation.judging.reading import read_label
from steelyard.evaluation.judging.templates import COMPARE
from steelyard.parts import part

REVIEW = (
    "Request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n"
    "Compare the two answers: which claims are supported, what of the core is covered, how well they hold "
    "together. "
    "Say why in a few sentences. Then write your preference alone on the last line: A, B or Tie."
)
DISCUSS = (
    "You are reviewer {own}. You and reviewer {other} have both reviewed the two answers above.\n\n{talk}\n\n"
    "Weigh what was said, keep or change your preference, and say why in a few sentences. Then write your "
    "preference alone on the last line: A, B or Tie."
)
_RULES = ("last-line", "alone", "bracketed", "stated")
_LABELS = COMPARE.labels


@dataclass(frozen=True, slots=True)
class Discussion:
    """What was said about one pair: the first reviews, then the turns; ``preferences`` are the labels read.

    ``preference`` is the agreed label, ``"Tie"`` where the two still differ at the last turn, None where a
    reviewer's last word cannot be read.
    """

    turns: tuple[str, ...]
    preferences: tuple[str | None, ...]
    preference: str | None
    agreed: bool


@part(papers=[290], kind="judge")
def peer_discussion(
    models: Sequence[LanguageModel],
    *,
    max_turns: PositiveInt = 4,
    until: Literal["agreement", "cap"] = "agreement",
    swap: bool = True,
    max_tokens: PositiveInt = 192,
) -> DiscussionJudge:
    """Make one judge of two models that exchange reviews of a pair and discuss it in turns.

    Both models first review the pair by themselves, each ending with a preference. Then the first, the second, the
    first and so on read both reviews and all that was said since, and restate their preference. The talk ends when
    the two latest preferences agree, and in any case after ``max_turns``; where they then still differ the verdict
    is a tie. All pairs advance turn by turn together, one call a turn.

    Args:
        models: two reviewers; the first opens the discussion.
        max_turns: turns after the two reviews, both speakers together; the paper takes four.
        until: ``agreement`` stops a talk once both agree, also before its first turn; ``cap`` always uses all
            turns and takes the last speaker's preference, as the paper does to measure who is swayed.
        swap: discuss each pair in both orders and combine as ``pairwise-judge`` does.
        max_tokens: longest turn.

    Raises:
        UsageError: not exactly two models.

    Source:
        PRD: Peer Rank and Discussion Improve Large Language Model based Evaluations (2023), section 3.2, peer
        discussion, with its three-way choice. The wording of the prompts is Steelyard's own.

    Relations:
        ``pairwise-judge`` is one model's view; ``peer-rank-discussion`` ranks models by weighted peers' verdicts,
        which may come from discussions.

    Example:
        >>> judge = peer_discussion([first, second])  # doctest: +SKIP
        >>> judge.discuss([Answers("Name a prime.", "7", "9")])[0].preference  # doctest: +SKIP
        'A'
    """
    if len(models) != 2:
        raise UsageError(f"a peer discussion has two reviewers, not {len(models)}")
    return DiscussionJudge(models[0], models[1], max_turns, until == "agreement", swap, max_tokens)


@dataclass(frozen=True)
class DiscussionJudge:
    """Two models that discuss each pair they are to compare."""

    first: LanguageModel
    second: LanguageModel
    max_turns: int = 4
    stop_when_agreed: bool = True
    swap: bool = True
    max_tokens: int = 192

    @property
    def card(self) -> ModelCard:
        """Named after both; the fingerprint covers the prompts and settings."""
        cards = [self.first.card, self.second.card]
        settings = [self.max_turns, self.stop_when_agreed, self.swap, self.max_tokens, REVIEW, DISCUSS]
        content = repr([[card.fingerprint for card in cards], settings])
        name = " and ".join(card.name for card in cards) + " in discussion"
        return ModelCard(name, hashlib.sha256(content.encode()).hexdigest()[:32])

    def compare(self, pairs: Sequence[Answers]) -> list[Verdict]:
        """The verdicts of the discussions, in both orders where ``swap`` says so."""
        turned = [replace(pair, first=pair.second, second=pair.first) for pair in pairs] if self.swap else []
        talks = self.discuss([*pairs, *turned])
        values = [None if talk.preference is None else _LABELS[talk.preference] for talk in talks]
        words = ["\n\n".join(talk.turns) for talk in talks]
        n = len(pairs)
        if not self.swap:
            return [Verdict(value, (value,), (said,)) for value, said in zip(values, words, strict=True)]
        return [combined((values[i], mirrored(values[n + i])), (words[i], words[n + i])) for i in range(n)]

    def grade(self, answers: Sequence[Answers]) -> list[Verdict]:
        """Not for single answers."""
        raise UsageError("a peer discussion compares pairs; grade single answers with another judge")

    def discuss(self, pairs: Sequence[Answers]) -> list[Discussion]:
        """The discussion of every pair, the answers shown as given."""
        opening = [_filled(REVIEW, pair) for pair in pairs]
        reviews = [self._said(model, [[Message("user", text)] for text in opening]) for model in self._models]
        turns = [list(pair) for pair in zip(*reviews, strict=True)]
        read = [[_preference(text) for text in own] for own in turns]
        for turn in range(self.max_turns):
            going = [i for i in range(len(pairs)) if not (self.stop_when_agreed and _agreed(read[i]))]
            if not going:
                break
            asked = [self._turn(opening[i], turns[i], turn % 2) for i in going]
            for i, text in zip(going, self._said(self._models[turn % 2], asked), strict=True):
                turns[i].append(text)
                read[i].append(_preference(text))
        return [self._closed(tuple(t), tuple(r)) for t, r in zip(turns, read, strict=True)]

    @property
    def _models(self) -> tuple[LanguageModel, LanguageModel]:
        return self.first, self.second

    def _turn(self, opening: str, turns: Sequence[str], speaker: int) -> list[Message]:
        talk = "\n\n".join(f"Reviewer {place % 2 + 1}:\n{text}" for place, text in enumerate(turns))
        values = {"own": str(speaker + 1), "other": str(2 - speaker), "talk": talk}
        asked = DISCUSS
        for name in ("own", "other", "talk"):  # the talk last: what reviewers wrote is never filled in again
            asked = asked.replace(f"{{{name}}}", values[name])
        return [Message("user", opening.rsplit("\n\n", 1)[0] + "\n\n" + asked)]

    def _said(self, model: LanguageModel, prompts: Sequence[list[Message]]) -> list[str]:
        sampling = Sampling(max_tokens=self.max_tokens, temperature=0.0)
        return [generation.text for generation in model.generate(prompts, sampling)] if prompts else []

    def _closed(self, turns: tuple[str, ...], read: tuple[str | None, ...]) -> Discussion:
        agreed = _agreed(read)
        apart = None if None in read[-2:] else "Tie"
        final = read[-1] if agreed or not self.stop_when_agreed else apart
        return Discussion(turns, read, final, agreed)


def _preference(text: str) -> str | None:
    return read_label(text, list(_LABELS), _RULES).label


def _agreed(read: Sequence[str | None]) -> bool:
    """Whether both reviewers' latest preferences are one and readable."""
    return read[-1] is not None and read[-1] == read[-2]


def _filled(text: str, pair: Answers) -> str:
    values = {"prompt": pair.prompt, "first": pair.first, "second": pair.second}
    return re.sub(r"\{(prompt|first|second)\}", lambda place: values[place[1]], text)
