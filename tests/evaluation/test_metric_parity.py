"""Every metric against an independent implementation, on fixtures held as data files."""

from __future__ import annotations

import json
import math
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steelyard.contracts import Marks, Score
from steelyard.evaluation import grading, significance, statistics
from steelyard.evaluation.benchmarks.harness import aggregation, metrics
from steelyard.evaluation.benchmarks.harness.metrics import RULES as METRIC_RULES
from steelyard.evaluation.benchmarks.harness.metrics import Metric
from steelyard.evaluation.summary import summarise_marks

FIXTURES = Path(__file__).parent / "fixtures" / "metrics"
PAIRS: list[dict[str, Any]] = json.loads((FIXTURES / "answers.json").read_text(encoding="utf-8"))["pairs"]
DATA: dict[str, Any] = json.loads((FIXTURES / "measurements.json").read_text(encoding="utf-8"))
FIRST, SECOND = np.array(DATA["first"]), np.array(DATA["second"])
VALUES, OTHERS = np.array(DATA["values"]), np.array(DATA["others"])


class Words:
    """rouge-score's tokenizer interface over SQuAD's normalisation, written out anew."""

    def tokenize(self, text: str) -> list[str]:
        kept = "".join(" " if c.isspace() else c for c in text.lower() if c not in set(string.punctuation))
        return [word for word in kept.split() if word not in ("a", "an", "the")]


def test_token_f1_is_rouge_1_over_normalised_words() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1"], tokenizer=Words())
    for pair in PAIRS:
        if not Words().tokenize(pair["prediction"]):
            continue  # SQuAD counts two empty answers as equal, ROUGE does not
        best = max(scorer.score(answer, pair["prediction"])["rouge1"].fmeasure for answer in pair["accepted"])
        assert grading.token_f1(pair["prediction"], pair["accepted"]) == pytest.approx(best)


def test_exact_match_is_the_harness_s() -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.api.metrics import exact_match_hf_evaluate

    ignored = [r"(?i)\b(a|an|the)\b\s*"]
    found = []
    for pair in PAIRS:
        if not pair["prediction"] or pair["accepted"] == ["the"]:
            continue  # an answer that normalises to nothing is compared as written here
        accepted = pair["accepted"]
        same = exact_match_hf_evaluate([pair["prediction"]] * len(accepted), accepted, ignored, True, True)
        found.append(grading.exact_match(pair["prediction"], accepted))
        assert found[-1] == float(same["exact_match"] > 0), pair
    assert 0 < sum(found) < len(found)


def test_contains_is_a_search_for_whole_words() -> None:
    found = []
    for pair in PAIRS:
        said = " ".join(Words().tokenize(pair["prediction"]))
        wanted = [" ".join(Words().tokenize(answer)) for answer in pair["accepted"]]
        expected = any(re.search(rf"(^| ){re.escape(one)}( |$)", said) for one in wanted if one)
        if all(wanted):
            found.append(grading.contains(pair["prediction"], pair["accepted"]))
            assert found[-1] == float(expected), pair
    assert 0 < sum(found) < len(found)


def test_choice_metrics() -> None:
    """Accuracies by scikit-learn over numpy's choices; confidence by SciPy's softmax; Brier's score by both."""
    from scipy.special import softmax
    from sklearn.metrics import accuracy_score, brier_score_loss

    choices = ["short", "a longer one", "the longest of all"]
    gold = [row["gold"] for row in DATA["choices"]]
    table = np.array([row["logprobs"] for row in DATA["choices"]])
    marks = [
        grading.choice_marks(choices, g, row.tolist(), [1, 3, 4])[0] for g, row in zip(gold, table, strict=True)
    ]
    lengths = {
        "accuracy": [1, 1, 1],
        "accuracy_norm": [len(c) for c in choices],
        "accuracy_token": [1, 3, 4],
        "accuracy_byte": [len(c.encode()) for c in choices],
    }
    for name, length in lengths.items():
        expected = accuracy_score(gold, np.argmax(table / np.array(length), axis=1))
        assert np.mean([mark[name] for mark in marks]) == pytest.approx(expected), name
    shares = softmax(table, axis=1)
    assert [mark["confidence"] for mark in marks] == pytest.approx(shares.max(axis=1).tolist())
    brier = np.mean([metrics.brier(row, g) for row, g in zip(table, gold, strict=True)])
    assert brier == pytest.approx(brier_score_loss(gold, shares, scale_by_half=False))
    assert statistics.mean_interval([mark["accuracy"] for mark in marks]).value == pytest.approx(
        accuracy_score(gold, table.argmax(axis=1))
    )


