"""What a compression costs in quality: both models on the same texts and the same questions, paired.

plan = check_plan(held_out, "texts/", items=12)
quality = measure_quality(original, compressed, plan, store=store)
quality.bits_per_byte.loss                  # Interval: relative increase
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.compression.held_out import text_windows
from steelyard.contracts import Interval, LanguageModel, Marks, Progress, Result, Sample, Task, Texts
from steelyard.evaluation.benchmarks.quick.quick import quick_skills
from steelyard.evaluation.compare import Comparison, GroupDifference, compare
from steelyard.evaluation.evaluate import Evaluation, ResultStore, evaluate
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.statistics import ratio_interval

WINDOWS = 24
"""Windows of about 1000 characters that held-out texts are measured on."""
ITEMS = 12
"""Items of every task of the quick suite that are asked unless more or fewer are wanted."""
NAMES = ("the original", "the compressed model")
SIDES = ("before", "after")


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What both models are measured on.

    Attributes:
        texts: Windows of held-out text, ranked by bits per byte.
        source: In words, where these texts come from.
        tasks: Tasks whose items are right or wrong.
        items: The first so many of each are asked.
    """

    texts: QuestionTask
    source: str
    tasks: tuple[Task, ...]
    items: int

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """The texts, then the tasks."""
        return (self.texts, *self.tasks)


@dataclass(frozen=True, slots=True)
class Paired:
    """One measure of both models on the same ``loss.n`` samples.

    ``difference`` is after minus before. ``loss`` is what the compression cost, larger is worse: of bits per byte
    and of perplexity the relative increase, of accuracy the drop (a share of all items).
    """

    before: Interval
    after: Interval
    difference: Interval
    loss: Interval
    p_value: float
    test: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Everything that was measured.

    ``perplexity`` is that of a token of the model's own vocabulary. ``accuracy`` is the share of right items over
    all tasks, None where no task was asked; ``tasks`` has the differences task by task, p-values corrected
    together. ``evaluations`` are the texts' and the tasks', before and after.
    """

    bits_per_byte: Paired
    perplexity: Paired
    accuracy: Paired | None
    tasks: tuple[GroupDifference, ...]
    evaluations: Mapping[str, Sequence[Evaluation]]


def check_plan(held_out: Texts, source: str, *, items: int = ITEMS, windows: int = WINDOWS) -> CheckPlan:
    """Windows of ``held_out``, and the questions of the quick suite (none with ``items`` 0).

    The suite's own texts are left out: held-out texts take their place.
    """
    rows = tuple(
        Sample(str(number), {"text": window})
        for number, window in enumerate(text_windows(held_out, windows=windows))
    )
    texts = QuestionTask("held-out texts", rows, "bits_per_byte", source=source)
    tasks = tuple(one.task for one in quick_skills() if one.task.higher_is_better) if items else ()
    return CheckPlan(texts, source, tasks, items)


def measure_quality(
    before: LanguageModel,
    after: LanguageModel,
    plan: CheckPlan,
    *,
    store: ResultStore | None = None,
    progress: Progress | None = None,
) -> Quality:
    """Measure both models on the plan; what the store has is not measured again.

    Raises:
        ModelError: A model gives NaN, or no probability at all to a text.
    """
    found: dict[str, list[Evaluation]] = {}
    for side, name, model in zip(SIDES, NAMES, (before, after), strict=True):
        if progress is not None:
            progress.note(f"measuring {name}")
        found[side] = [_measured(model, task, plan, store, progress) for task in plan.all_tasks]
    return quality_of(found)


def quality_of(found: Mapping[str, Sequence[Evaluation]]) -> Quality:
    """What evaluations ``before`` and ``after``, first of the texts and then of the tasks, say together."""
    first, second = (found[side][0] for side in SIDES)
    tasks = [found[side][1:] for side in SIDES]
    accuracy = _accuracy(*tasks) if tasks[0] else None
    return Quality(
        bits_per_byte=_bits_per_byte(first, second),
        perplexity=_perplexity(first, second),
        accuracy=None if accuracy is None else _drop(accuracy),
        tasks=() if accuracy is None else accuracy.groups,
        evaluations=found,
    )


def limit_problems(quality: Quality, max_loss: float) -> list[str]:
    """Which losses are not shown to stay within ``max_loss``, a sentence each.

    A loss stays within the limit where the upper end of its paired 95% interval does: bits per byte rose by no
    more than that share, and the share of right items fell by no more than that (0.02 is two points).
    """
    measured = [("bits per byte", "a rise", quality.bits_per_byte.loss)]
    if quality.accuracy is not None:
        measured.append(("quick-suite accuracy", "a drop", quality.accuracy.loss))
    return [
        f"{name}: {what} of {loss.value:+.1%} [{loss.low:+.1%}, {loss.high:+.1%}] on {loss.n} samples is not shown"
        f" to be at most {max_loss:.1%}"
        for name, what, loss in measured
        if not loss.high <= max_loss
    ]


def _measured(
    model: LanguageModel, task: Task, plan: CheckPlan, store: ResultStore | None, progress: Progress | None
) -> Evaluation:
    ids = None if task is plan.texts else [sample.id for sample in task.samples()[: plan.items]]
    return evaluate(model, task, store=store, sample_ids=ids, progress=progress)


def _bits_per_byte(before: Evaluation, after: Evaluation) -> Paired:
    found = compare(after, before, names=(NAMES[1], NAMES[0]))
    metric = before.metric
    first, second = (
        np.array([r.marks.values[metric] * r.marks.weights[metric] for r in side.results])
        for side in (before, after)
    )
    loss = ratio_interval(second - first, first)
    return Paired(found.second, found.first, found.difference, loss, found.p_value, found.test)


def _perplexity(before: Evaluation, after: Evaluation) -> Paired:
    """Perplexity of a token: exp of all windows' nats over their tokens, which are the same on both sides."""
    (first, tokens), (second, _) = _nats(before), _nats(after)
    found = compare(after, before)  # the same windows: a test of nats is a test of bits
    one, two = (_mapped(ratio_interval(nats, tokens), math.exp) for nats in (first, second))
    rise = _mapped(ratio_interval(second - first, tokens), math.expm1)
    difference = _mapped(rise, lambda share: share * one.value)
    return Paired(one, two, difference, rise, found.p_value, found.test)


