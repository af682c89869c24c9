from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ngrams.brute_force import BruteForce
from steelyard import parts
from steelyard.contracts import Continuation
from steelyard.errors import InputError
from steelyard.models.ngrams.arpa import write_arpa
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm
from steelyard.models.ngrams.model import NgramModel

LINES = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=12)


def contexts(order: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from("abcdx"), max_size=order + 1)


@settings(max_examples=30, deadline=None)
@given(lines=LINES, order=st.integers(1, 4), skips=st.booleans(), data=st.data())
def test_every_probability_is_that_of_the_definition(lines, order, skips, data) -> None:
    model = generalized_skip_ngram_lm(
        [" ".join(line) for line in lines], order=order, backoff="skip" if skips else "left", fallback=True
    )
    slow = BruteForce(lines, order, skips, fallback=True)
    history = data.draw(contexts(order))
    found = model.distribution(history)
    known = tuple(["<s>", *(w if w in model.vocabulary else "<unk>" for w in history)][-(order - 1) :])
    for word, value in zip(model.vocabulary.words, found, strict=True):
        if word != "<s>":
            assert value == pytest.approx(slow.probability(word, known if order > 1 else ()), abs=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    text = " ".join([*history, "b", "c"]) + "\n"
    for logprob, place in zip(
        model.score([Continuation("", text)])[0].token_logprobs, range(len(history) + 3), strict=True
    ):
        words = [*history, "b", "c", "</s>"]
        chances = model.distribution(words[:place])
        number = 2 if words[place] == "</s>" else model.vocabulary.encode([words[place]])[0]
        assert logprob == pytest.approx(math.log(chances[number]), abs=1e-9)


@pytest.mark.parametrize("backoff", ["skip", "left"])
def test_estimated_discounts_are_used_and_all_contexts_sum_to_one(backoff, training, heldout) -> None:
    model = generalized_skip_ngram_lm(training, order=3, backoff=backoff)
    slow = BruteForce([line.split() for line in training], 3, backoff == "skip", fallback=False)
    for line in heldout[:4]:
        words = line.split()
        history = ("<s>", *words)[:2]
        chances = model.distribution(words[:1])
        assert chances.sum() == pytest.approx(1, abs=1e-12)
        number = model.vocabulary.encode([words[1]])[0]
        assert chances[number] == pytest.approx(slow.probability(words[1], history), abs=1e-12)


def test_a_textbook_bigram_by_hand() -> None:
    """Corpus "a b", "a b", "a c": with D1 = 0.5, D2 = 1, D3+ = 1.5 as the corpus does not determine any.

    Bigram counts: <s> a 3, a b 2, a c 1, b </s> 2, c </s> 1. Continuations: a 1, b 1, c 1, </s> 2, in all 5.
    P(</s>) = (2 - 1)/5 + (3 * 0.5 + 1)/5 * 1/5 = 0.3; P(b) = 0.5/5 + 0.1 = 0.2; P(<unk>) = 0.1.
    P(b | a) = (2 - 1)/3 + (1 + 0.5)/3 * 0.2 = 1/3 + 0.1; P(<unk> | b) = 1/2 * 0.1.
    """
    model = generalized_skip_ngram_lm(["a b", "a b", "a c"], order=2, fallback=True)
    index = {word: n for n, word in enumerate(model.vocabulary.words)}
    after_a, after_b = model.distribution(["a"]), model.distribution(["b"])
    assert after_a[index["b"]] == pytest.approx(1 / 3 + 0.1)
    assert after_a[index["c"]] == pytest.approx(0.5 / 3 + 0.5 * 0.2)
    assert after_a[index["</s>"]] == pytest.approx(0.5 * 0.3)
    assert after_b[index["<unk>"]] == pytest.approx(0.05)
    assert after_b[index["</s>"]] == pytest.approx(0.5 + 0.5 * 0.3)


def perplexity(model: NgramModel, lines: list[str]) -> float:
    scores = model.score([Continuation("", line + "\n") for line in lines])
    return math.exp(-sum(s.logprob for s in scores) / sum(len(s.tokens) for s in scores))


def test_kenlm_reads_the_arpa_file_and_agrees(training, heldout, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    model = generalized_skip_ngram_lm(training, order=4, backoff="left")
    query = kenlm.Model(str(write_arpa(model, tmp_path / "model.arpa")))
    for line in heldout:
        theirs = [value * math.log(10) for value, *_ in query.full_scores(line)]
        mine = model.score([Continuation("", line + "\n")])[0].token_logprobs
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_left_truncation_gives_the_values_of_kenlm_s_estimator(order: int, training, heldout) -> None:
    recorded = json.loads(Path(__file__).with_name("lmplz_scores.json").read_text())["orders"][str(order)]
    model = generalized_skip_ngram_lm(training, order=order, backoff="left")
    for line, theirs in zip(heldout[-8:], recorded, strict=True):
        mine = model.score([Continuation("", line + "\n")])[0].token_logprobs
        np.testing.assert_allclose(mine, np.array(theirs) * math.log(10), atol=5e-6)


def test_single_discounts_are_kneser_ney_as_first_published(training) -> None:
    model = generalized_skip_ngram_lm(training, order=3, backoff="left", discounts="single")
    counts = model.smoothed.patterns[0b111].counts.counts
    n1, n2 = int((counts == 1).sum()), int((counts == 2).sum())
    assert model.smoothed.patterns[0b111].discounts == (n1 / (n1 + 2 * n2),) * 3
    assert model.distribution(["the", "cat"]).sum() == pytest.approx(1, abs=1e-12)


def test_skipping_is_another_model_from_order_three_on(training, heldout) -> None:
    for order, same in ((2, True), (3, False)):
        skip = generalized_skip_ngram_lm(training, order=order)
        left = generalized_skip_ngram_lm(training, order=order, backoff="left")
        assert (perplexity(skip, heldout) == perplexity(left, heldout)) == same
        assert (skip.card.fingerprint == left.card.fingerprint) == same


def test_rare_words_become_unknown(training) -> None:
    model = generalized_skip_ngram_lm([*training, "the zebra sees a zebra"], order=2, min_count=3, fallback=True)
    assert "zebra" not in model.vocabulary
    plain = generalized_skip_ngram_lm([*training, "the zebra sees a zebra"], order=2)
    assert model.distribution(["the"])[0] > plain.distribution(["the"])[0]


def test_a_corpus_too_small_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="fallback=true"):
        generalized_skip_ngram_lm(["a b"], order=2)
    with pytest.raises(InputError, match="holds no words"):
        generalized_skip_ngram_lm(["\n \n"])


def test_it_is_documented() -> None:
    text = parts.load("generalized-skip-ngram-lm").__doc__ or ""
    assert all(section in text for section in ("Source:", "Relations:", "Example"))


@pytest.mark.parametrize("backoff", ["skip", "left"])
def test_a_corpus_shorter_than_the_order_still_gives_probabilities(backoff: Any) -> None:
    model = generalized_skip_ngram_lm(["a"], order=4, backoff=backoff, fallback=True)
    found = model.score([Continuation("", "a b c")])[0]
    assert all(np.isfinite(found.token_logprobs))
    assert sum(np.exp(found.token_logprobs)) < len(found.token_logprobs)