def test_f1_and_matthews_are_scikit_learn_s() -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    pairs = np.stack([FIRST, SECOND], axis=1)
    assert aggregation.binary_f1(pairs) == pytest.approx(f1_score(FIRST, SECOND))
    assert aggregation.matthews(pairs) == pytest.approx(matthews_corrcoef(FIRST, SECOND))
    gold = np.array([row["gold"] for row in DATA["choices"]])
    said = np.array([int(np.argmax(row["logprobs"])) for row in DATA["choices"]])
    assert aggregation.matthews(np.stack([gold, said], axis=1)) == pytest.approx(matthews_corrcoef(gold, said))
    assert aggregation.matthews(np.ones((4, 2))) == matthews_corrcoef([1] * 4, [1] * 4)


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
def test_corpus_metrics_are_sacrebleu_s(name: str) -> None:
    import sacrebleu

    answers = [pair["prediction"] for pair in PAIRS]
    references = [pair["accepted"][0] for pair in PAIRS]
    theirs: dict[str, Any] = {
        "bleu": sacrebleu.corpus_bleu,
        "chrf": sacrebleu.corpus_chrf,
        "chrf++": lambda *given: sacrebleu.corpus_chrf(*given, word_order=2),
        "ter": sacrebleu.corpus_ter,
    }
    rule, higher = METRIC_RULES["generate_until"][name]
    asked = [Metric(name, rule, higher, {})]
    marks = [Marks(metrics.answer_values(asked, a, [r])) for a, r in zip(answers, references, strict=True)]
    found = aggregation.estimate(name, rule, marks)
    assert found.interval.value == pytest.approx(theirs[name](answers, [references]).score)
    assert found.interval.low <= found.interval.value <= found.interval.high
    assert found.stderr > 0


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_the_overlap_of_n_grams(name: str) -> None:
    """rouge-score's numbers against sub-sequences and n-grams counted here."""
    rule, higher = METRIC_RULES["generate_until"][name]
    for pair in PAIRS:
        reference = pair["accepted"][0]
        said, wanted = (re.findall(r"[a-z0-9]+", text.lower()) for text in (pair["prediction"], reference))
        if name == "rougeL":
            common, sizes = longest_common(said, wanted), (len(said), len(wanted))
        else:
            n = int(name[-1])
            grams = [[tuple(words[i : i + n]) for i in range(len(words) - n + 1)] for words in (said, wanted)]
            common = sum(min(grams[0].count(g), grams[1].count(g)) for g in set(grams[0]))
            sizes = (len(grams[0]), len(grams[1]))
        expected = 2 * common / sum(sizes) if common else 0.0
        found = metrics.answer_values([Metric(name, rule, higher, {})], pair["prediction"], [reference])
        assert found[name] == pytest.approx(expected), pair


