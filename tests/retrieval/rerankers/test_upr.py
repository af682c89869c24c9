from __future__ import annotations

from typing import Any

import pytest

from retrieval.rerankers.token_by_token import logprob
from steelyard.contracts import Hit, Message
from steelyard.errors import InputError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.prefix_tree import PrefixTree
from steelyard.models.requests import encode_continuations
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.rerankers.template import Template
from steelyard.retrieval.rerankers.upr import TEMPLATE, question_requests, upr

HITS = [Hit("a", 2.0, "The quick brown fox"), Hit("b", 1.0, "Paris is in France"), Hit("c", 0.5, "lazy dogs")]
QUERY = "what is the capital"


def test_scores_are_the_questions_mean_log_likelihood_token_by_token(model: Any) -> None:
    found = {hit.id: hit.score for hit in upr(model).rerank(QUERY, HITS)}
    for hit in HITS:
        context = f"Passage: {hit.text}. Please write a question based on this passage."
        total, tokens = logprob(model, context, f" {QUERY}")
        space, one = logprob(model, context, " ")  # a token of its own here, and none of the question's
        assert found[hit.id] == pytest.approx((total - space) / (tokens - one), abs=1e-4)


def test_a_conversation_is_rendered_and_the_question_begins_the_answer(model: Any) -> None:
    found = {hit.id: hit.score for hit in upr(model, form="chat").rerank(QUERY, HITS)}
    asked = [Message("user", TEMPLATE.replace("{passage}", HITS[0].text))]
    context = model.tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in asked], tokenize=False, add_generation_prompt=True
    )
    total, tokens = logprob(model, context.rstrip(), f"\n{QUERY}")  # the engine scores the line break, too
    line_break, one = logprob(model, context.rstrip(), "\n")
    assert one == 1
    assert found["a"] == pytest.approx((total - line_break) / (tokens - one), abs=1e-4)


def test_a_passage_is_read_once_for_many_queries(model: Any) -> None:
    queries = ["what is it", "who is it", "where was the fox"]
    cost = upr(model).run(queries, [HITS] * 3).cost
    encoded = encode_continuations(
        model.tokenizer, question_requests(Template(TEMPLATE), queries, [HITS] * 3), "tiny"
    )
    assert cost.requests == 9
    assert cost.read_tokens == sum(len(e.context) + len(e.target) for e in encoded)
    assert cost.computed_tokens is not None
    distinct = PrefixTree.of([(e.context + e.target)[:-1] for e in encoded]).distinct
    assert distinct <= cost.computed_tokens < 0.5 * cost.read_tokens


def test_a_better_passage_comes_first() -> None:
    def overlap(context: str, question: str) -> float:
        return -float(sum(word not in context for word in question.split()))

    result = upr(ScriptedModel(scores=overlap)).rerank("lazy dogs", HITS)
    assert [hit.id for hit in result] == ["c", "a", "b"]  # equal ones by the retriever's score
    assert result[0].score == 0.0


def test_what_does_not_fit_is_an_error(tiny_folder: Any) -> None:
    narrow = load_model(str(tiny_folder))  # 512 tokens
    with pytest.raises(InputError, match=r"upr: a request of .* tokens does not fit"):
        upr(narrow).rerank(QUERY, [Hit("a", 1.0, "Zürich " * 150)])


def test_a_template_needs_its_place(model: Any) -> None:
    with pytest.raises(UsageError, match=r"the place \{passage\} is missing"):
        upr(model, template="Ask a question.")
    with pytest.raises(UsageError, match=r"no place \{query\}"):
        upr(model, template="{passage} {query}")
