from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from steelyard.contracts import Continuation, Grammar, LanguageModel, Message, Sampling, StreamingModel
from steelyard.errors import CapabilityError, InputError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.ngrams.arpa import write_arpa
from steelyard.models.ngrams.files import load
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm
from steelyard.models.ngrams.model import NgramModel
from steelyard.models.ngrams.words import split_units
from steelyard.systems.loading import load as load_anything

REQUESTS = [
    Continuation("the old cat", " sees the dog\n"),
    Continuation("", "a bird  likes\tthe zebra"),
    Continuation("the cat sees a dog\nthe", " fox\n\n the hen "),
    Continuation("the", ""),
    Continuation("the ", "\n"),
    Continuation("", " \n"),
]


@pytest.fixture(scope="session")
def model(training) -> NgramModel:
    return generalized_skip_ngram_lm(training, order=3)


def test_it_is_a_language_model(model: NgramModel) -> None:
    assert isinstance(model, LanguageModel)
    assert isinstance(model, StreamingModel)
    assert {"score", "generate"} <= model.card.capabilities
    assert model.card.parts[0].settings["order"] == 3


def test_scores_do_not_depend_on_batch_or_order(model: NgramModel) -> None:
    together = model.score(REQUESTS)
    assert model.score(REQUESTS[::-1])[::-1] == together
    assert [model.score([request])[0] for request in REQUESTS] == together
    assert model.score([]) == []


def test_tokens_spell_the_text_and_add_up(model: NgramModel) -> None:
    for request, score in zip(REQUESTS, model.score(REQUESTS, detail=True, top=2), strict=True):
        if request.text.strip():
            assert "".join(score.tokens) == request.text
        assert score.logprob == pytest.approx(math.fsum(score.token_logprobs))
        assert score.utf8_bytes == len(request.text.encode())
        count = len(score.tokens)
        assert count == len(score.token_logprobs) == len(score.ranks) == len(score.entropies) == len(score.top)
    assert [len(s.tokens) for s in model.score(REQUESTS)] == [4, 5, 4, 0, 1, 0]


def test_a_sentence_begins_anew_after_a_line_break(model: NgramModel) -> None:
    first, second = "the old cat sees a dog", "the hen likes the king"
    whole = model.score([Continuation("", f"{first}\n{second}\n")])[0]
    parts = model.score([Continuation("", f"{first}\n"), Continuation(f"{first}\n", f"{second}\n")])
    alone = model.score([Continuation("", f"{second}\n")])[0]
    assert whole.logprob == pytest.approx(sum(part.logprob for part in parts))
    assert parts[1].token_logprobs == pytest.approx(alone.token_logprobs)


def test_greedy_ranks_and_entropies_are_those_of_the_distribution(model: NgramModel) -> None:
    chances = model.distribution(["the", "old"])
    best = model.vocabulary.words[int(chances.argmax())]
    right, wrong = model.score(
        [Continuation("the old", f" {best}"), Continuation("the old", " near")], detail=True, top=1
    )
    assert (right.greedy, right.ranks, wrong.greedy) == (True, (0,), False)
    assert wrong.ranks[0] == sum(chances > math.exp(wrong.logprob) * (1 + 1e-9))
    assert right.entropies[0] == pytest.approx(-sum(p * math.log(p) for p in chances if p > 0))
    assert right.top[0] == {best: pytest.approx(right.logprob)}


def test_answers(model: NgramModel) -> None:
    prompts = ["the old", "the old ", "", "a small fox"]
    greedy = model.generate(prompts, Sampling(max_tokens=5))
    assert greedy[0].text == " " + greedy[1].text
    assert not greedy[2].text.startswith(" ")
    for prompt, answer in zip(prompts, greedy, strict=True):
        assert model.generate([prompt], Sampling(max_tokens=5))[0] == answer
        assert "<unk>" not in answer.text
        scored = model.score([Continuation(prompt, answer.text)])[0]
        assert scored.greedy
        assert answer.logprob == pytest.approx(scored.logprob)
        pieces = list(model.stream(prompt, Sampling(max_tokens=5)))
        assert "".join(piece.text for piece in pieces) == answer.text
        assert pieces[-1].usage == answer.usage
    hot = [model.generate(prompts, Sampling(max_tokens=9, temperature=1, seed=s)) for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]


def test_answers_end(model: NgramModel) -> None:
    ended = model.generate(["the cat sees the dog near the old"], Sampling(max_tokens=40))[0]
    assert ended.finish_reason == "stop"
    assert ended.usage.completion_tokens == len(ended.tokens) + 1
    short = model.generate(["the"], Sampling(max_tokens=1))[0]
    assert (short.finish_reason, len(short.tokens)) == ("length", 1)
    whole = model.generate(["the"], Sampling(max_tokens=4))[0]
    stop = whole.text[3:]
    cut = model.generate(["the"], Sampling(max_tokens=4, stop=(stop,)))[0]
    assert (cut.text, "".join(cut.tokens), cut.finish_reason) == (whole.text[:3], whole.text[:3], "stop")


