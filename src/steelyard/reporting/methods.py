"""How the numbers of a report were worked out, in sentences for its reader."""

from __future__ import annotations

from collections.abc import Mapping

INTERVALS = (
    "Intervals are 95% confidence intervals: Wilson's for samples that are right or wrong, the bias-corrected"
    " and accelerated bootstrap for other means, the delta method for ratios such as bits per byte.",
    "n is the number of samples behind a number.",
)
CALIBRATION = (
    "Confidence is the share of the chosen answer in the total probability of all choices. The expected"
    " calibration error is the mean distance between accuracy and mean confidence in ten bins of equal width,"
    " weighted by their samples, with a basic bootstrap interval; its level under perfect calibration comes from"
    " outcomes redrawn at the stated confidences."
)
DETECTABLE = (
    "The detectable difference is the smallest true difference that as many samples, with the spread of paired"
    " differences observed here, would show with the power named: a smaller one may be there and go unseen."
)
PAIRED = (
    "Two systems are compared on the samples both answered: the mean of the paired differences with its own"
    " interval, and an exact McNemar test where every sample is right or wrong, otherwise a sign-flip permutation"
    " test. The p-values of groups are corrected together by Holm's method."
)
SEARCH = (
    "Each system is compared with the leader (the best measured) on the samples both answered: the mean of"
    " the paired differences with its own interval, and an exact McNemar test where every sample is right"
    " or wrong, otherwise a sign-flip permutation test. These p-values are corrected together by Holm's"
    " method.",
    "The search leaves out what the choice can do without: from the paired results so far the final ones"
    " are predicted many times by the Bayesian bootstrap. Elimination drops systems while the share of"
    " predictions in which another would be handed over stays within 1%; a bandit search ends when it is"
    " at most 5%.",
)
MEAN_OF_TASKS = (
    "A mean over tasks weighs every task alike; its interval takes the tasks as fixed and their samples as drawn."
)
MEASURED = (
    "What the numbers are is said beside them; intervals are 95% confidence intervals.",
    "n is the number of observations behind a number.",
)
RANKED = (
    "Scores and their 95% intervals are those of the ranking method named above; n is the number of comparisons or"
    " samples behind a number.",
    "Overlapping intervals are no test: a difference is shown only where a test of the two systems says so, with"
    " the p-values of all tests corrected together.",
)
COMPRESSED = (
    "Accuracy is the share of right items over all tasks, each item weighing alike. The rise of bits per byte is"
    " relative, over all windows, each weighing by its length. A loss stays within a limit where the upper end"
    " of its interval does. Seconds are measured in turns in one process; the ratio is the compressed model's"
    " over the original's."
)
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "tune": (*INTERVALS, *SEARCH),
    "eval": (*INTERVALS, CALIBRATION),
    "suite": (*INTERVALS, MEAN_OF_TASKS, CALIBRATION),
    "measure": MEASURED,
    "comparison": (*INTERVALS, PAIRED, DETECTABLE),
    "rank": RANKED,
    "compress": (*INTERVALS, PAIRED, COMPRESSED),
}


def statistics_text(kind: str, reference: str = "") -> list[str]:
    """How the numbers of a record of this kind were worked out; ``reference`` is what a tune's ratios refer to."""
    sentences = list(SENTENCES[kind])
    if kind == "tune":
        name = f" ({reference})" if reference else ""
        sentences.append(
            f"Each system is timed in turns with a reference system{name}, sample by sample in one process; the"
            " ratio is the mean of its seconds over the reference's on the same samples."
        )
    return sentences
