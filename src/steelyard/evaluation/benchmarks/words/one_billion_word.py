"""The One Billion Word benchmark's way of measuring language models, on its data or on any corpus of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import PositiveInt

from steelyard.contracts import Interval, LanguageModel, Texts
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.words.lm_interpolation_ensemble import Member, interpolate
from steelyard.evaluation.benchmarks.words.sentence_corpus import (
    SentenceCorpus,
    prepare_corpus,
    read_corpus,
    write_corpus,
)
from steelyard.evaluation.benchmarks.words.word_logprobs import (
    distinct_names,
    perplexity_interval,
    word_logprobs,
    write_word_logprobs,
)
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm
from steelyard.models.ngrams.model import NgramModel
from steelyard.models.ngrams.smoothing import Discounting
from steelyard.parts import part


@part(papers=[67], kind="measure")
def one_billion_word(
    models: Sequence[LanguageModel],
    corpus: Texts | None = None,
    *,
    data: str = "",
    order: PositiveInt = 5,
    min_count: PositiveInt = 3,
    shards: PositiveInt = 100,
    heldout_parts: PositiveInt = 50,
    seed: int = 0,
    save: str = "",
) -> Measurement:
    """Word perplexity on held-out sentences, beside an interpolated Kneser-Ney n-gram baseline, and of their
    mixture.

    The corpus is cleaned of duplicate sentences, shuffled and cut into shards, the last of which is held out in
    parts; words seen fewer than ``min_count`` times in training become ``<unk>`` for the baseline. Perplexity is
    exp of the mean negative log-probability of the words and the end mark of each sentence; the start mark is
    never predicted. Weights of the mixture are fitted on the second held-out part, all figures are of the first.

    The baseline predicts an unknown word as the class ``<unk>``, as the benchmark does; models over sub-words
    predict the word itself, which is harder, and their perplexity alone does not compare with the baseline's
    where unknown words are many. In the mixture the baseline gives such words no probability.

    Args:
        models: what to measure; none measures the baseline alone.
        corpus: texts, one tokenized sentence a line.
        data: in place of ``corpus``, a text file or a folder in the published benchmark's layout.
        order: of the baseline.
        min_count: how often a word must be seen to be known.
        shards: of the corpus, the held-out one included; a folder has its own.
        heldout_parts: of the held-out shard; a folder has its own. The first is measured, the second tunes.
        seed: of the shuffle.
        save: a folder for the prepared corpus and, per model, the log-probability of every word measured.

    Returns:
        ``baseline``, one value for each model, and, with models, ``mixture``: word perplexities.

    Raises:
        UsageError: no corpus, too few sentences, or a single held-out part.
        InputError: data that cannot be read.

    Source:
        One Billion Word Benchmark for Measuring Progress in Statistical Language Modeling (2013), sections 2 and
        3. Its baseline, trained on 0.8 billion words, has perplexity 67.6; the baseline here is held in memory,
        some hundred bytes a word, so the full data need a machine with about 100 GB.

    Relations:
        The baseline is ``generalized-skip-ngram-lm`` with ``backoff="left"``; the mixture is
        ``lm-interpolation-ensemble``, which also tells what each model adds.

    Example:
        >>> one_billion_word([], sentences, shards=10, heldout_parts=2).values["baseline"]  # doctest: +SKIP
    """
    prepared = _prepared(corpus, data, seed=seed, shards=shards, heldout_parts=heldout_parts, min_count=min_count)
    if len(prepared.heldout) < 2:
        raise UsageError(
            "one-billion-word: measuring takes one held-out part and tuning another; make at least two"
        )
    baseline = train_baseline(prepared, order=order)
    test, tune = prepared.heldout[:2]
    members: list[LanguageModel] = [baseline, *models]
    measured = [word_logprobs(model, test) for model in members]
    perplexities = [perplexity_interval(found) for found in measured]
    values: dict[str, Interval] = {"baseline": perplexities[0]}
    names = distinct_names(measured)
    values |= dict(zip(names[1:], perplexities[1:], strict=True))
    tables = [_table(members, perplexities)]
    if save:
        write_corpus(prepared, Path(save))
        for name, found in zip(names, measured, strict=True):
            write_word_logprobs(found, Path(save) / f"{name.replace('/', '-')}.heldout-00000.tsv")
    if models:
        tuned = [word_logprobs(model, tune) for model in members]
        mixture = interpolate([Member(*pair) for pair in zip(tuned, measured, strict=True)], seed=seed)
        values["mixture"] = mixture.values["mixture"]
        tables += mixture.tables
    unknown = measured[0].flat_unknown()
    words = sum(len(line.split()) for shard in prepared.training for line in shard)
    notes = (
        f"trained on {words:,} words, vocabulary of {len(prepared.vocabulary):,} with marks",
        f"{unknown.mean():.1%} of the units measured are unknown words, which the baseline predicts as one class",
    )
    return Measurement("one-billion-word", values, tuple(tables), notes)


def train_baseline(corpus: SentenceCorpus, *, order: int = 5, discounts: Discounting = "single") -> NgramModel:
    """The interpolated Kneser-Ney model of the training shards, rare words as ``<unk>``."""
    lines = ["\n".join(corpus.with_unknown(shard)) for shard in corpus.training]
    return generalized_skip_ngram_lm(lines, order=order, backoff="left", discounts=discounts, fallback=True)


def _prepared(corpus: Texts | None, data: str, *, min_count: int, **making: int) -> SentenceCorpus:
    if corpus is None and not data:
        raise UsageError("one-billion-word: no corpus; give texts, or data=FILE or data=FOLDER")
    if corpus is None and Path(data).is_dir():
        return read_corpus(Path(data), min_count=min_count)
    if corpus is None:
        try:
            corpus = [Path(data).read_text(encoding="utf-8")]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{data}: cannot be read as UTF-8 text; give one sentence a line") from error
    return prepare_corpus(corpus, min_count=min_count, **making)


def _table(models: Sequence[LanguageModel], perplexities: Sequence[Interval]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (model.card.name, model.card.parameters, value) for model, value in zip(models, perplexities, strict=True)
    ]
    return Table("Word perplexity", ("model", "parameters", "perplexity"), tuple(rows), "end marks included")
