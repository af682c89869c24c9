"""How far an answer is made of the character n-grams that many reference answers share.

The distributional hypothesis, turned into two numbers: what is usually said, and said in the usual words, is found
again in the references. Pure functions on strings; nothing is tokenized, so any language without spaces will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

FLUENCY_N = 10
TRUTH_N = 3
FREE_LENGTH = 100
"""Characters an answer may have before its score is discounted."""

DISCOUNTED_LENGTH = 50
"""Characters beyond :data:`FREE_LENGTH` at which nothing is left of the score."""

LONGEST = 200
SATURATION = 200.0
"""A character counts as supported in full where 1 of so many references has one of its 3-grams."""

_BORDERS = ("^", "$")
_UNCOUNTED = frozenset("^$、。・「」『』（）【】［］〈〉《》")


class Fluency(NamedTuple):
    """The best prefix's score and the length discount it was given."""

    score: float
    discount: float


def length_discount(characters: int) -> float:
    """1 up to 100 characters, then falling by 0.02 a character; below 0 past 150.

    >>> length_discount(100), length_discount(125)
    (1.0, 0.5)
    """
    return 1 - max(characters - FREE_LENGTH, 0) / DISCOUNTED_LENGTH


def new_ngrams(text: str, longest: int) -> Iterator[list[str]]:
    """For every character of ``text``, the n-grams (n up to ``longest``) that end there for the first time.

    >>> list(new_ngrams("aba", 2))
    [['a'], ['b', 'ab'], ['ba']]
    """
    seen: set[str] = set()
    for end in range(1, len(text) + 1):
        fresh = []
        for n in range(1, min(longest, end) + 1):
            gram = text[end - n : end]
            if gram not in seen:
                seen.add(gram)
                fresh.append(gram)
        yield fresh


@dataclass(frozen=True)
class NgramDistribution:
    """Reference counts of character n-grams.

    Attributes:
        counts: In how many of the references each n-gram occurs.
        references: How many references there are.
        baseline: The references' own mean summed count, which fluency is relative to.
    """

    counts: Mapping[str, int]
    references: int
    baseline: float

    @classmethod
    def of(cls, references: Sequence[str], longest: int = FLUENCY_N) -> NgramDistribution:
        """Count the references' n-grams.

        >>> made = NgramDistribution.of(["abc", "abd"])
        >>> made.counts["ab"], made.baseline
        (2, 9.0)
        """
        counts = Counter(gram for text in references for fresh in new_ngrams(text, longest) for gram in fresh)
        raw = cls(counts, len(references), 1.0)
        baseline = sum(raw.fluency(text, longest).score for text in references) / len(references)
        return cls(counts, len(references), baseline)

    def fluency(self, answer: str, longest: int = FLUENCY_N) -> Fluency:
        """Reference counts summed over the answer's distinct n-grams, discounted by length, over the baseline.

        The best prefix counts, so that an answer is not punished for what follows a good beginning more than the
        discount does. The references' own mean is 1 by construction; above 1 is more typical than they are.
        """
        total, best = 0, Fluency(0.0, 1.0)
        for length, fresh in enumerate(new_ngrams(answer[:LONGEST], longest), start=1):
            total += sum(self.counts.get(gram, 0) for gram in fresh)
            discount = length_discount(length)
            score = total * discount / self.baseline
            if score > best.score:
                best = Fluency(score, discount)
        return best

    def truthfulness(self, answer: str) -> float:
        """Mean support of the answer's characters: min(1, 200 * c / references), c being the highest reference
        count among the 3-grams that cover the character; punctuation is left out.

        Past 100 characters the best prefix counts, with its discount.
        """
        text = f"{_BORDERS[0]}{answer}{_BORDERS[1]}"[: LONGEST + 2]
        covering = [0] * len(text)
        for start in range(len(text) - TRUTH_N + 1):
            count = self.counts.get(text[start : start + TRUTH_N], 0)
            for at in range(start, start + TRUTH_N):
                covering[at] = max(covering[at], count)
        total = score = best = 0.0
        counted = 0
        for place, (character, support) in enumerate(zip(text, covering, strict=True)):
            if character in _UNCOUNTED:
                continue
            total += min(1.0, support / self.references * SATURATION)
            counted += 1
            score = total / counted * length_discount(place)
            if place >= FREE_LENGTH:
                best = max(best, score)
        return max(best, score)
