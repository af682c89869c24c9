"""Internet-augmented prompting: passages, prompts, scores against summed token log-probabilities, the card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passages import CORPUS, Bm25Retriever, NothingRetriever
from steelyard.contracts import Continuation, Grammar, Hit, Message, Sampling
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.answer_scores import marginal, noisy_channel
from steelyard.systems.evidence_passages import rank_passages, sentence_passages, tfidf_cosines
from steelyard.systems.internet_augmented_prompting import (
    EvidenceExample,
    InternetAugmentedModel,
    internet_augmented_prompting,
    product_weights,
    question_of,
)

SHOWN = [EvidenceExample("The sky is blue.", "What colour is the sky?", "blue")]
QUESTION = "Is the capital of France a quick or an old one?"


def grounded(model: Any, retriever: Any = None, **settings: Any) -> InternetAugmentedModel:
    made: Any = internet_augmented_prompting(model, retriever or Bm25Retriever(CORPUS), SHOWN, **settings)
    return made


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    return load_model(str(tiny_folder))


def test_passages_are_six_sentences() -> None:
    text = " ".join(f"Sentence {i} is here." for i in range(14))
    found = sentence_passages(text)
    assert [passage.count("is here.") for passage in found] == [6, 6, 2]
    assert " ".join(found) == text
    assert sentence_passages("") == []


def test_ranking_is_by_the_cosine_of_tfidf() -> None:
    passages = ["red fox red", "blue whale song", "a fox sings"]
    frequency = {"red": 1, "fox": 2, "blue": 1, "whale": 1, "song": 1, "sings": 1}
    weigh = {word: math.log((1 + 3) / (1 + n)) + 1 for word, n in frequency.items()}

    def vector(text: str) -> dict[str, float]:
        words = [w for w in text.split() if w in weigh]
        raw = {w: words.count(w) * weigh[w] for w in words}
        norm = math.sqrt(sum(v * v for v in raw.values()))
        return {w: v / norm for w, v in raw.items()}

    question = vector("the red fox")
    expected = [sum(question.get(w, 0.0) * v for w, v in vector(p).items()) for p in passages]
    assert tfidf_cosines("the red fox", passages) == pytest.approx(expected)
    ranked = rank_passages("the red fox", passages, 2)
    assert ranked.texts == ("red fox red", "a fox sings")
    assert ranked.probabilities == pytest.approx(
        np.array([expected[0], expected[2]]) / (expected[0] + expected[2])
    )
    assert rank_passages("nothing known", passages, 2).probabilities.tolist() == [0.5, 0.5]


def test_prompts_put_the_known_fields_in_the_order_of_the_factor() -> None:
    made = grounded(ScriptedModel())
    known = {"question": "Q?", "answer": "a", "evidence": "E."}
    assert made.prompt("answer", **known) == (
        "Evidence: The sky is blue.\nQuestion: What colour is the sky?\nAnswer: blue\n\n"
        "Evidence: E.\nQuestion: Q?\nAnswer:"
    )
    assert made.prompt("question_given_answer", **known).endswith("Evidence: E.\nAnswer: a\nQuestion:")
    assert made.prompt("answer_alone", **known).endswith("blue\n\nEvidence: E.\nAnswer:")
    assert made.prompt("question_alone", **known).endswith("sky?\n\nEvidence: E.\nQuestion:")
    assert made.prompt("answer", **{**known, "evidence": ""}) == (
        "Question: What colour is the sky?\nAnswer: blue\n\nQuestion: Q?\nAnswer:"
    )


def test_pair_scores_are_summed_token_logprobs(model: Any) -> None:
    made = grounded(model, passages=2, samples=2)
    found = made.candidates([QUESTION], [Sampling(max_tokens=4)])
    pairs = made.pair_scores(found, whole=True)[0]
    assert len(found[0].ranked.texts) == 2
    assert len(pairs.candidate) == len(found[0].answers) * len(found[0].ranked.texts)

    def summed(context: str, text: str) -> float:
        return sum(model.score([Continuation(context, text)])[0].token_logprobs)

    head = "Evidence: The sky is blue.\n"
    asked, said = "Question: What colour is the sky?", "Answer: blue"
    for i, (candidate, place) in enumerate(zip(pairs.candidate, pairs.place, strict=True)):
        a, p = found[0].answers[candidate].text.strip(), f"Evidence: {found[0].ranked.texts[place]}\n"
        q_given_a = summed(f"{head}{said}\n{asked}\n\n{p}Answer: {a}\nQuestion:", f" {QUESTION}")
        a_alone = summed(f"{head}{said}\n\n{p}Answer:", f" {a}")
        q_alone = summed(f"{head}{asked}\n\n{p}Question:", f" {QUESTION}")
        direct = summed(f"{head}{asked}\n{said}\n\n{p}Question: {QUESTION}\nAnswer:", f" {a}")
        assert noisy_channel(pairs)[i] == pytest.approx(q_given_a + a_alone - q_alone, abs=1e-3)
        assert pairs.answer[i] == pytest.approx(direct, abs=1e-3)
        assert pairs.passage[i] == pytest.approx(math.log(found[0].ranked.probabilities[place]))


@pytest.mark.parametrize("scoring", ["direct", "marginal", "noisy-channel", "product"])
def test_the_answer_is_the_best_candidate_of_the_scoring(model: Any, scoring: str) -> None:
    made = grounded(model, passages=2, samples=2, scoring=scoring)
    sampling = Sampling(max_tokens=4, seed=5)
    found = made.candidates([QUESTION], [sampling])
    pairs = made.pair_scores(found, whole=True)[0]
    if scoring == "marginal":
        best = int(np.argmax(marginal(pairs)))
    else:
        product = sum(pairs[2:5]) - pairs.question_alone + pairs.passage
        values = {"direct": pairs.answer, "noisy-channel": noisy_channel(pairs), "product": product}[scoring]
        best = pairs.candidate[np.argmax(np.where(pairs.sampled, values, -np.inf))]
    answer = made.generate([QUESTION], sampling)[0]
    assert answer.text == found[0].answers[best].text
    assert answer.usage == found[0].usage


def test_evidence_reaches_the_answer() -> None:
    asked: list[str] = []

    def read(prompt: str) -> str:
        asked.append(prompt)
        return " Paris\nQuestion: and so on" if "Paris" in prompt.split("\n\n")[-1] else " Rome"

    def likely(context: str, text: str) -> float:
        return -1.0 if text.strip() in context.split("\n\n")[-1] else -9.0

    scripted = ScriptedModel(read, scores=likely)
    hidden = Bm25Retriever([*CORPUS, Hit("rome", 0.0, "What a capital city!")])
    made = grounded(scripted, hidden, passages=4, samples=1)
    assert made.generate([[Message("user", QUESTION)]])[0].text == " Paris"
    assert any("What a capital city!" in prompt for prompt in asked)
    assert grounded(scripted, NothingRetriever()).generate([QUESTION])[0].text == " Rome"  # closed-book


def test_scoring_an_answer_is_the_marginal_over_passages(model: Any) -> None:
    made = grounded(model, passages=3)
    score = made.score([Continuation(QUESTION, " Paris and the Seine"), Continuation("", "Plain text.")])
    ranked = made.ranked([QUESTION])[0]
    inner = [
        Continuation(made.prompt("answer", question=QUESTION, evidence=p), " Paris and the Seine")
        for p in ranked.texts
    ]
    chances = ranked.probabilities * np.exp([s.logprob for s in model.score(inner)])
    assert len(inner) > 1
    assert score[0].logprob == pytest.approx(math.log(chances.sum()), abs=1e-4)
    assert score[1].logprob == pytest.approx(model.score([Continuation("", "Plain text.")])[0].logprob, abs=1e-5)
    with pytest.raises(CapabilityError, match="mixes passages"):
        made.score([Continuation("a", " b")], top=2)


def test_weights_are_tuned_on_development_questions(model: Any) -> None:
    made = grounded(model, passages=2, samples=2)
    asked: list[tuple[int, str]] = []
    weights = product_weights(
        made, [QUESTION, "Who jumps?"], lambda n, answer: asked.append((n, answer)) is None, draws=5
    )
    assert {number for number, _ in asked} == {0, 1}
    assert len(weights) == 5
    assert grounded(model, weights=weights).settings.weights == weights


def test_questions_are_found_in_prompts() -> None:
    assert question_of(QUESTION) == QUESTION
    assert question_of(f"Be brief.\n\nQuestion: 1?\nAnswer: 1\n\nQuestion: {QUESTION}\nAnswer:") == QUESTION
    assert question_of([Message("system", "Be brief."), Message("user", QUESTION)]) == QUESTION


def test_the_card_covers_examples_passages_and_settings(model: Any) -> None:
    first = grounded(model).card.fingerprint
    assert first == grounded(model).card.fingerprint
    others = [
        grounded(model, scoring="direct"),
        grounded(model, NothingRetriever(CORPUS)),
        grounded(model, Bm25Retriever(CORPUS[:2])),
        internet_augmented_prompting(model, Bm25Retriever(CORPUS)),
    ]
    assert len({first, model.card.fingerprint, *(other.card.fingerprint for other in others)}) == 6


def test_what_cannot_be_done_is_said(model: Any) -> None:
    with pytest.raises(UsageError, match="5 numbers"):
        grounded(model, weights=(1.0,))
    with pytest.raises(UsageError, match="no grammar"):
        grounded(model).generate(["a"], Sampling(grammar=Grammar(choices=("a",))))
