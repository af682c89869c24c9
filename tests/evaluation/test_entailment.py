from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError, InputError, ModelError
from steelyard.evaluation.entailment import (
    TRUE_QUESTION,
    ModelEntailment,
    Pair,
    load_classifier,
    open_entailment,
    supported,
    yes_probability,
)
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from tiny import tiny_tokenizer

PAIRS = [Pair("Ulm lies {on} the Danube.", "Ulm lies on a river."), Pair("It rains.", "It snows.")]


def test_the_probability_is_that_of_the_two_answers(tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder))
    judge = ModelEntailment(model, TRUE_QUESTION)
    contexts = [f"premise: {p} hypothesis: {h}" for p, h in PAIRS]
    ones = model.score([Continuation(context, "1") for context in contexts])
    noughts = model.score([Continuation(context, "0") for context in contexts])
    expected = [
        math.exp(one.logprob) / (math.exp(one.logprob) + math.exp(nought.logprob))
        for one, nought in zip(ones, noughts, strict=True)
    ]
    assert judge.probabilities(PAIRS) == pytest.approx(expected, abs=1e-5)


def test_equal_pairs_are_asked_once() -> None:
    model = ScriptedModel(scores=lambda context, answer: -1.0 if answer == "Yes" else -2.0)
    found = supported(open_entailment("self", model), [*PAIRS, *PAIRS])
    assert found == dict.fromkeys(PAIRS, True)
    assert model.calls == [("score", 4)]


def test_impossible_answers_are_an_error() -> None:
    assert yes_probability(-math.inf, -1.0) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ModelError, match="neither answer"):
        yes_probability(-math.inf, -math.inf)


def test_a_judge_must_score_and_hold_the_premise() -> None:
    with pytest.raises(CapabilityError, match="'score'"):
        open_entailment("self", ScriptedModel({})).probabilities(PAIRS)
    short = ScriptedModel(scores=lambda *_: -1.0, context_length=10)
    with pytest.raises(InputError, match="does not fit the context"):
        open_entailment("self", short).probabilities(PAIRS)


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label={0: "neutral", 1: "Entailment", 2: "contradiction"}, pad_token_id=0,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifier_gives_the_softmax_of_its_label(classifier_folder: Path) -> None:
    judge = open_entailment(f"nli:{classifier_folder}")
    loaded = load_classifier(classifier_folder)
    alone = []
    for pair in PAIRS:
        inputs = loaded.tokenizer(pair.premise, pair.hypothesis, return_tensors="pt")
        with torch.inference_mode():
            alone.append(float(torch.softmax(loaded.module(**inputs).logits[0], -1)[1]))
    assert judge.probabilities(PAIRS) == pytest.approx(alone, abs=1e-5)
    assert len(judge.probabilities([Pair("Long. " * 100, "x")])) == 1
    assert judge.cut == [1]  # type: ignore[attr-defined]


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        open_entailment(f"nli:{tmp_path}")