def _nats(done: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores: list[Mapping[str, Any]] = [result.responses[0] for result in done.results]
    nats = np.array([-float(score["logprob"]) for score in scores])
    return nats, np.array([float(len(score["token_logprobs"])) for score in scores])


def _accuracy(before: Sequence[Evaluation], after: Sequence[Evaluation]) -> Comparison:
    """All items of all tasks together, each weighing alike, with the tasks as groups."""
    return compare(
        [result for done in after for result in _right(done)],
        [result for done in before for result in _right(done)],
        "accuracy",
        names=(NAMES[1], NAMES[0]),
        higher_is_better=True,
    )


def _right(done: Evaluation) -> list[Result]:
    """A task's results under one metric's name, with ids that no other task has."""
    return [
        Result(f"{done.task}/{r.sample_id}", Marks({"accuracy": r.marks.values[done.metric]}), group=done.task)
        for r in done.results
    ]


def _drop(found: Comparison) -> Paired:
    value, low, high, n = found.difference
    loss = Interval(-value, -high, -low, n)
    return Paired(found.second, found.first, found.difference, loss, found.p_value, found.test)


def _mapped(interval: Interval, change: Callable[[float], float]) -> Interval:
    """An interval under an increasing function; ends that are not known stay unknown."""
    value, low, high = (end if math.isinf(end) else change(min(end, 700.0)) for end in interval[:3])
    return Interval(value, low, high, interval.n)
