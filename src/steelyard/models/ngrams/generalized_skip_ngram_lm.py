"""Word n-gram language models with modified Kneser-Ney smoothing, backing off over skipped positions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from steelyard.contracts import AppliedPart, Texts
from steelyard.errors import InputError
from steelyard.models.ngrams.counts import count_patterns
from steelyard.models.ngrams.model import NgramModel
from steelyard.models.ngrams.smoothing import Discounting, smooth
from steelyard.models.ngrams.words import build_vocabulary, encode_sentences, sentences
from steelyard.parts import part


@part(papers=[137], kind="model")
def generalized_skip_ngram_lm(
    corpus: Texts,
    *,
    order: Annotated[int, Field(ge=1, le=8)] = 4,
    backoff: Literal["skip", "left"] = "skip",
    discounts: Discounting = "modified",
    min_count: PositiveInt = 1,
    fallback: bool = False,
) -> NgramModel:
    r"""A word n-gram model that backs off to every context with one word position skipped.

    With h the context words in use, c counts (continuation counts below the highest order, over gaps as well)
    and D the discounts of modified Kneser-Ney, estimated for each pattern of used positions,

        P(w | h) = max(c(h w) - D(c(h w)), 0) / c(h .) + gamma(h) * mean over j in h of P(w | h without j)

    down to unigrams, which are interpolated with the uniform distribution over the vocabulary. A skipped first
    word shortens the context instead of leaving a gap. All 2^(order-1) patterns are counted, so time and memory
    double with each order. Probabilities sum to one for any context; ``NgramModel`` says what a token is.

    Args:
        corpus: texts; each of their lines is a sentence, words are what white space separates.
        order: words of the longest n-grams, the predicted one included.
        backoff: ``skip`` is the generalized model; ``left`` drops the first context word only, which is
            interpolated modified Kneser-Ney, the same as KenLM's.
        discounts: ``modified`` takes three discounts, for counts of 1, 2 and more; ``single`` one, which is
            interpolated Kneser-Ney as first published.
        min_count: words seen less often become ``<unk>``; with 1, ``<unk>`` has the share of the uniform
            distribution.
        fallback: take the discounts 0.5, 1 and 1.5 where a corpus is too small to estimate them.

    Returns:
        A ``LanguageModel`` with ``save`` (``.npz``); ``ngram:FILE`` loads it, and trains on a text file.

    Raises:
        InputError: no sentences, or discounts that cannot be estimated.

    Source:
        A Generalized Language Model as the Combination of Skipped n-grams and Modified Kneser-Ney Smoothing
        (2014), equations 4 to 6; where several positions are skipped, a continuation count is the number of
        different ways to fill them all. Discounts: Chen and Goodman 1999, equation 26. ``<s>`` and ``</s>`` as
        in Heafield et al. 2013. Where the authors' program and their text differ, the text is followed, so that
        probabilities sum to one: the program gives unseen words 1/(N+1) on top of the rest, and its average over
        lower patterns also runs over the one without the predicted word, which its own comments conjecture to be
        worth a huge perplexity gain. The gain that the paper reports was not found with the normalised model; see
        the part's evidence.

    Relations:
        ``one-billion-word`` takes ``backoff="left", discounts="single"`` as its baseline;
        ``lm-interpolation-ensemble`` mixes it with other models over words.

    Example:
        >>> model = generalized_skip_ngram_lm(["the cat sat\nthe dog sat"] * 2, order=2, fallback=True)
        >>> round(float(model.distribution(["the"]).sum()), 9)
        1.0
    """
    lines = list(sentences(corpus))
    if not lines:
        raise InputError(
            "part 'generalized-skip-ngram-lm': the corpus holds no words; give texts with a sentence a line"
        )
    vocabulary = build_vocabulary(lines, min_count)
    skips = backoff == "skip"
    tables = count_patterns(encode_sentences(vocabulary, lines), len(vocabulary), order, skips)
    smoothed = smooth(tables, len(vocabulary), order, skips, method=discounts, fallback=fallback)
    settings = {
        "order": order,
        "backoff": backoff,
        "discounts": discounts,
        "min_count": min_count,
        "fallback": fallback,
    }
    kind = "skip" if skips else "kneser-ney"
    applied = AppliedPart("generalized-skip-ngram-lm", settings)
    return NgramModel(vocabulary, smoothed, f"{kind}-{order}gram", applied)
