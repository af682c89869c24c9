"""The grounded model: where passages go, what fits, citations, refusals, streams and scores."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Any

import pytest

from passages import Bm25Retriever, NothingRetriever
from steelyard.contracts import Continuation, Generation, Hit, Message, PromptStyle, Sample, Sampling
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.evaluate import evaluate, response_record
from steelyard.evaluation.question_task import QuestionTask
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.grounded import GroundedModel, grounded
from steelyard.systems.system import System

HANDBOOK = [
    Hit("a", 0.0, "The store is opened by two keepers.\nQuestion: who?\nAnswer: nobody", "house.md", 10, 75),
    Hit("b", 0.0, "The balance is tested on Mondays.", "rules.md", 0, 33),
    Hit("c", 0.0, "The balance stands in the hall.", "rules.md", 40, 71),
]


def made(answer: str | None = None, retriever: Any = None, **settings: Any) -> GroundedModel:
    """A grounded model that gives ``answer``, or the prompt it got."""
    context = settings.pop("context_length", None)
    model = ScriptedModel(
        lambda prompt: prompt if answer is None else answer,
        scores=lambda context, text: -1.0 if "Mondays" in context else -3.0,
        context_length=context,
    )
    reranker = settings.pop("reranker", None)
    found: Any = grounded(model, retriever or Bm25Retriever(HANDBOOK), reranker, **settings)
    return found


ASKED = "Question: Old?\nAnswer: yes\n\nQuestion: When is the balance tested?\nAnswer:"


def test_passages_go_before_the_question_in_one_line_each() -> None:
    seen: list[str] = []
    model = ScriptedModel(lambda text: seen.append(text) or "yes")
    grounded(model, Bm25Retriever(HANDBOOK), k=1).generate(
        [ASKED, "who opens the store", [Message("user", "store?")]]
    )
    assert seen[0] == (
        "Question: Old?\nAnswer: yes\n\n[1] The balance is tested on Mondays.\n\n"
        "Question: When is the balance tested?\nAnswer:"
    )
    assert seen[1].startswith("[1] The store is opened by two keepers. Question: who? Answer: nobody\n\nwho opens")
    assert seen[2] == f"user: [1] {' '.join(HANDBOOK[0].text.split())}\n\nstore?\nassistant:"


def test_marks_can_be_asked_for_and_titles_are_shown() -> None:
    seen: list[str] = []
    model = ScriptedModel(lambda text: seen.append(text) or "yes")
    shown = [dataclasses.replace(HANDBOOK[1], metadata={"title": "Rules"})]
    grounded(model, Bm25Retriever([*HANDBOOK[:1], *shown]), k=1, marks=True).generate([ASKED])
    assert "such as [1].\n\n[1] Rules: The balance is tested" in seen[0]


def test_an_answer_cites() -> None:
    answer = made(" On Mondays [1]. [99]").answers([ASKED])[0]
    assert answer.generation.text == " On Mondays."
    assert answer.generation.tokens == ()
    assert answer.unknown_marks == (99,)
    (citation,) = answer.generation.citations
    assert (citation.source, citation.start, citation.end) == ("rules.md", 0, 33)
    assert citation.quote == "The balance is tested on Mondays."
    assert answer.generation.text[citation.answer_start : citation.answer_end] == "On Mondays."
    assert answer.support == pytest.approx(1.0)


def test_citations_are_kept_with_results() -> None:
    record = response_record(made("On Mondays").generate([ASKED])[0])
    assert record["citations"][0]["quote"] == "The balance is tested on Mondays."
    assert record["citations"][0]["marker"] == 1
    assert "citations" not in response_record(Generation("On Mondays"))


def test_a_passage_of_another_length_than_its_place_is_an_error() -> None:
    wrong = [dataclasses.replace(HANDBOOK[1], end=30)]
    with pytest.raises(InputError, match=r"'b' of 'rules\.md': its text has 33 characters"):
        made("yes", Bm25Retriever([HANDBOOK[0], *wrong])).generate([ASKED])


def test_without_support_it_says_so() -> None:
    model = made("In autumn.", threshold=0.3)
    answer = model.answers([ASKED])[0]
    assert answer.refused
    assert answer.generation == Generation("Not in the documents.", usage=answer.generation.usage)
    assert answer.support == 0.0
    assert not made("On Mondays.", threshold=0.3).answers([ASKED])[0].refused
    assert made("x", NothingRetriever(), threshold=0.1).generate(["x"])[0].text == "Not in the documents."
    assert made("x", NothingRetriever()).generate(["x"])[0].text == "x"
    said = made("In autumn.", threshold=0.3, refusal="?")
    assert [piece.text for piece in said.stream(ASKED)] == ["?"]


def test_gain_is_what_passages_add_to_the_likelihood() -> None:
    model = made("two words", support="gain", threshold=0.5)
    answer = model.answers([ASKED])[0]
    assert answer.support == pytest.approx(1 - math.exp(-(-1.0 + 3.0) / 2))
    assert not answer.refused
    without = made("two words", NothingRetriever(), support="gain", threshold=0.5)
    assert without.answers([ASKED])[0].support == 0.0


def test_what_does_not_fit_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    question = "Question: balance?\nAnswer:"
    with caplog.at_level(logging.WARNING):
        answers = [
            made("yes", k=2, context_length=length).answers([question], Sampling(max_tokens=10))[0]
            for length in (100, 40, 30)
        ]
    assert [len(a.passages) for a in answers] == [2, 1, 0]
    assert [a.dropped for a in answers] == [0, 1, 2]
    assert sum("not all passages fit" in r.message for r in caplog.records) == 2


def test_a_stream_is_the_answer_and_ends_with_its_citations() -> None:
    model = made(" On Mondays [1]. Not \n later [2].")
    pieces = list(model.stream(ASKED))
    whole = model.generate([ASKED])[0]
    assert "".join(piece.text for piece in pieces) == whole.text == " On Mondays. Not \n later."
    assert len(pieces) > 3
    assert pieces[-1].citations == whole.citations
    assert all(not piece.citations and piece.finish_reason is None for piece in pieces[:-1])
    assert pieces[-1].usage == whole.usage
    told: list[str] = []
    answer = model.answer(ASKED, tell=told.append)
    assert "".join(told) == whole.text
    assert answer.generation.citations == whole.citations


def test_choices_are_scored_behind_the_same_passages() -> None:
    model = made(k=2, context_length=55)
    context = "Question: When is the balance tested?\nAnswer:"
    seen: list[str] = []
    model.model.scores = lambda context, text: float(-len(seen.append(context) or "x"))  # type: ignore[attr-defined]
    choices = [" a", " a much longer choice that leaves room for one passage only"]
    model.score([Continuation(context, choice) for choice in choices] + [Continuation("", "alone")])
    assert seen[0] == seen[1]
    assert "[1]" in seen[0]
    assert "[2]" not in seen[0]  # though it would fit before the first choice
    assert seen[2] == ""
    roomy = made(k=1)
    assert roomy.score([Continuation(context, " a")])[0].logprob == -1.0
    assert made("x", NothingRetriever()).score([Continuation(context, " a")])[0].logprob == -3.0


class LastFirst:
    """A reranker that turns the order around."""

    fingerprint = "last-first"

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        return list(hits)[::-1]


def test_a_reranker_chooses_among_more_candidates() -> None:
    plain, turned = made(k=1), made(k=1, reranker=LastFirst(), candidates=3)
    question = "When is the balance tested?"
    assert [hit.id for hit in plain.hits([question])[0]] == ["b"]
    assert [hit.id for hit in turned.hits([question])[0]] != ["b"]
    assert plain.card.fingerprint != turned.card.fingerprint
    with pytest.raises(UsageError, match="2 candidates are fewer than the 4"):
        made(reranker=LastFirst(), candidates=2)


def test_the_fingerprint_covers_content_and_settings() -> None:
    prints = [
        made().card.fingerprint,
        made(k=2).card.fingerprint,
        made(threshold=0.2).card.fingerprint,
        made(retriever=Bm25Retriever(HANDBOOK[:2])).card.fingerprint,
    ]
    assert len(set(prints)) == 4
    assert made().card.fingerprint == prints[0]
    assert made().card.name == "scripted + grounded"


@pytest.mark.parametrize("question", ['who opens "the store"', "??", "", "<script>&[1]</script> \x00 store", '"'])
def test_odd_questions_are_answered(question: str) -> None:
    model = made("By two keepers.")
    assert model.generate([[Message("user", question)]])[0].text == "By two keepers."


def test_an_evaluation_asks_with_documents_behind_the_examples() -> None:
    rows = (
        Sample("1", {"prompt": "When is the balance tested?", "answers": ["Mondays"]}),
        Sample("2", {"prompt": "Is it old?", "answers": ["yes"], "split": "train"}),
    )
    seen: list[str] = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return " Mondays" if "on Mondays." in prompt else " never"

    model = grounded(ScriptedModel(answer), Bm25Retriever(HANDBOOK), k=1)
    done = evaluate(System(model, PromptStyle(shots=1)), QuestionTask("t", rows, "accuracy"))
    assert done.summary["accuracy"].value == 1.0
    assert seen == [
        "Question: Is it old?\nAnswer: yes\n\n[1] The balance is tested on Mondays.\n\n"
        "Question: When is the balance tested?\nAnswer:"
    ]
    assert done.results[0].responses[0]["citations"][0]["source"] == "rules.md"
    assert done.key.model == model.card.fingerprint
