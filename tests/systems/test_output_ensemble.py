from __future__ import annotations

import math

import pytest

from steelyard.contracts import Continuation, LanguageModel
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.output_ensemble import OutputEnsemble


def test_the_most_given_answer_wins_and_a_draw_goes_to_the_first() -> None:
    answers = [{"a": " x", "b": "1"}, {"a": "y", "b": "2"}, {"a": "y ", "b": "3"}]
    ensemble = OutputEnsemble([ScriptedModel(one) for one in answers])
    assert isinstance(ensemble, LanguageModel)
    assert [answer.text for answer in ensemble.generate(["a", "b"])] == ["y", "1"]


def test_scores_are_those_of_the_mixture() -> None:
    """Probabilities of whole texts are averaged, and their tokens' multiply to that."""
    members = [ScriptedModel(scores=lambda context, text, at=at: at) for at in (-1.0, -3.0)]
    (score,) = OutputEnsemble(members).score([Continuation("a", " b")])
    assert score.logprob == pytest.approx(math.log((math.exp(-1) + math.exp(-3)) / 2))
    assert sum(score.token_logprobs) == pytest.approx(score.logprob)
    with pytest.raises(CapabilityError, match="no alternatives"):
        OutputEnsemble(members).score([Continuation("a", " b")], top=2)


def test_the_card_adds_up() -> None:
    members = [ScriptedModel({"a": "x"}, parameters=3), ScriptedModel({"a": "y"}, parameters=4)]
    card = OutputEnsemble(members, name="both").card
    assert (card.name, card.parameters) == ("both", 7)
    assert card.capabilities <= {"score", "generate", "chat", "logprobs"}
    assert card.fingerprint != OutputEnsemble(members[:1]).card.fingerprint
    with pytest.raises(UsageError, match="needs members"):
        OutputEnsemble([]).card  # noqa: B018