def test_what_it_cannot_do_is_said(model: NgramModel) -> None:
    with pytest.raises(CapabilityError, match="capability 'chat'"):
        model.generate([[Message("user", "Hello")]])
    with pytest.raises(CapabilityError, match="no grammars"):
        model.generate(["a"], Sampling(grammar=Grammar(choices=("b",))))


def test_saved_and_loaded_it_is_the_same(model: NgramModel, tmp_path: Path) -> None:
    again = load_model(f"ngram:{model.save(tmp_path / 'model.npz')}")
    assert again.card.fingerprint == model.card.fingerprint
    assert again.card.parts == model.card.parts
    assert again.score(REQUESTS) == model.score(REQUESTS)


def test_trained_by_name(training, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(training), encoding="utf-8")
    model = load_model(f"ngram:{tmp_path / 'corpus.txt'}?order=2&backoff=left")
    expected = generalized_skip_ngram_lm(training, order=2, backoff="left")
    assert model.card.fingerprint == expected.card.fingerprint
    assert load_model(f"ngram:{tmp_path / 'corpus.txt'}", order=3).card.fingerprint != expected.card.fingerprint
    (tmp_path / "system.yaml").write_text(
        "model: ngram:./corpus.txt?order=2&backoff=left\nprompt: {style: raw}\n", encoding="utf-8"
    )
    system = load_anything(tmp_path / "system.yaml")
    assert system.score(REQUESTS[:2]) == model.score(REQUESTS[:2])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ngram:", "no such file"),
        ("ngram:missing.txt", "no such file"),
        ("ngram:corpus.txt?ordr=3", "did you mean 'order'"),
        ("ngram:corpus.txt?order=0", "setting 'order'"),
        ("ngram:corpus.txt?order", "not of the form"),
        ("ngram:binary.txt", "not UTF-8"),
        ("ngram:damaged.npz", "not an n-gram model"),
        ("ngram:damaged.npz?order=3", "takes no settings"),
    ],
)
def test_wrong_names_are_refused_in_one_line(name: str, problem: str) -> None:
    Path("corpus.txt").write_text("a b\n", encoding="utf-8")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("damaged.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises((UsageError, InputError), match=re.escape(problem)) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_settings_of_other_engines_are_refused() -> None:
    with pytest.raises(UsageError, match="device cannot be chosen"):
        load_model("ngram:corpus.txt", device="cpu")


def test_files_keep_what_they_promise(model: NgramModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"saved as \.npz"):
        model.save(tmp_path / "model.bin")
    with pytest.raises(UsageError, match="holds no skipped positions"):
        write_arpa(model, tmp_path / "model.arpa")
    with pytest.raises(InputError):
        load(tmp_path / "missing.npz")


def test_a_text_that_spells_the_end_mark_is_unknown_not_an_end() -> None:
    assert [unit.word for unit in split_units("a </s> b\n", False)] == ["a", "<unk>", "b", "</s>"]


def test_an_arpa_file_is_read_back_as_the_same_distribution(training, heldout, tmp_path: Path) -> None:
    model = generalized_skip_ngram_lm(training, order=3, backoff="left")
    again = load_model(f"ngram:{write_arpa(model, tmp_path / 'model.arpa')}")
    assert isinstance(again, NgramModel)
    requests = [Continuation("", line + "\n") for line in heldout] + REQUESTS
    for mine, theirs in zip(model.score(requests), again.score(requests), strict=True):
        assert theirs.token_logprobs == pytest.approx(mine.token_logprobs, abs=1e-5)
        assert theirs.greedy == mine.greedy
    for history in ([], ["the"], ["the", "old"], ["zzz", "the"], ["near", "zzz"]):
        chances = again.distribution(history)
        assert chances.sum() == pytest.approx(1, abs=1e-5)
        ours = dict(zip(model.vocabulary.words, model.distribution(history), strict=True))
        assert {w: ours[w] for w in again.vocabulary.words} == pytest.approx(
            dict(zip(again.vocabulary.words, chances, strict=True)), abs=1e-6
        )
    assert again.generate(["the old"])[0].text == model.generate(["the old"])[0].text
    assert again.card.fingerprint != model.card.fingerprint
    with pytest.raises(UsageError, match="keep the ARPA file"):
        again.save(tmp_path / "again.npz")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("\\end\\", ""), "has no"),
        (lambda text: text.replace("\\2-grams:", "\\3-grams:"), "fields"),
        (lambda text: text.replace("\tthe\t", "\tthe cat\t", 1), "fields"),
        (lambda text: text.replace("</s>", "end"), "lack </s>"),
        (lambda text: text.replace("-0.", "x0.", 1), "could not convert"),
    ],
)
def test_damaged_arpa_files_are_refused(training, tmp_path: Path, change, problem: str) -> None:
    file = write_arpa(generalized_skip_ngram_lm(training, order=2, backoff="left"), tmp_path / "model.arpa")
    file.write_text(change(file.read_text()))
    with pytest.raises(InputError, match=problem):
        load_model(f"ngram:{file}")
