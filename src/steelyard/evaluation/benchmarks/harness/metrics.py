"""Metrics of one sample by the rules of lm-evaluation-harness, from scores or from filtered answers."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

import numpy as np
import regex  # type: ignore[import-untyped]

from steelyard.contracts import Score
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.harness.aggregation import Rule, corpus_statistics, statistic
from steelyard.evaluation.benchmarks.harness.config import HarnessConfig, MetricConfig, OutputType
from steelyard.evaluation.benchmarks.harness.fields import Target
from steelyard.parts import nearest

SECONDS = 2.0
NO_CHOICE = -100  # a gold answer that is none of the choices: always wrong

RULES: Mapping[OutputType, Mapping[str, tuple[Rule, bool]]] = {
    "loglikelihood": {"acc": ("mean", True), "perplexity": ("perplexity", False)},
    "loglikelihood_rolling": {
        "word_perplexity": ("weighted_perplexity", False),
        "byte_perplexity": ("weighted_perplexity", False),
        "bits_per_byte": ("bits_per_byte", False),
    },
    "multiple_choice": {
        "acc": ("mean", True),
        "acc_norm": ("mean", True),
        "acc_bytes": ("mean", True),
        "acc_mutual_info": ("mean", True),
        "exact_match": ("mean", True),
        "brier_score": ("brier_score", False),
        "f1": ("f1", True),
        "mcc": ("matthews_corrcoef", True),
    },
    "generate_until": {
        "exact_match": ("mean", True),
        "bleu": ("bleu", True),
        "chrf": ("chrf", True),
        "chrf++": ("chrf++", True),
        "ter": ("ter", False),
        "rouge1": ("mean", True),
        "rouge2": ("mean", True),
        "rougeL": ("mean", True),
    },
}
"""For each kind of output the metrics, how they are aggregated, and whether more is better."""

DEFAULTS: Mapping[OutputType, tuple[str, ...]] = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""What is computed where a configuration has no ``metric_list``."""

_EXACT_OPTIONS = ("regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers")


class Metric(NamedTuple):
    """One metric of a task: its name, rule of aggregation, direction and options."""

    name: str
    rule: Rule
    higher_is_better: bool
    options: Mapping[str, Any]


def metrics_of(config: HarnessConfig) -> list[Metric]:
    """The metrics a configuration asks for.

    Raises:
        InputError: One that its kind of output does not have, or with an option or aggregation it does not take.
        UsageError: The package that computes one is not installed.
    """
    kind = config.output_type
    listed = config.metric_list or [MetricConfig(metric=name) for name in DEFAULTS[kind]]
    return [_metric(one, kind) for one in listed]


def _metric(one: MetricConfig, kind: OutputType) -> Metric:
    known = RULES[kind]
    if one.metric not in known:
        raise InputError(
            f"metric_list: {kind} has no metric {one.metric!r}{nearest(one.metric, known)}; "
            f"it has {', '.join(known)}"
        )
    rule, higher = known[one.metric]
    package = "sacrebleu" if rule in ("bleu", "chrf", "chrf++", "ter") else "rouge_score"
    if (package == "sacrebleu" or one.metric.startswith("rouge")) and find_spec(package) is None:
        raise UsageError(
            f"the metric {one.metric} needs the package {package}: pip install 'steelyard[evaluation]'"
        )
    if one.aggregation not in (None, rule):
        raise InputError(f"metric_list: {one.metric} is aggregated by {rule}, not by {one.aggregation!r}")
    if one.higher_is_better not in (None, higher):
        raise InputError(f"metric_list: higher_is_better of {one.metric} is {higher}")
    allowed = _EXACT_OPTIONS if (kind, one.metric) == ("generate_until", "exact_match") else ()
    for option in one.options:
        if option not in allowed:
            raise InputError(f"metric_list: {one.metric} has no option {option!r}{nearest(option, allowed)}")
    return Metric(one.metric, rule, higher, one.options)


def gold_choices(gold: Target, choices: Sequence[str]) -> list[int]:
    """The numbers of the right choices; :data:`NO_CHOICE` for one that is not among them.

    >>> gold_choices("B", ["A", "B"])
    [1]
    """
    found = []
    for one in gold if isinstance(gold, list) else [gold]:
        if isinstance(one, int):
            found.append(one if 0 <= one < len(choices) else NO_CHOICE)
        else:
            found.append(list(choices).index(one) if one in choices else NO_CHOICE)
    return found


