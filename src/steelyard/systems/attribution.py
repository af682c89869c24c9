r"""Which passage each sentence of an answer rests on, and how well an answer is supported at all.

Words are weighed by how rare they are among the sentences of the passages shown,

    w(t) = log(1 + (N - n_t + 0.5) / (n_t + 0.5))

with N sentences, n_t of which hold t; English function words weigh nothing, unless a text holds nothing else. A
sentence z of a passage supports a claim s by the share of the claim's weight that it holds:

    support(s, z) = sum of w(t) over distinct t in s and z / sum of w(t) over distinct t in s
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from steelyard.contracts import Citation, Hit
from steelyard.retrieval.chunking import Span, sentences_of
from steelyard.retrieval.index.analysis import Analyzer
from steelyard.retrieval.index.bm25 import idf
from steelyard.systems.citation_marks import Mark

LEAST = 0.5
"""A sentence without marks is cited where a passage holds at least this share of it."""
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be been but by can could did do does for from had has have he her his how i if in
        into is it its may me my no not of on or our she should so than that the their them then there these they
        this those to was we were what when where which who whom whose why will with would you your""",
    )
)


class Sentence(NamedTuple):
    """A sentence of a passage: the passage's number from 0, its place there, and its words in order."""

    passage: int
    span: Span
    words: tuple[str, ...]


class Claim(NamedTuple):
    """A stretch of an answer, and the numbers of passages that the model wrote behind it."""

    span: Span
    numbers: tuple[int, ...] = ()


class Evidence:
    """The passages that were shown for a question, taken apart into sentences."""

    def __init__(self, question: str, passages: Sequence[Hit]) -> None:
        self.question = question
        self.passages = passages
        self.words = Analyzer("none").terms

    @cached_property
    def sentences(self) -> list[Sentence]:
        """Every sentence of every passage, in order."""
        return [
            Sentence(number, span, tuple(self.words(hit.text[span.start : span.end])))
            for number, hit in enumerate(self.passages)
            for span in sentences_of(hit.text)
        ]

    @cached_property
    def _holding(self) -> Counter[str]:
        return Counter(word for sentence in self.sentences for word in set(sentence.words))

    def weights(self, words: Sequence[str]) -> dict[str, float]:
        """The weight of each distinct word that counts."""
        telling = [word for word in words if word not in FUNCTION_WORDS] or words
        return {word: idf(len(self.sentences), self._holding[word]) for word in telling}

    def best(self, claim: str, passage: int | None = None) -> tuple[Sentence, float] | None:
        """The sentence that supports ``claim`` best (in one passage), and by how much; None where nothing does.

        Of equal ones the first that holds the claim word by word, then the one with more of the question.
        """
        words = tuple(self.words(claim))
        weights, asked = self.weights(words), self.weights(self.words(self.question))
        candidates = [s for s in self.sentences if passage in (None, s.passage)]
        if not weights or not candidates:
            return None
        rated = [
            (share(weights, s.words), _stands_in(words, s.words), share(asked, s.words), -place)
            for place, s in enumerate(candidates)
        ]
        support, _, _, place = max(rated)
        return (candidates[-place], support) if support > 0 else None

    def coverage(self, numbers: Sequence[int]) -> float:
        """The share of the question's weight that these passages hold (numbers from 0); 1 without a question."""
        held = {word for s in self.sentences if s.passage in numbers for word in s.words}
        weights = self.weights(self.words(self.question))
        return share(weights, held) if weights else 1.0


def share(weights: Mapping[str, float], words: Sequence[str] | set[str]) -> float:
    """The share of the weights whose words are among ``words``.

    >>> share({"seine": 3.0, "lies": 1.0}, ["the", "seine"])
    0.75
    """
    held = set(words)
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in held) / total if total else 0.0


