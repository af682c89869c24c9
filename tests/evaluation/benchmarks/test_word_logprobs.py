from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from steelyard.contracts import Continuation, LanguageModel
from steelyard.errors import InputError, ModelError
from steelyard.evaluation.benchmarks.words.word_logprobs import (
    aligned,
    distinct_names,
    perplexity_interval,
    read_word_logprobs,
    word_logprobs,
    write_word_logprobs,
)
from steelyard.models.loading import load_model
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm
from steelyard.models.ngrams.model import NgramModel
from steelyard.models.scripted import ScriptedModel

BEGIN = "<|im_start|>"  # what an empty context stands for
TEXT = "The  quick brown fox\n\nPack my box, please"


@pytest.fixture(scope="module")
def ngram() -> NgramModel:
    return generalized_skip_ngram_lm(["The quick fox\nPack my box please\nPack my fox"], order=2, fallback=True)


@pytest.fixture
def subword(tiny_folder: Path) -> LanguageModel:
    return load_model(str(tiny_folder))


def test_words_add_up_to_the_model_s_own_score(subword: LanguageModel) -> None:
    found = word_logprobs(subword, [TEXT])
    assert found.sentences == (("The", "quick", "brown", "fox"), ("Pack", "my", "box,", "please"))
    assert [len(values) for values in found.logprobs] == [5, 5]
    for line, values in zip(found.sentences, found.logprobs, strict=True):
        whole = subword.score([Continuation("", " ".join(line) + "\n")])[0]
        assert math.fsum(values) == pytest.approx(whole.logprob, abs=1e-6)


def test_a_word_has_the_tokens_that_spell_it_given_the_text_so_far(subword: LanguageModel) -> None:
    found = word_logprobs(subword, ["The quick brown fox"])
    after = subword.score(
        [Continuation(f"{BEGIN}The quick", " brown"), Continuation(f"{BEGIN}The quick brown fox", "\n")]
    )
    assert found.logprobs[0][2] == pytest.approx(after[0].logprob, abs=1e-4)
    assert found.logprobs[0][4] == pytest.approx(after[1].logprob, abs=1e-4)


def test_a_closed_vocabulary_is_marked(ngram: NgramModel) -> None:
    found = word_logprobs(ngram, [TEXT])
    assert found.unknown == ((False, False, True, False, False), (False, False, True, False, False))
    chances = ngram.distribution(["The", "quick"])
    assert found.logprobs[0][2] == pytest.approx(math.log(chances[0]))


def test_perplexity_counts_end_marks(ngram: NgramModel) -> None:
    found = word_logprobs(ngram, ["Pack my fox", "The quick fox"])
    nats = -sum(
        s.logprob for s in ngram.score([Continuation("", t) for t in ("Pack my fox\n", "The quick fox\n")])
    )
    value = perplexity_interval(found)
    assert value.value == pytest.approx(math.exp(nats / 8))
    assert value.low <= value.value <= value.high


def test_tokens_that_do_not_spell_the_text_are_refused() -> None:
    class Lossy(ScriptedModel):
        def score(self, requests, **_):  # type: ignore[no-untyped-def]
            return [dataclasses.replace(s, tokens=("x",) * len(s.tokens)) for s in super().score(requests)]

    with pytest.raises(ModelError, match="do not spell"):
        word_logprobs(Lossy(scores=lambda c, t: -1.0), ["a b"])


def test_files_are_read_back_exactly(ngram: NgramModel, tmp_path: Path) -> None:
    found = word_logprobs(ngram, [TEXT])
    file = write_word_logprobs(found, tmp_path / "a.tsv")
    assert read_word_logprobs(file) == found


def damage(lines: list[str], how: str) -> list[str]:
    return {
        "header": ["# {}", *lines[1:]],
        "number": [*lines[:2], "quick\tx\t", *lines[3:]],
        "fields": [*lines[:2], "quick -1", *lines[3:]],
        "positive": [*lines[:2], "quick\t0.5\t", *lines[3:]],
        "word": [*lines[:2], "slow\t-1.0\t", *lines[3:]],
        "cut": lines[:5],
    }[how]


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("header", ":1: not a file of word log-probabilities"),
        ("number", ":3: needs a word"),
        ("fields", ":3: needs a word"),
        ("positive", ":3: 0.5"),
        ("word", "not those it was written with"),
        ("cut", "not those it was written with"),
    ],
)
def test_damaged_files_are_named_with_their_line(
    ngram: NgramModel, tmp_path: Path, how: str, problem: str
) -> None:
    file = write_word_logprobs(word_logprobs(ngram, [TEXT]), tmp_path / "a.tsv")
    file.write_text("\n".join(damage(file.read_text().split("\n"), how)))
    with pytest.raises(InputError) as caught:
        read_word_logprobs(file)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_words_are_not_aligned(ngram: NgramModel) -> None:
    first, other = word_logprobs(ngram, ["Pack my fox\nThe fox"]), word_logprobs(ngram, ["Pack my fox\nThe box"])
    with pytest.raises(InputError, match="from sentence 2 on"):
        aligned([first, other])
    assert np.array_equal(aligned([first, first])[0], first.flat())


def test_models_of_one_name_are_told_apart(ngram: NgramModel) -> None:
    one = word_logprobs(ngram, ["a b"])
    other = dataclasses.replace(one, fingerprint="0123456789")
    third = dataclasses.replace(one, model="third")
    assert distinct_names([one, third]) == [ngram.card.name, "third"]
    assert distinct_names([one, other]) == [
        f"{ngram.card.name}-{one.fingerprint[:8]}",
        f"{ngram.card.name}-01234567",
    ]
    assert len(set(distinct_names([one, one]))) == 2