def choice_values(
    metrics: Sequence[Metric], choices: Sequence[str], gold: Sequence[int], scores: Sequence[Score]
) -> dict[str, float]:
    """The values of a multiple-choice sample; ties go to the earlier choice.

    ``acc`` takes the choice of highest log-likelihood, ``acc_norm`` per character, ``acc_bytes`` per UTF-8 byte
    and ``acc_mutual_info`` less that of the choice alone (the second half of ``scores``). ``exact_match``: the
    right choice is what greedy decoding writes. ``brier_score``: squared distance of softmax(l) from the right
    choice.

    Args:
        metrics: What to compute.
        choices: The choices without the delimiter before them.
        gold: Numbers of the right ones.
        scores: One a choice, then one a choice alone where mutual information is asked for.
    """
    count = len(choices)
    logprobs = np.array([score.logprob for score in scores[:count]])
    alone = np.array([score.logprob for score in scores[count:]])
    characters = np.array([float(len(choice)) for choice in choices])
    size = np.array([float(len(choice.encode("utf-8"))) for choice in choices])
    picked = {
        "acc": logprobs,
        "acc_norm": logprobs / characters,
        "acc_bytes": logprobs / size,
        "acc_mutual_info": logprobs - alone if len(alone) == count else logprobs,
    }
    values: dict[str, float] = {}
    for metric in metrics:
        name = metric.name
        if name in picked:
            values[name] = float(int(np.argmax(picked[name])) in gold)
        elif name == "exact_match":
            values[name] = float(any(scores[i].greedy for i in gold if i != NO_CHOICE))
        elif name == "brier_score":
            values[name] = brier(logprobs, gold[0])
        else:
            said = int(np.argmax(logprobs))
            values |= {name: float(said == gold[0]), statistic(name, 0): gold[0], statistic(name, 1): said}
    return values


def brier(logprobs: np.ndarray[Any, Any], gold: int) -> float:
    """sum_c (p_c - [c = gold])^2 with p = softmax(logprobs).

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    shifted = np.exp(logprobs - logprobs.max())
    return float(np.square(shifted / shifted.sum() - (np.arange(len(logprobs)) == gold)).sum())


def true_share(scores: Sequence[Score], labels: Sequence[int]) -> float:
    """TruthfulQA's MC2: the share of the true answers (label 1) in the probability of all."""
    logprobs = np.array([score.logprob for score in scores])
    shares = np.exp(logprobs - logprobs.max())
    return float(shares[np.array(labels) == 1].sum() / shares.sum())


def likelihood_values(metrics: Sequence[Metric], score: Score) -> dict[str, float]:
    """``acc``: greedy decoding writes the target. ``perplexity``: its surprisal -log P in nats, to be averaged."""
    found = {"acc": float(score.greedy), "perplexity": -score.logprob}
    return {metric.name: found[metric.name] for metric in metrics}


class Rolling(NamedTuple):
    """Values and their denominators."""

    values: dict[str, float]
    weights: dict[str, float]


def rolling_values(metrics: Sequence[Metric], logprob: float, counted: str) -> Rolling:
    """Surprisal per word or byte of ``counted`` (nats; bits for ``bits_per_byte``), with the count as weight.

    Words are what white space separates, counted as the harness does: an empty piece at either end counts.
    """
    words = float(len(re.split(r"\s+", counted)))
    size = float(len(counted.encode("utf-8")))
    weights = {m.name: words if m.name == "word_perplexity" else size for m in metrics}
    if not size:
        raise InputError("doc_to_target: an empty text has no perplexity; leave the document out")
    unit = {m.name: math.log(2) if m.name == "bits_per_byte" else 1.0 for m in metrics}
    return Rolling({name: -logprob / unit[name] / weight for name, weight in weights.items()}, weights)


def answer_values(metrics: Sequence[Metric], answer: str, references: Sequence[str]) -> dict[str, float]:
    """The values of a generated answer against its references; the best of several counts.

    BLEU, chrF and TER keep their sufficient statistics beside the sentence's own score; ROUGE is the F-measure of
    rouge-score without stemming, 0 to 1.
    """
    values: dict[str, float] = {}
    for metric in metrics:
        name = metric.name
        if name == "exact_match":
            values[name] = max(exact_match(answer, reference, **metric.options) for reference in references)
        elif name.startswith("rouge"):
            values[name] = max(_rouge(name, answer, reference) for reference in references)
        else:
            score, statistics = corpus_statistics(cast(Rule, name), answer, references)
            values[name] = score
            values |= {statistic(name, i): value for i, value in enumerate(statistics)}
    return values


def exact_match(
    answer: str,
    reference: str,
    *,
    regexes_to_ignore: Sequence[str] | None = None,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
) -> float:
    """1 if the two are equal once what is to be ignored is gone from both.

    >>> exact_match("The answer: 1,000.", "the answer: 1000", regexes_to_ignore=[",", r"[.]$"], ignore_case=True)
    1.0
    """
    gone = (string.punctuation if ignore_punctuation else "") + (string.digits if ignore_numbers else "")
    table = str.maketrans("", "", gone)
    pair = []
    for text in (answer, reference):
        for pattern in regexes_to_ignore or ():
            text = _without(pattern, text)
        text = text.lower() if ignore_case else text
        pair.append(text.translate(table))
    return float(pair[0] == pair[1])


def _without(pattern: str, text: str) -> str:
    try:
        return str(regex.sub(pattern, "", text, timeout=SECONDS))
    except TimeoutError:
        raise InputError(f"regexes_to_ignore: {pattern!r} took longer than {SECONDS:g} s; simplify it") from None
    except regex.error as error:
        raise InputError(f"regexes_to_ignore: {pattern!r} is no regular expression ({error})") from None


def _rouge(name: str, answer: str, reference: str) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    return float(RougeScorer([name]).score(reference, answer)[name].fmeasure)
