from __future__ import annotations

import time

import pytest

from steelyard.contracts import Continuation, LanguageModel, Message, Sampling, StreamingModel
from steelyard.errors import CapabilityError, ModelError
from steelyard.models.scripted import ScriptedModel


def test_answers_from_a_table_a_last_message_or_a_function() -> None:
    table = ScriptedModel({"2 + 2 =": " 4", "Name a colour.": "Deep blue"})
    chat = [Message("system", "Be brief."), Message("user", "Name a colour.")]
    assert [g.text for g in table.generate(["2 + 2 =", chat])] == [" 4", "Deep blue"]
    assert isinstance(table, StreamingModel)
    function = ScriptedModel(lambda text: text.upper())
    assert function.generate([chat])[0].text == "SYSTEM: BE BRIEF.\nUSER: NAME A COLOUR.\nASSISTANT:"
    with pytest.raises(ModelError, match="no answer"):
        table.generate(["unknown"])


def test_limits_and_stop_strings() -> None:
    model = ScriptedModel({"a": "one two three\nQuestion: four"})
    cut = model.generate(["a"], Sampling(max_tokens=2))[0]
    assert (cut.text, cut.finish_reason, cut.usage.completion_tokens) == ("one two", "length", 2)
    stopped = model.generate(["a"], Sampling(stop=("\nQuestion",)))[0]
    assert (stopped.text, stopped.finish_reason) == ("one two three", "stop")
    parts = list(model.stream("a", Sampling(max_tokens=2)))
    assert "".join(part.text for part in parts) == "one two"
    assert parts[-1].finish_reason == "length"
    assert parts[-1].usage == cut.usage


def test_scores_from_a_function() -> None:
    model = ScriptedModel(scores=lambda context, text: -float(len(text)) if context else 0.0)
    assert isinstance(model, LanguageModel)
    first, second = model.score([Continuation("a", " bb cc"), Continuation("", "x")], top=1)
    assert (first.logprob, first.tokens, first.greedy) == (-6.0, (" bb", " cc"), False)
    assert sum(first.token_logprobs) == pytest.approx(-6.0)
    assert second.greedy
    assert len(first.top) == 2
    with pytest.raises(CapabilityError, match="score"):
        ScriptedModel({}).score([Continuation("a", "b")])
    with pytest.raises(ModelError, match="not numbers"):
        ScriptedModel(scores=lambda c, t: float("nan")).score([Continuation("a", "b")])


def test_fingerprint_depends_on_name_and_content() -> None:
    cards = [
        ScriptedModel({"a": "b"}).card,
        ScriptedModel({"a": "c"}).card,
        ScriptedModel({"a": "b"}, name="other").card,
        ScriptedModel(lambda text: text).card,
        ScriptedModel(lambda text: text[::-1]).card,
        ScriptedModel({"a": "b"}, scores=lambda c, t: 0.0).card,
    ]
    assert len({card.fingerprint for card in cards}) == len(cards)
    assert ScriptedModel({"a": "b"}).card.fingerprint == cards[0].fingerprint
    assert "score" not in cards[0].capabilities
    assert "score" in cards[-1].capabilities


def test_calls_are_listed_and_take_time() -> None:
    model = ScriptedModel({"a": "b"}, seconds=0.02, scores=lambda c, t: 0.0)
    start = time.perf_counter()
    model.generate(["a", "a"])
    model.score([Continuation("a", "b")])
    assert time.perf_counter() - start >= 0.04
    assert model.calls == [("generate", 2), ("score", 1)]
