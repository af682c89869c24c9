"""Linear interpolation of language models over words, and what each newcomer adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval, LanguageModel, Texts
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.words.mixture_weights import fit_mixture, mix
from steelyard.evaluation.benchmarks.words.word_logprobs import (
    WordLogprobs,
    aligned,
    distinct_names,
    perplexity_interval,
    read_word_logprobs,
    sentence_sums,
    word_logprobs,
    write_word_logprobs,
)
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.parts import part

Floats = NDArray[np.float64]
Unknown: TypeAlias = Literal["zero", "class"]


class Member(NamedTuple):
    """One model's log-probabilities for the words of both texts."""

    dev: WordLogprobs
    test: WordLogprobs


@part(papers=[82], kind="measure")
def lm_interpolation_ensemble(
    models: Sequence[LanguageModel],
    dev: Texts | None = None,
    test: Texts | None = None,
    *,
    dev_data: str = "",
    test_data: str = "",
    folder: str = "",
    unknown: Unknown = "zero",
    seed: int = 0,
) -> Measurement:
    """Mix models linearly over words, and say how much each of them adds to the others.

    Every model gives each word of both texts a probability. Non-negative weights that sum to one are fitted on
    ``dev`` by expectation maximisation to within 1e-7 nats a word of the optimum, and the mixture's perplexity is
    measured on ``test``. A newcomer's complementarity is the drop of the mixture's perplexity when it joins
    those before it, and when it is the one left out; weights are fitted anew each time, and intervals come
    from a bootstrap over sentences in which both mixtures are drawn together.

    Args:
        models: what to mix, in the order in which they join; those in ``folder`` were there before.
        dev: texts to fit weights on, one sentence a line.
        test: texts to measure on.
        dev_data: a text file, in place of ``dev``.
        test_data: a text file, in place of ``test``.
        folder: where probabilities are shared: ``NAME.dev.tsv`` and ``NAME.test.tsv`` of other models are
            read, and those of ``models`` are written there. With files alone, no text is needed.
        unknown: what a model of a closed vocabulary gives words outside it: ``zero`` (it knows their class
            only, so the mixture relies on the others) or ``class``, log P(``<unk>``), right where every member
            has that vocabulary.
        seed: of the bootstrap.

    Returns:
        ``mixture`` and ``best_member`` (test perplexity a word, end marks included), their ``drop``, and tables.

    Raises:
        UsageError: no models or no texts.
        InputError: files that do not belong to one text, or a word that every model rules out.

    Source:
        Advancing State of the Art in Language Modeling (2023): publishing every model's probabilities of dev and
        test words, and judging a new model by what it adds to a linear ensemble. Expectation maximisation of
        mixture
        weights: Jelinek and Mercer 1980.

    Relations:
        ``one-billion-word`` prepares corpora and gives the Kneser-Ney baseline; ``generalized-skip-ngram-lm``
        makes members.

    Example:
        >>> lm_interpolation_ensemble([ngram, model], dev, test).values["mixture"]  # doctest: +SKIP
    """
    members = _members(models, _texts(dev, dev_data, "dev"), _texts(test, test_data, "test"), folder)
    return interpolate(members, unknown=unknown, seed=seed)


def interpolate(members: Sequence[Member], *, unknown: Unknown = "zero", seed: int = 0) -> Measurement:
    """The mixture of members whose words were scored before; see :func:`lm_interpolation_ensemble`."""
    names = distinct_names([member.test for member in members])
    fitted = _logprobs([member.dev for member in members], unknown)
    tested = _logprobs([member.test for member in members], unknown)
    lengths = np.array([len(values) for values in members[0].test.logprobs])

    def mixture(chosen: Sequence[int]) -> Floats:
        return mixture_logprobs(fitted[list(chosen)], tested[list(chosen)])

    everyone = range(len(members))
    best_fit = fit_mixture(_possible(fitted))
    whole = mix(tested, best_fit.weights)
    best = int(np.argmax(fitted.mean(axis=1)))
    joins = [(k, mixture(range(k)) if k else None, mixture(range(k + 1))) for k in everyone]
    without = [mixture([j for j in everyone if j != k]) if len(members) > 1 else None for k in everyone]
    drops = [
        tuple(
            None if before is None else perplexity_drop(before, after, lengths, seed=seed)
            for before, after in ((joins[k][1], joins[k][2]), (without[k], whole))
        )
        for k in everyone
    ]
    table = Table(
        "Members",
        ("model", "weight", "dev perplexity", "test perplexity", "drop on joining", "drop over leaving out"),
        tuple(
            (
                names[k],
                float(best_fit.weights[k]),
                perplexity_interval(members[k].dev, fitted[k]).value,
                perplexity_interval(members[k].test, tested[k]),
                *drops[k],
            )
            for k in everyone
        ),
        "perplexity a word, end marks included; weights fitted on dev; drops are of the mixture's test perplexity",
    )
    return Measurement(
        "lm-interpolation-ensemble",
        {
            "mixture": perplexity_interval(members[0].test, whole),
            "best_member": perplexity_interval(members[best].test, tested[best]),
            "drop": perplexity_drop(tested[best], whole, lengths, seed=seed),
        },
        (table,),
        _notes(members, fitted, best_fit.weights, best, unknown),
        {"weights": dict(zip(names, best_fit.weights.tolist(), strict=True)), "gap": best_fit.gap},
    )


