"""The same requests through lm-evaluation-harness, on the same model: the same scores, sample by sample."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.contracts import Continuation, Sampling

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

PASSAGE = "Lighthouses warn ships. The first ones were fires on hills. Keepers trimmed the wicks by night.\n\n"
QUESTIONS = [
    (
        "Question: What warns ships of rocks?\nAnswer:",
        [" a lighthouse", " a bakery", " a lighthouse keeper's dog"],
    ),
    (PASSAGE + "Question: What were the first lighthouses? ", ["fires on hills", "towers", "ships"]),
    (PASSAGE + "A. fires\nB. towers\nAnswer:", [" A", " B"]),
    ("Äther — naïve ✓ 東京 ", ["は日本の首都", "é"]),
    ("The keeper said", ["", " ", "\n\n good night  "]),
]
REQUESTS = [Continuation(context, choice) for context, choices in QUESTIONS for choice in choices if choice]
TEXTS = [PASSAGE * 3, "One line.", " leading space", "Ünïcödé ✓"]


@pytest.fixture(scope="module", params=["tiny", pytest.param("smollm2", marks=pytest.mark.real_model)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "smollm2":
        return request.getfixturevalue("smollm2")
    from steelyard.models.loading import load_model
    from tiny import tiny_llama

    return load_model(str(tiny_llama(tmp_path_factory.mktemp("parity"), max_position_embeddings=40)))


@pytest.fixture(scope="module")
def harness(model: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    length = model.engine.context_length
    return HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=3, max_length=length)


def asked(kind: str, *arguments: Any) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, index) for index, one in enumerate(zip(*arguments, strict=True))]


def test_continuations(model: Any, harness: Any) -> None:
    """White space at borders, cuts from the left (the tiny model reads 40 tokens), characters of many bytes."""
    contexts, texts = [str(r.context) for r in REQUESTS], [r.text for r in REQUESTS]
    expected = harness.loglikelihood(asked("loglikelihood", contexts, texts), disable_tqdm=True)
    for found, (logprob, greedy) in zip(model.score(REQUESTS), expected, strict=True):
        assert found.logprob == pytest.approx(logprob, abs=1e-3)
        assert found.greedy == greedy


def test_rolling_windows(model: Any, harness: Any) -> None:
    expected = harness.loglikelihood_rolling(asked("loglikelihood_rolling", TEXTS), disable_tqdm=True)
    found = model.score([Continuation("", text) for text in TEXTS])
    assert [score.logprob for score in found] == pytest.approx(list(expected), abs=1e-2)


def test_generation_until(model: Any, harness: Any) -> None:
    prompts = [context for context, _ in QUESTIONS[:3]]
    until = {"until": ["\n", "Question"], "max_gen_toks": 12, "do_sample": False}
    expected = harness.generate_until(asked("generate_until", prompts, [until] * len(prompts)), disable_tqdm=True)
    found = model.generate(prompts, Sampling(max_tokens=12, stop=("\n", "Question")))
    assert [answer.text for answer in found] == expected
