"""Every kind of language model keeps the contract: order, batching, greedy determinism, streaming, the card."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from passages import CORPUS, Bm25Retriever
from steelyard.compression.apply import apply_parts
from steelyard.contracts import Continuation, LanguageModel, Message, PromptStyle, Sampling, StreamingModel
from steelyard.models.llama_cpp import LlamaCppModel
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.grounded import grounded
from steelyard.systems.in_context_ralm import in_context_ralm
from steelyard.systems.internet_augmented_prompting import EvidenceExample, internet_augmented_prompting
from steelyard.systems.system import System
from tiny_files import tiny_gguf

REQUESTS = [
    Continuation("The quick brown", " fox jumps over"),
    Continuation("", "Pack my box with five dozen liquor jugs."),
    Continuation("The quick brown", " dog"),
    Continuation("The quick brown", " fox jumps over"),
    Continuation([Message("user", "The quick?")], "brown"),
]
PROMPTS = ["The quick", [Message("user", "Pack my box")], "The quick brown fox jumps"]

KINDS: dict[str, Callable[[Path], LanguageModel]] = {
    "open weights": lambda tiny: load_model(str(tiny)),
    "int8": lambda tiny: apply_parts(load_model(str(tiny)), ["int8"]),
    "shallower": lambda tiny: apply_parts(load_model(str(tiny)), [{"sleb": {"blocks": [1]}}]),
    "scripted": lambda _: ScriptedModel(
        lambda prompt: f"answer to {prompt}", scores=lambda context, text: -0.5 * len(text) - len(context) / 100
    ),
    "in-context-ralm": lambda tiny: in_context_ralm(load_model(str(tiny)), Bm25Retriever(CORPUS), stride=2),
    "grounded": lambda tiny: grounded(load_model(str(tiny)), Bm25Retriever(CORPUS), k=2),
    "grounded with a threshold": lambda tiny: grounded(
        load_model(str(tiny)), Bm25Retriever(CORPUS), k=2, threshold=1e-6, support="gain"
    ),
    "internet-augmented-prompting": lambda tiny: internet_augmented_prompting(
        load_model(str(tiny)), Bm25Retriever(CORPUS), [EvidenceExample("It is red.", "Colour?", "red")], passages=2
    ),
    "system": lambda tiny: System(load_model(str(tiny)), PromptStyle("chat", instruction="Be brief.")),
}


@pytest.fixture(scope="session")
def llama_cpp_model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed: steelyard[gguf]")
    folder = tmp_path_factory.mktemp("gguf")
    tiny_gguf(folder / "tiny.gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEELYARD_CACHE", str(folder / "cache"))
        return load_model(folder / "tiny.gguf", engine="llama.cpp")


@pytest.fixture(params=[*sorted(KINDS), "llama.cpp"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> LanguageModel:
    if request.param == "llama.cpp":
        found: LanguageModel = request.getfixturevalue("llama_cpp_model")
        return found
    return KINDS[request.param](tiny_folder)


def test_scores_do_not_depend_on_batch_or_order(model: LanguageModel) -> None:
    bound = 1e-3 if isinstance(model, LlamaCppModel) else 1e-4  # it keeps keys and values in 16 bits
    together = model.score(REQUESTS)
    reversed_order = model.score(REQUESTS[::-1])[::-1]
    alone = [model.score([request])[0] for request in REQUESTS]
    for several, backwards, single in zip(together, reversed_order, alone, strict=True):
        assert several.logprob == pytest.approx(single.logprob, abs=bound)
        assert backwards.logprob == pytest.approx(single.logprob, abs=bound)


def test_a_score_adds_up_and_its_tokens_spell_the_text(model: LanguageModel) -> None:
    for request, score in zip(REQUESTS, model.score(REQUESTS), strict=True):
        assert score.logprob == pytest.approx(sum(score.token_logprobs), abs=1e-4)
        assert score.utf8_bytes == len(request.text.encode())
        assert request.text.strip() in "".join(score.tokens)
        assert len(score.tokens) == len(score.token_logprobs)


def test_greedy_answers_are_the_same_alone_and_together(model: LanguageModel) -> None:
    sampling = Sampling(max_tokens=6)
    together = model.generate(PROMPTS, sampling)
    assert [model.generate([prompt], sampling)[0].text for prompt in PROMPTS] == [a.text for a in together]
    assert model.generate([], sampling) == []
    assert model.score([]) == []


def test_a_stream_joins_to_the_whole_answer(model: LanguageModel) -> None:
    assert isinstance(model, StreamingModel)
    for prompt in PROMPTS:
        pieces = list(model.stream(prompt, Sampling(max_tokens=6)))
        whole = model.generate([prompt], Sampling(max_tokens=6))[0]
        assert "".join(piece.text for piece in pieces) == whole.text
        assert pieces[-1].finish_reason == whole.finish_reason
        assert pieces[-1].usage == whole.usage


def test_seeds_repeat_and_matter(model: LanguageModel) -> None:
    hot = [Sampling(max_tokens=12, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    first, again, other = ([g.text for g in model.generate(PROMPTS, s)] for s in hot)
    assert first == again
    assert first != other or isinstance(model, ScriptedModel)


def test_the_card_says_what_can_be_done(model: LanguageModel) -> None:
    card = model.card
    assert {"score", "generate"} <= card.capabilities
    assert card.fingerprint
    assert card.name
    assert isinstance(model, LanguageModel)