def mixture_logprobs(fitted: Floats, tested: Floats) -> Floats:
    """Log-probabilities (words,) on test of the mixture whose weights were fitted on dev; both (models, words).

    A word of ``dev`` that all of these models rule out says nothing about their weights and is left out.
    """
    possible = fitted[:, np.isfinite(fitted).any(axis=0)]
    return mix(tested, fit_mixture(possible).weights)


def perplexity_drop(
    before: Floats,
    after: Floats,
    lengths: NDArray[np.int64],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Perplexity of ``before`` minus that of ``after``, on the same words, with a paired bootstrap over sentences.

    ``lengths`` int64 (sentences,) are their words and end marks. Where ``before`` rules a word out, the
    drop is infinite; where ``after`` does, it is not a number.
    """
    sums = -np.stack([sentence_sums(values, lengths) for values in (before, after)])
    if not np.isfinite(sums).all():
        drop = np.inf if np.isfinite(sums[1]).all() else np.nan
        return Interval(drop, drop, drop, len(lengths))
    value = np.exp(sums.sum(axis=1) / lengths.sum())
    rng = np.random.default_rng(seed)
    drops = np.empty(resamples)
    for i in range(resamples):
        picked = rng.integers(0, len(lengths), len(lengths))
        old, new = np.exp(sums[:, picked].sum(axis=1) / lengths[picked].sum())
        drops[i] = old - new
    low, high = np.quantile(drops, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value[0] - value[1]), float(low), float(high), len(lengths))


def _members(models: Sequence[LanguageModel], dev: Texts | None, test: Texts | None, folder: str) -> list[Member]:
    place = Path(folder) if folder else None
    members: list[Member] = []
    own = {_file_name(model) for model in models}
    if place is not None and place.is_dir():
        for file in sorted(place.glob("*.dev.tsv")):
            name = file.name.removesuffix(".dev.tsv")
            if name not in own:
                other = file.with_name(f"{name}.test.tsv")
                members.append(Member(read_word_logprobs(file), read_word_logprobs(other)))
    if models and (dev is None or test is None):
        raise UsageError("lm-interpolation-ensemble: give both texts: dev_data=FILE and test_data=FILE")
    for model in models:
        assert dev is not None
        assert test is not None
        member = Member(word_logprobs(model, dev), word_logprobs(model, test))
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
            write_word_logprobs(member.dev, place / f"{_file_name(model)}.dev.tsv")
            write_word_logprobs(member.test, place / f"{_file_name(model)}.test.tsv")
        members.append(member)
    if not members:
        raise UsageError("lm-interpolation-ensemble: no models; name some, or a folder of shared files")
    return members


def _file_name(model: LanguageModel) -> str:
    card = model.card
    return f"{''.join(c if c.isalnum() or c in '-_.' else '-' for c in card.name)}-{card.fingerprint[:8]}"


def _texts(given: Texts | None, file: str, what: str) -> Texts | None:
    if given is not None or not file:
        return given
    try:
        return [Path(file).read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text; give {what}_data=FILE") from error


def _logprobs(members: Sequence[WordLogprobs], unknown: Unknown) -> Floats:
    values = aligned(members)
    if unknown == "zero":
        values[np.stack([member.flat_unknown() for member in members])] = -np.inf
    return values


def _possible(fitted: Floats) -> Floats:
    impossible = int((~np.isfinite(fitted).any(axis=0)).sum())
    if impossible:
        raise InputError(
            f"lm-interpolation-ensemble: every model rules out {impossible} of the dev words, unknown to all; add "
            "a model without a closed vocabulary, or set unknown=class"
        )
    return fitted


def _notes(
    members: Sequence[Member], fitted: Floats, weights: Floats, best: int, unknown: Unknown
) -> tuple[str, ...]:
    dev = members[0].dev
    mixed, alone = (
        perplexity_interval(dev, mix(fitted, weights)).value,
        perplexity_interval(dev, fitted[best]).value,
    )
    share = np.mean([member.test.flat_unknown().mean() for member in members])
    notes = [f"on dev the mixture has perplexity {mixed:.2f}, its best member {alone:.2f}"]
    if share:
        treated = "given probability 0 for" if unknown == "zero" else "scored by class for"
        notes.append(f"models of a closed vocabulary are {treated} words outside it ({share:.1%} on average)")
    return tuple(notes)
