"""Which passage an answer rests on: weights and shares by hand, marks, quotes in their places."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Hit
from steelyard.retrieval.chunking import Span
from steelyard.systems.attribution import (
    Claim,
    Evidence,
    citations_of,
    claims_of,
    lexical_support,
    misquoted,
)
from steelyard.systems.citation_marks import Mark, without_marks

SEINE = "Paris lies on the Seine. It has many bridges."
RHINE = "Cologne lies on the Rhine. Its cathedral is old."
SHOWN = [Hit("a", 2.0, SEINE, "france.md", 100, 145), Hit("b", 1.0, RHINE, "rivers.md", 7, 55, {"page": 3})]
SOURCES = {"france.md": "x" * 100 + SEINE, "rivers.md": "y" * 7 + RHINE}


def test_words_weigh_by_their_rarity_among_sentences() -> None:
    evidence = Evidence("", SHOWN)
    assert [s.words for s in evidence.sentences][:2] == [
        ("paris", "lies", "on", "the", "seine"),
        ("it", "has", "many", "bridges"),
    ]
    weights = evidence.weights(["paris", "lies", "the", "nowhere"])
    expected = {
        word: math.log(1 + (4 - n + 0.5) / (n + 0.5)) for word, n in [("paris", 1), ("lies", 2), ("nowhere", 0)]
    }
    assert weights == pytest.approx(expected)
    assert set(evidence.weights(["the", "it"])) == {"the", "it"}


def test_a_sentence_is_cited_from_what_holds_most_of_it() -> None:
    (citation,) = citations_of(Evidence("Where is Cologne?", SHOWN), " On the Rhine.")
    assert (citation.marker, citation.id, citation.source) == (2, "b", "rivers.md")
    assert citation.quote == "Cologne lies on the Rhine." == SOURCES["rivers.md"][citation.start : citation.end]
    assert " On the Rhine."[citation.answer_start : citation.answer_end] == "On the Rhine."
    assert citation.support == 1.0
    assert citation.metadata == {"page": 3}


def test_what_no_passage_holds_is_not_cited() -> None:
    evidence = Evidence("Where is Cologne?", SHOWN)
    assert citations_of(evidence, "Somewhere in Germany.") == []
    assert lexical_support(evidence, "Somewhere in Germany.", []) == 0.0
    assert citations_of(evidence, "") == []
    assert citations_of(Evidence("Where?", []), "On the Rhine.") == []


def test_of_equal_sentences_the_one_that_speaks_of_the_question_is_quoted() -> None:
    shown = [Hit("a", 0.0, "Bees fly in May. Anna was born in May.")]
    (citation,) = citations_of(Evidence("When was Anna born?", shown), "May")
    assert citation.quote == "Anna was born in May."


def test_support_is_the_share_held_times_the_question_s() -> None:
    evidence = Evidence("Where does Cologne lie?", SHOWN)
    citations = citations_of(evidence, "On the Rhine. With castles.")
    w = evidence.weights(["rhine", "castles", "cologne", "lie"])
    held = w["rhine"] / (w["rhine"] + w["castles"])
    asked = w["cologne"] / (w["cologne"] + w["lie"])
    assert lexical_support(evidence, "On the Rhine. With castles.", citations) == pytest.approx(held * asked)


def test_marks_are_believed_and_checked() -> None:
    text, marks = without_marks("It lies on the Seine [2]. It has many bridges [1][99].")
    first, second = citations_of(Evidence("Where?", SHOWN), text, marks)
    assert (first.marker, text[first.answer_start : first.answer_end]) == (2, "It lies on the Seine.")
    assert first.quote == "Cologne lies on the Rhine."
    assert 0 < first.support < 1
    assert (second.marker, second.quote, second.support) == (1, "It has many bridges.", 1.0)
    (whole,) = citations_of(Evidence("Where?", SHOWN), "Nowhere", [Mark(7, (1,))])
    assert (whole.quote, whole.support) == (SEINE, 0.0)


@pytest.mark.parametrize(
    ("written", "claims"),
    [
        ("Old. [2] It is red.", [("Old.", (2,)), ("It is red.", ())]),
        ("[1] Old.", [("Old.", (1,))]),
        ("It is red [1], and old [2].", [("It is red", (1,)), (", and old.", (2,))]),
        ("Red [1]. [2]", [("Red.", (1, 2))]),
        ("[1] [2]", []),
    ],
)
def test_a_mark_speaks_for_what_stands_before_it(written: str, claims: list[tuple[str, tuple[int, ...]]]) -> None:
    text, marks = without_marks(written)
    assert [(text[c.span.start : c.span.end], c.numbers) for c in claims_of(text, marks)] == claims


def test_claims_without_marks_are_sentences() -> None:
    assert claims_of("A b. C d!") == [Claim(Span(0, 4)), Claim(Span(5, 9))]


@given(st.text("ab [12].,\n", max_size=40))
def test_every_quote_stands_where_its_citation_says(written: str) -> None:
    text, marks = without_marks(written)
    shown = [Hit("x", 0.0, "a b. ab!\n\nb a a", "x.md", 3, 18), Hit("y", 0.0, "b", "y.md", 0, 1)]
    citations = citations_of(Evidence("a?", shown), text, marks)
    assert not list(misquoted(citations, {"x.md": "...a b. ab!\n\nb a a", "y.md": "b"}))
    for citation in citations:
        assert text[citation.answer_start : citation.answer_end].strip()
        assert citation.quote.strip()


def test_misquotations_are_found() -> None:
    citations = citations_of(Evidence("Where?", SHOWN), "On the Rhine.")
    assert not list(misquoted(citations, SOURCES))
    assert list(misquoted(citations, {"rivers.md": RHINE})) == citations
    assert list(misquoted(citations, {})) == citations
