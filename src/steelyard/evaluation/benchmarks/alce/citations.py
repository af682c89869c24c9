"""Citation recall and precision: do the cited documents support what was said, and is each of them needed?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from steelyard.evaluation.entailment import Entailment, Pair, supported

Layout: TypeAlias = Literal["prose", "list"]
"""Answers in sentences (ASQA, ELI5), or names between commas (QAMPARI)."""

AT_MOST = 3
"""Of a statement's citations so many count, in the order written."""

MARK = re.compile(r"\[(\d+)")
_ENDS = re.compile(r"[.!?…](?:\[\d+\])*[\"'”’»)\]]*(?P<gap>\s+)(?=[\[(\"'“‘«]*[^\Wa-z_]|\[\d)")
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Gen|Sen|Rep|Gov|Lt|Col|Capt|No|Vol|"
    r"Fig|vs|approx|ca|cf|etc|Inc|Ltd|Co|Corp|Mt|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$"
)
_MARKS_ONLY = re.compile(r"(?:\s*\[\d+\])+\s*[.,;]?\s*")


class Statement(NamedTuple):
    """One sentence or list entry: what has to be supported, and the documents it cites (numbered from 0).

    ``cited`` is empty where nothing is cited or a number has no document.
    """

    text: str
    hypothesis: str
    cited: tuple[int, ...]
    marks: int


class CitationScores(NamedTuple):
    """What one answer's citations earned, and the counts behind it.

    ``several`` counts statements with more than one citation, ``several_supported`` those of them that are
    supported, and ``irrelevant`` citations that neither support their statement alone nor are missed.
    """

    recall: float
    precision: float
    statements: int
    cited: int
    several: int
    several_supported: int
    irrelevant: int


def without_citations(text: str) -> str:
    """The text without its marks.

    >>> without_citations("Ulm has a tower [1][2]. It is high [3].")
    'Ulm has a tower. It is high.'
    """
    return re.sub(r" ?\[\d+", "", text).replace(" |", "").replace("]", "")


def sentences(text: str) -> list[str]:
    """The sentences of a text; marks alone after a full stop belong to the sentence before.

    >>> sentences("Dr. No came in 1962 [1]. It has a sequel. [2] Both are films.")
    ['Dr. No came in 1962 [1].', 'It has a sequel.', '[2] Both are films.']
    >>> sentences("It rains. [2]")
    ['It rains. [2]']
    """
    pieces: list[str] = []
    start = 0
    for end in _ENDS.finditer(text):
        piece = text[start : end.start("gap")]
        if _ABBREVIATED.search(piece):
            continue
        pieces.append(piece)
        start = end.end()
    pieces.append(text[start:])
    found: list[str] = []
    for piece in filter(None, map(str.strip, pieces)):
        if found and _MARKS_ONLY.fullmatch(piece):
            found[-1] = f"{found[-1]} {piece}"
        else:
            found.append(piece)
    return found


def entries(answer: str) -> list[str]:
    """The entries of a list between commas, without a closing full stop or comma.

    >>> entries("Marazan [1], Stephen Morris [1].")
    ['Marazan [1]', 'Stephen Morris [1]']
    """
    return [entry.strip() for entry in answer.rstrip().rstrip(".").rstrip(",").split(",")]


def statements(answer: str, layout: Layout, question: str, documents: int) -> list[Statement]:
    """What an answer says, piece by piece; an entry of a list is read after its question.

    Numbers count from 1 in the text; where one of a statement's has no document, none of them counts.
    """
    pieces = sentences(answer) if layout == "prose" else [f"{question} {entry}" for entry in entries(answer)]
    found = []
    for piece in pieces:
        # the marks of a question that happens to hold some are no citations of the entry
        said = piece if layout == "prose" else piece[len(question) :]
        numbers = [int(number) for number in MARK.findall(said)]
        known = all(1 <= number <= documents for number in numbers)
        cited = tuple(number - 1 for number in numbers[:AT_MOST]) if known else ()
        found.append(Statement(piece, without_citations(piece).strip(), cited, len(numbers)))
    return found


def judge_citations(
    answers: Sequence[Sequence[Statement]], documents: Sequence[Sequence[str]], judge: Entailment
) -> list[CitationScores | None]:
    """Citation recall and precision of every answer, in three calls to the judge.

    A statement is supported if its cited documents together entail it; recall is the share of supported
    statements. A citation is irrelevant if its document alone does not entail the statement and the others cited
    without it still do. Precision is the share of citations that belong to a supported statement and are not
    irrelevant; it is 0 without citations. An answer without statements has no scores.

    Args:
        answers: The statements of each answer.
        documents: The texts that each answer's numbers mean, as the judge shall read them.
        judge: Who decides.

    Source:
        Enabling Large Language Models to Generate Text with Citations (2023), section 4.3, and the authors'
        program: at most three citations of a statement count, and a statement that cites a document that is not
        there is not supported and has no citations. There, unlike here, ``[0]`` means the last document.
    """
    together = _asked(
        judge, [(i, s, s.cited) for i, each in enumerate(answers) for s in each if s.cited], documents
    )
    several = [
        (i, s)
        for i, each in enumerate(answers)
        for s in each
        if len(s.cited) > 1 and together[_pair(s, s.cited, documents[i])]
    ]
    alone = _asked(judge, [(i, s, (number,)) for i, s in several for number in s.cited], documents)
    in_doubt = [
        (i, s, _others(s.cited, number))
        for i, s in several
        for number in s.cited
        if not alone[_pair(s, (number,), documents[i])]
    ]
    rest = _asked(judge, in_doubt, documents)
    return [_scores(each, documents[i], together, alone, rest) for i, each in enumerate(answers)]


def _scores(
    each: Sequence[Statement],
    documents: Sequence[str],
    together: Mapping[Pair, bool],
    alone: Mapping[Pair, bool],
    rest: Mapping[Pair, bool],
) -> CitationScores | None:
    if not each:
        return None
    recalled = useful = irrelevant = several_supported = 0
    for one in each:
        if not one.cited or not together[_pair(one, one.cited, documents)]:
            continue
        recalled += 1
        if len(one.cited) == 1:
            useful += 1
            continue
        several_supported += 1
        for number in one.cited:
            needless = (
                not alone[_pair(one, (number,), documents)]
                and rest[_pair(one, _others(one.cited, number), documents)]
            )
            irrelevant += needless
            useful += not needless
    cited = sum(len(one.cited) for one in each)
    precision = useful / cited if cited else 0.0
    several = sum(one.marks > 1 for one in each)
    return CitationScores(
        recalled / len(each), precision, len(each), cited, several, several_supported, irrelevant
    )


def _asked(
    judge: Entailment, asked: Sequence[tuple[int, Statement, tuple[int, ...]]], documents: Sequence[Sequence[str]]
) -> Mapping[Pair, bool]:
    pairs = [_pair(one, numbers, documents[i]) for i, one, numbers in asked]
    return supported(judge, pairs) if pairs else {}


def _pair(one: Statement, numbers: Sequence[int], documents: Sequence[str]) -> Pair:
    return Pair("\n".join(documents[number] for number in numbers), one.hypothesis)


def _others(cited: Sequence[int], number: int) -> tuple[int, ...]:
    """The citations but for one mention of ``number``."""
    place = cited.index(number)
    return (*cited[:place], *cited[place + 1 :])
