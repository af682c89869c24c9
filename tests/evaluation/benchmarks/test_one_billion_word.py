from __future__ import annotations

import math
from pathlib import Path

import pytest

from steelyard.contracts import Continuation
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.words.one_billion_word import one_billion_word, train_baseline
from steelyard.evaluation.benchmarks.words.sentence_corpus import prepare_corpus, read_corpus, write_corpus
from steelyard.evaluation.benchmarks.words.word_logprobs import read_word_logprobs
from steelyard.models.loading import load_model

FIXTURES = Path(__file__).parents[1] / "fixtures"
LINES = (FIXTURES / "sentences.txt").read_text().splitlines()
SIZES = {"shards": 4, "heldout_parts": 4}


def test_the_corpus_is_clean_shuffled_and_cut() -> None:
    made = prepare_corpus([*LINES, LINES[0], f"  {LINES[1]} "], seed=1, **SIZES)
    everything = [line for shard in (*made.training, *made.heldout) for line in shard]
    assert sorted(everything) == sorted(set(LINES))
    assert (len(made.training), len(made.heldout)) == (3, 4)
    sizes = [len(shard) for shard in made.training]
    assert max(sizes) - min(sizes) <= 1
    assert made == prepare_corpus(LINES, seed=1, **SIZES)
    assert made.training != prepare_corpus(LINES, seed=2, **SIZES).training
    counts = {
        w: sum(line.split().count(w) for shard in made.training for line in shard) for w in everything[0].split()
    }
    for word, count in counts.items():
        assert (word in made.vocabulary) == (count >= 3)
    assert made.with_unknown(["the zzz cat"]) == ["the <unk> cat"]


def test_the_published_layout_is_written_and_read(tmp_path: Path) -> None:
    made = prepare_corpus(LINES, **SIZES)
    assert read_corpus(write_corpus(made, tmp_path)) == made
    assert (tmp_path / "vocab.txt").read_text().splitlines()[:3] == ["<unk>", "<s>", "</s>"]
    with pytest.raises(InputError, match="no shards"):
        read_corpus(tmp_path / "elsewhere")


def test_the_baseline_is_kneser_ney_with_one_discount() -> None:
    made = prepare_corpus(LINES, **SIZES)
    model = train_baseline(made, order=3)
    assert model.smoothed.skips is False
    assert len({*model.smoothed.patterns[0b11].discounts}) == 1
    for history in ([], ["the"], ["a", "red"], ["zzz", "the"]):
        assert model.distribution(history).sum() == pytest.approx(1, abs=1e-12)


def test_perplexities_are_those_of_the_words_and_end_marks(tiny_folder: Path, tmp_path: Path) -> None:
    other = load_model(str(tiny_folder))
    found = one_billion_word([other], LINES, order=3, save=str(tmp_path / "out"), **SIZES)
    made = read_corpus(tmp_path / "out")
    test = made.heldout[0]
    model = train_baseline(made, order=3)
    nats = -sum(s.logprob for s in model.score([Continuation("", line + "\n") for line in test]))
    units = sum(len(line.split()) + 1 for line in test)
    assert found.values["baseline"].value == pytest.approx(math.exp(nats / units))
    assert {"baseline", "mixture", other.card.name} == set(found.values)
    saved = [read_word_logprobs(file) for file in sorted((tmp_path / "out").glob("*.tsv"))]
    assert [" ".join(words) for words in saved[0].sentences] == list(test)
    again = one_billion_word([other], data=str(tmp_path / "out"), order=3)
    assert again.values == found.values


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match="no corpus"):
        one_billion_word([])
    with pytest.raises(UsageError, match="do not fill 100 shards"):
        one_billion_word([], LINES)
    with pytest.raises(UsageError, match="at least two"):
        one_billion_word([], LINES, shards=4, heldout_parts=1)