def longest_common(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return longest_common(a[:-1], b[:-1]) + 1
    return max(longest_common(a[:-1], b), longest_common(a, b[:-1]))


def test_bits_per_byte_and_perplexities() -> None:
    """The ratio of sums by numpy, and exp(-mean) by SciPy's geometric mean of probabilities."""
    from scipy.stats import gmean

    amounts, sizes = np.array(DATA["amounts"]), np.array(DATA["sizes"])
    marks = []
    for nats, size in zip(amounts, sizes, strict=True):
        bits, counted = grading.bits_per_byte(-float(nats), "x" * int(size))
        marks.append(Marks({"bits_per_byte": bits}, weights={"bits_per_byte": counted}))
    summary = summarise_marks(marks, [1.0] * len(marks))
    expected = amounts.sum() / sizes.sum() / math.log(2)
    assert summary["bits_per_byte"].value == pytest.approx(expected)
    assert summary["byte_perplexity"].value == pytest.approx(math.exp(amounts.sum() / sizes.sum()))
    asked = [Metric("perplexity", "perplexity", False, {})]
    scores = [Score(-float(v), (), (), 1, False) for v in VALUES]
    words = [Marks(metrics.likelihood_values(asked, score)) for score in scores]
    found = aggregation.estimate("perplexity", "perplexity", words).interval.value
    assert found == pytest.approx(1 / gmean(np.exp(-VALUES)))


def test_wilson_is_statsmodels_s() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for count, n in ((0, 9), (7, 9), (9, 9), (int(FIRST.sum()), len(FIRST))):
        for level in (0.9, 0.95):
            expected = proportion_confint(count, n, alpha=1 - level, method="wilson")
            assert statistics.wilson_interval(count, n, level=level) == pytest.approx(expected, abs=1e-12)


def test_student_s_interval_is_scipy_s_and_statsmodels_s() -> None:
    from scipy import stats
    from statsmodels.stats.weightstats import DescrStatsW

    found = statistics.mean_interval(VALUES, method="t")
    assert found[1:3] == pytest.approx(DescrStatsW(VALUES).tconfint_mean())
    paired = statistics.paired_difference(VALUES, OTHERS)
    assert paired[1:3] == pytest.approx(tuple(stats.ttest_rel(VALUES, OTHERS).confidence_interval()))
    assert statistics.t_value(0.95, 7) == pytest.approx(stats.t.ppf(0.975, 7))
    assert statistics.z_value(0.9) == pytest.approx(stats.norm.ppf(0.95))
    assert aggregation.standard_error(VALUES.tolist()) == pytest.approx(stats.sem(VALUES))


def test_the_bootstrap_is_scipy_s() -> None:
    from scipy import stats

    skewed = np.exp(3 * VALUES)
    found = statistics.mean_interval(skewed, resamples=8000)
    theirs = stats.bootstrap((skewed,), np.mean, n_resamples=8000, method="BCa", rng=np.random.default_rng(1))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_clustered_intervals_are_statsmodels_s() -> None:
    import statsmodels.api as sm

    groups = np.unique(DATA["clusters"], return_inverse=True)[1]
    fit = sm.OLS(VALUES, np.ones(len(VALUES))).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    found = statistics.clustered_interval(VALUES, DATA["clusters"])
    assert found.value == pytest.approx(float(fit.params[0]))
    assert found[1:3] == pytest.approx(tuple(fit.conf_int()[0]))


def test_ratio_intervals_are_the_delta_method_s() -> None:
    from scipy import stats
    from statsmodels.stats._delta_method import NonlinearDeltaCov

    a, b = np.array(DATA["amounts"]), np.array(DATA["sizes"])
    spread = np.cov(np.stack([a, b])) / len(a)
    delta = NonlinearDeltaCov(
        lambda means: np.atleast_1d(means[0] / means[1]), np.array([a.mean(), b.mean()]), spread
    )
    half = stats.t.ppf(0.975, len(a) - 1) * math.sqrt(float(np.squeeze(delta.cov())))
    found = statistics.ratio_interval(a, b)
    assert found[:3] == pytest.approx(
        (a.sum() / b.sum(), a.sum() / b.sum() - half, a.sum() / b.sum() + half), rel=1e-6
    )


def test_quantile_intervals_are_scipy_s() -> None:
    from scipy import stats

    for quantile in (0.25, 0.5, 0.9):
        theirs = stats.quantile_test(VALUES, p=quantile).confidence_interval(0.95)
        found = statistics.quantile_interval(VALUES, quantile)
        assert found.value == pytest.approx(np.quantile(VALUES, quantile))
        assert found[1:3] == pytest.approx((theirs.low, theirs.high)), quantile
    assert statistics.quantile_interval(VALUES, 0.99).high == math.inf


def test_mcnemar_is_statsmodels_s() -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[int(((i == FIRST) & (j == SECOND)).sum()) for j in (1, 0)] for i in (1, 0)]
    assert significance.mcnemar_exact(FIRST, SECOND) == pytest.approx(float(mcnemar(table, exact=True).pvalue))


def test_permutation_test_is_scipy_s() -> None:
    from scipy import stats

    d = (VALUES - OTHERS)[:10]
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert significance.permutation_test(d) == pytest.approx(float(theirs.pvalue))


def test_holm_is_statsmodels_s() -> None:
    from statsmodels.stats.multitest import multipletests

    assert significance.holm(DATA["p_values"]) == pytest.approx(multipletests(DATA["p_values"], method="holm")[1])


def test_minimum_detectable_difference_is_statsmodels_s() -> None:
    from statsmodels.stats.power import NormalIndPower

    theirs = NormalIndPower(ddof=0).solve_power(nobs1=80, alpha=0.05, power=0.8, ratio=0)
    assert significance.minimum_detectable_difference(80, 0.4) == pytest.approx(0.4 * float(theirs), rel=1e-4)


def test_rank_stability_is_a_bootstrap_of_ranks() -> None:
    from scipy import stats

    systems = np.stack([FIRST, SECOND, 1 - FIRST]).astype(float)
    theirs = stats.bootstrap(
        tuple(systems[:2]),
        lambda a, b, axis=-1: (a.mean(axis) > b.mean(axis)) + 0.5 * np.isclose(a.mean(axis), b.mean(axis)),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    found = significance.rank_stability(systems, resamples=4000)
    assert found.above[0, 1] == pytest.approx(theirs.bootstrap_distribution.mean(), abs=0.03)
    assert found.first.sum() == pytest.approx(1.0)
