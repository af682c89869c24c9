"""In-context RALM: strided probabilities against the module itself, passages where they belong, and the card."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from passages import CORPUS, Bm25Retriever, NothingRetriever
from steelyard.contracts import Continuation, Generation, Grammar, Hit, Message, Sampling, Usage
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.in_context_ralm import in_context_ralm
from steelyard.systems.strided_answer import StridedAnswer
from steelyard.systems.token_strides import stride_ends, tokenized

TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs, said the old man."
LONG = " ".join([TEXT, "What is the capital of France? Paris, said the fox; naïve 東京 jugs of the sea."] * 6)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    return load_model(str(tiny_folder))


def module_logprob(model: Any, context: Sequence[int], target: Sequence[int]) -> float:
    """Sum of log p over ``target`` after ``context``, straight from the module."""
    ids = torch.tensor([[*context, *target]])
    with torch.no_grad():
        logs = model.module(input_ids=ids).logits[0].float().log_softmax(-1)
    first = len(context)
    return float(sum(logs[first + i - 1, token] for i, token in enumerate(target)))


def ids_of(model: Any, text: str) -> list[int]:
    found: list[int] = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def test_finding_nothing_is_the_unmodified_model(model: Any) -> None:
    grounded = in_context_ralm(model, NothingRetriever())
    requests = [Continuation("", TEXT), Continuation("The quick ", "brown fox jumps"), Continuation("a", "")]
    assert grounded.score(requests) == model.score(requests)


def test_beyond_the_context_finding_nothing_gives_strided_perplexity(model: Any) -> None:
    short = dataclasses.replace(model.card, context_length=64)
    model = type(model)(model.module, model.tokenizer, short, model.family)
    whole = tokenized(model.tokenizer, [LONG])[0]
    ends = stride_ends(model.tokenizer, whole, 0, 8)
    expected = 0.0
    for begin, end in zip([0, *ends], ends, strict=False):
        before = whole.tokens[:begin] or (model.tokenizer.bos_token_id,)
        room = 64 + 1 - (end - begin)  # the last target token is no input
        expected += module_logprob(model, before[-room:], whole.tokens[begin:end])
    assert len(whole.tokens) > 3 * 64
    score = in_context_ralm(model, NothingRetriever(), stride=8).score([Continuation("", LONG)])[0]
    assert score.logprob == pytest.approx(expected, abs=1e-3)
    assert score.tokens == model.score([Continuation("", LONG)])[0].tokens


def test_each_stride_is_scored_behind_the_passage_for_the_tokens_before_it(model: Any) -> None:
    retriever = Bm25Retriever(CORPUS)
    text = "The old man of the sea said that the capital of France is a quick fox"
    grounded = in_context_ralm(model, retriever, stride=6, query_tokens=10)
    whole = tokenized(model.tokenizer, [text])[0]
    ends = stride_ends(model.tokenizer, whole, 0, 6)
    expected, used = 0.0, set()
    for begin, end in zip([0, *ends], ends, strict=False):
        query = whole.piece(begin - 10, begin).strip()
        hits = retriever.search([query], 1)[0] if query else []
        used |= {hit.id for hit in hits}
        context = ids_of(model, f"{hits[0].text}\n" if hits else "") + list(whole.tokens[:begin])
        expected += module_logprob(model, context or [model.tokenizer.bos_token_id], whole.tokens[begin:end])
    assert {"france", "jugs"} <= used
    assert grounded.score([Continuation("", text)])[0].logprob == pytest.approx(expected, abs=1e-3)


def test_likelihood_of_recent_tokens_chooses_among_the_candidates(model: Any) -> None:
    class Everything(NothingRetriever):
        def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
            return [CORPUS[:k] for _ in queries]

    context, target = "Said the old man: the capital of France is", " Paris, and"
    grounded = in_context_ralm(model, Everything(), stride=64, candidates=3, recent_tokens=5)
    whole = tokenized(model.tokenizer, [context + target])[0]
    first = whole.at(len(context))
    recent = [
        module_logprob(
            model,
            ids_of(model, f"{hit.text}\n") + list(whole.tokens[: first - 5]),
            whole.tokens[first - 5 : first],
        )
        for hit in CORPUS
    ]
    best = CORPUS[max(range(3), key=recent.__getitem__)]
    expected = module_logprob(
        model, ids_of(model, f"{best.text}\n") + list(whole.tokens[:first]), whole.tokens[first:]
    )
    assert grounded.score([Continuation(context, target)])[0].logprob == pytest.approx(expected, abs=1e-3)


def test_a_reranker_takes_the_place_of_the_model(model: Any) -> None:
    class Backwards:
        fingerprint = "backwards"

        def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
            return list(reversed(hits))

    retriever = Bm25Retriever(CORPUS)
    request = Continuation("the quick man of the sea of France", " is lazy")
    last = retriever.search([request.context], 3)[0][-1]  # type: ignore[list-item]
    grounded = in_context_ralm(model, retriever, Backwards(), candidates=3, stride=64)
    expected = model.score([Continuation(f"{last.text}\n{request.context}", request.text)])[0].logprob
    assert grounded.score([request])[0].logprob == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UsageError, match="candidates=2"):
        in_context_ralm(model, retriever, Backwards())


def test_passages_and_text_are_cut_to_the_context(model: Any) -> None:
    short = dataclasses.replace(model.card, context_length=48)
    model = type(model)(model.module, model.tokenizer, short, model.family)
    long = Hit("long", 0.0, "fox " * 200, metadata={"title": "Foxes"})
    asked = ScriptedModel(scores=lambda context, text: -1.0)
    asked.tokenizer = model.tokenizer  # type: ignore[attr-defined]
    contexts: list[str] = []
    asked.scores = lambda context, text: contexts.append(context) or -1.0  # type: ignore[func-returns-value]
    asked.context_length = 48
    in_context_ralm(asked, Bm25Retriever([long]), stride=8, passage_tokens=16).score([Continuation("", TEXT)])
    grounded = [context for context in contexts if context.startswith("Foxes\nfox")]
    assert grounded
    for context in grounded:
        passage, text = context[len("Foxes\n") :].split("\n", 1)
        assert len(ids_of(model, f"Foxes\n{passage}")) <= 16
        assert text in TEXT
        assert len(ids_of(model, context)) <= 48 - 8
    with pytest.raises(UsageError, match="no room"):
        in_context_ralm(model, Bm25Retriever([long]), stride=40, passage_tokens=40).score([Continuation("", TEXT)])


def test_generation_retrieves_anew_for_every_stride(model: Any) -> None:
    story = " It is Paris . The old man of the sea said that dogs are lazy , and that is that"
    prompt = "The capital of France ?"
    seen: list[str] = []

    def continued(asked: str) -> str:
        seen.append(asked)
        return story[len(asked.split(prompt)[1]) :]

    scripted: Any = ScriptedModel(continued)
    scripted.tokenizer = model.tokenizer
    retriever = Bm25Retriever(CORPUS)
    grounded = in_context_ralm(scripted, retriever, stride=4, query_tokens=14)
    answer = grounded.generate([prompt], Sampling(max_tokens=16))[0]
    assert answer.text == "".join(answer.tokens)
    assert answer.text == " It is Paris . The old man of the sea said that dogs are lazy ,"
    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 16)
    written = [prompt + "".join(answer.tokens[: 4 * stride]) for stride in range(4)]
    for asked, text in zip(
        seen, written, strict=True
    ):  # by hand: the query's best passage, then all that is written
        whole = tokenized(model.tokenizer, [text])[0]
        query = whole.piece(len(whole.tokens) - 14, len(whole.tokens)).strip()
        hits = retriever.search([query], 1)[0]
        assert asked == (f"{hits[0].text}\n" if hits else "") + text
    assert len({asked.split("\n")[0] for asked in seen}) > 1


def test_nothing_found_generates_what_the_model_does(model: Any) -> None:
    sampling = Sampling(max_tokens=10)
    plain, grounded = (
        m.generate([TEXT], sampling)[0] for m in (model, in_context_ralm(model, NothingRetriever()))
    )
    assert (grounded.text, grounded.tokens) == (plain.text, plain.tokens)


def test_a_stop_string_may_span_strides() -> None:
    answer = StridedAnswer("p", Sampling(max_tokens=20, stop=("END",)), 2)
    answer.take(Generation("one E", ("one", " E"), -1.0, "length", Usage(3, 2), (-0.5, -0.5)))
    answer.take(Generation("ND two", ("ND", " two"), -1.0, "length", Usage(5, 2), (-0.5, -0.5)))
    whole = answer.generation()
    assert (whole.text, whole.finish_reason) == ("one ", "stop")
    assert whole.usage == Usage(8, 4)
    assert "".join(whole.tokens).startswith("one ")


def test_a_stride_within_a_character_is_asked_for_again() -> None:
    answer = StridedAnswer("p", Sampling(max_tokens=20), 2)
    answer.take(Generation("\ufffd", ("", "\ufffd"), -1.0, "length", Usage(3, 2)))
    assert answer.text == ""
    assert answer.next_sampling().max_tokens == 4
    answer.take(Generation("東", ("", "", "東"), -1.0, "stop", Usage(3, 3)))
    assert answer.generation().text == "東"


def test_strides_end_where_the_text_can_be_cut(model: Any) -> None:
    whole = tokenized(model.tokenizer, [LONG])[0]
    for stride in (1, 3, 16):
        ends = stride_ends(model.tokenizer, whole, 0, stride)
        assert ends[-1] == len(whole.tokens)
        assert all(later - end >= stride for end, later in itertools.pairwise(ends[:-1]))
        for end in ends:
            assert tuple(ids_of(model, whole.text[: whole.starts[end]])) == whole.tokens[:end]


def test_a_conversation_is_grounded_before_its_last_question(model: Any) -> None:
    asked = [Message("system", "Be brief."), Message("user", "What is the capital of France?")]
    grounded = in_context_ralm(model, Bm25Retriever(CORPUS))
    by_hand = [asked[0], Message("user", f"{CORPUS[2].text}\n\nWhat is the capital of France?")]
    assert grounded.score([Continuation(asked, "Paris")]) == model.score([Continuation(by_hand, "Paris")])
    sampling = Sampling(max_tokens=9)
    assert grounded.generate([asked], sampling)[0].text == model.generate([by_hand], sampling)[0].text


def test_the_card_covers_model_passages_and_settings(model: Any) -> None:
    retriever = Bm25Retriever(CORPUS)
    grounded = in_context_ralm(model, retriever)
    first = grounded.card.fingerprint
    assert first != model.card.fingerprint
    assert first == in_context_ralm(model, Bm25Retriever(CORPUS[::-1])).card.fingerprint
    assert first != in_context_ralm(model, retriever, stride=8).card.fingerprint
    assert first != in_context_ralm(model, NothingRetriever(CORPUS)).card.fingerprint
    assert "weights" not in grounded.card.capabilities
    retriever.delete(["fox"])
    assert grounded.card.fingerprint != first


def test_what_cannot_be_done_is_said(model: Any) -> None:
    class Anonymous:
        def add(self, documents: Sequence[Hit]) -> None: ...
        def delete(self, ids: Sequence[str]) -> None: ...
        def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
            return [[] for _ in queries]

    with pytest.raises(UsageError, match=r"Anonymous.*no fingerprint"):
        _ = in_context_ralm(model, Anonymous()).card
    with pytest.raises(CapabilityError, match="no fast tokenizer"):
        in_context_ralm(ScriptedModel({}, scores=lambda c, t: 0.0), NothingRetriever()).score(
            [Continuation("", "a")]
        )
    with pytest.raises(UsageError, match="grammar"):
        in_context_ralm(model, NothingRetriever()).generate(["a"], Sampling(grammar=Grammar(choices=("a",))))