def claims_of(text: str, marks: Sequence[Mark] = ()) -> list[Claim]:
    """The sentences of an answer, cut behind each mark.

    A mark speaks for what stands between the mark before it, or the beginning of its sentence, and itself. One
    that begins a sentence speaks for the sentence before it, or, at the very beginning, for the first.

    >>> claims_of("Old. It is red.", [Mark(4, (2,))])
    [Claim(span=Span(start=0, end=4), numbers=(2,)), Claim(span=Span(start=5, end=15), numbers=())]
    """
    waiting = list(marks)
    claims: list[Claim] = []
    for sentence in sentences_of(text):
        begin = sentence.start
        while waiting and waiting[0].place <= sentence.start:
            numbers = waiting.pop(0).numbers
            if claims:
                claims[-1] = Claim(claims[-1].span, (*claims[-1].numbers, *numbers))
            else:
                waiting.insert(0, Mark(sentence.end, numbers))
                break
        while waiting and waiting[0].place <= sentence.end:
            mark = waiting.pop(0)
            if claims and not text[begin : mark.place].strip():
                claims[-1] = Claim(claims[-1].span, (*claims[-1].numbers, *mark.numbers))
                continue
            end = mark.place if text[mark.place : sentence.end].strip(".!?…。！？\"'”’») ") else sentence.end
            claims.append(Claim(Span(begin, end), mark.numbers))
            begin = end
        if text[begin : sentence.end].strip():
            begin += len(text[begin : sentence.end]) - len(text[begin : sentence.end].lstrip())
            claims.append(Claim(Span(begin, sentence.end)))
    for mark in waiting if claims else ():
        claims[-1] = Claim(claims[-1].span, (*claims[-1].numbers, *mark.numbers))
    return claims


def citations_of(evidence: Evidence, text: str, marks: Sequence[Mark] = ()) -> list[Citation]:
    """The citations of an answer, in the order of its text.

    A claim that the model marked is cited as marked, with the passage's sentence that supports it best, or the
    whole passage where no sentence holds any of it; numbers that name no passage are left out. Any other sentence
    is cited from the passage that supports it best, if that holds :data:`LEAST` of it.
    """
    found = []
    for claim in claims_of(text, marks):
        words = text[claim.span.start : claim.span.end]
        known = [n for n in dict.fromkeys(claim.numbers) if n <= len(evidence.passages)]
        for number in known:
            best = evidence.best(words, number - 1)
            whole = Span(0, len(evidence.passages[number - 1].text))
            span, support = (best[0].span, best[1]) if best else (whole, 0.0)
            found.append(_citation(evidence, number - 1, span, claim, support))
        if not known:
            best = evidence.best(words)
            if best is not None and best[1] >= LEAST:
                found.append(_citation(evidence, best[0].passage, best[0].span, claim, best[1]))
    return found


def lexical_support(evidence: Evidence, text: str, citations: Sequence[Citation]) -> float:
    r"""How well an answer is supported by words, from 0 to 1.

    It is 0 where nothing is cited, and otherwise

        (sum over sentences s of w(s) max_z support(s, z) / sum of w(s)) * share of the question held

    w(s) being the weight of the words of s. The question counts because an answer copied from a passage about
    something else is supported word by word: its share is that of its words' weight in the passages cited.
    """
    if not citations:
        return 0.0
    held = total = 0.0
    for span, _ in claims_of(text):
        words = text[span.start : span.end]
        weight = sum(evidence.weights(evidence.words(words)).values())
        best = evidence.best(words)
        held += weight * (best[1] if best else 0.0)
        total += weight
    cited = {citation.marker - 1 for citation in citations}
    return held / total * evidence.coverage(sorted(cited)) if total else 0.0


def misquoted(citations: Sequence[Citation], texts: Mapping[str, str]) -> Iterator[Citation]:
    """Citations whose quote does not stand at its place in the text of its source.

    Args:
        citations: of answers.
        texts: sources to their texts, as read by :func:`~steelyard.retrieval.documents.folder.read_folder`.
    """
    for citation in citations:
        if texts.get(citation.source, "")[citation.start : citation.end] != citation.quote:
            yield citation


def _citation(evidence: Evidence, passage: int, span: Span, claim: Claim, support: float) -> Citation:
    hit = evidence.passages[passage]
    return Citation(
        marker=passage + 1,
        id=hit.id,
        source=hit.source,
        start=hit.start + span.start,
        end=hit.start + span.end,
        quote=hit.text[span.start : span.end],
        answer_start=claim.span.start,
        answer_end=claim.span.end,
        support=support,
        metadata=hit.metadata,
    )


def _stands_in(words: Sequence[str], within: Sequence[str]) -> bool:
    """Whether ``words`` stand in ``within`` one behind the other."""
    return f" {' '.join(words)} " in f" {' '.join(within)} "
