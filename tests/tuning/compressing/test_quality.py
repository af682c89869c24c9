from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from steelyard.contracts import Interval
from steelyard.errors import ModelError
from steelyard.models.scripted import ScriptedModel
from steelyard.tuning.compressing import quality as module
from steelyard.tuning.compressing.quality import Paired, Quality, check_plan, limit_problems, measure_quality

TEXT = " ".join(f"the scales of the {number}th hall hang still" for number in range(800))


def reader(bits: float, name: str) -> Any:
    """Gives every byte so many bits, more for some windows than for others."""
    return ScriptedModel(scores=lambda _context, text: -bits * math.log(2) * len(text) * (1 + len(text) % 7 / 50))


def measured(before: Any, after: Any) -> Quality:
    return measure_quality(before, after, check_plan([TEXT], "a text", items=0))


def test_the_loss_of_bits_is_relative_and_paired() -> None:
    found = measured(reader(2.0, "a"), reader(2.1, "b")).bits_per_byte
    assert found.loss.value == pytest.approx(0.05)
    assert found.loss.high - found.loss.low < 1e-6  # every window costs five percent more
    assert found.difference.value == pytest.approx(found.after.value - found.before.value)
    assert found.p_value < 0.05
    assert found.loss.n == module.WINDOWS


def test_a_model_loses_nothing_against_itself() -> None:
    same = reader(2.0, "a")
    found = measured(same, same)
    assert found.bits_per_byte.loss[:3] == (0.0, 0.0, 0.0)
    assert found.perplexity.loss.value == 0.0
    assert limit_problems(found, 0.0) == []


def test_perplexity_is_of_the_models_tokens() -> None:
    found = measured(reader(2.0, "a"), reader(2.1, "b"))
    before, after = found.perplexity.before.value, found.perplexity.after.value
    assert found.perplexity.loss.value == pytest.approx(after / before - 1)
    assert found.perplexity.loss.value == pytest.approx(before**0.05 - 1, rel=1e-6)


def paired(value: float, low: float, high: float) -> Paired:
    loss = Interval(value, low, high, 100)
    return Paired(loss, loss, loss, loss, 0.5, "a test")


@pytest.mark.parametrize(
    ("bits", "right", "named"),
    [
        ((0.01, 0.005, 0.019), (0.0, -0.01, 0.01), []),
        ((0.01, 0.005, 0.021), (0.0, -0.01, 0.01), ["bits per byte"]),
        ((0.01, 0.005, 0.019), (0.01, -0.01, 0.03), ["quick-suite accuracy"]),
        ((-0.01, -0.02, 0.0), None, []),
        ((0.01, -math.inf, math.inf), (0.5, 0.4, 0.6), ["bits per byte", "quick-suite accuracy"]),
    ],
)
def test_the_upper_end_of_every_loss_must_keep_the_limit(bits: Any, right: Any, named: Sequence[str]) -> None:
    accuracy = None if right is None else paired(*right)
    found = Quality(paired(*bits), paired(9.0, 9.0, 9.0), accuracy, (), {})
    assert [problem.split(":")[0] for problem in limit_problems(found, 0.02)] == named


def test_a_broken_model_is_no_compression() -> None:
    with pytest.raises(ModelError):
        measured(reader(2.0, "a"), ScriptedModel(scores=lambda _context, _text: math.nan))


def test_items_are_pooled_with_a_row_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right answers of one side are known; what it loses is then known too."""
    plan = check_plan([TEXT], "a text", items=4)
    assert all(task.higher_is_better for task in plan.tasks)
    graded: dict[str, dict[str, list[float]]] = {task.name: {} for task in plan.tasks}

    def evaluated(model: Any, task: Any, **options: Any) -> Any:
        done = original(model, task, **options)
        if task.name in graded:
            graded[task.name][model.card.fingerprint] = [r.marks.values[done.metric] for r in done.results]
        return done

    original = module.evaluate
    monkeypatch.setattr(module, "evaluate", evaluated)
    before = ScriptedModel(answers=lambda _prompt: "7", scores=lambda _c, text: -float(len(text)), name="one")
    after = ScriptedModel(answers=lambda _prompt: "x", scores=lambda _c, text: -1.0 / len(text), name="two")
    found = measure_quality(before, after, plan)
    sides = [
        [value for task in graded.values() for value in task[side.card.fingerprint]] for side in (before, after)
    ]
    assert found.accuracy is not None
    assert found.accuracy.loss.n == 4 * len(plan.tasks)
    assert found.accuracy.loss.value == pytest.approx((sum(sides[0]) - sum(sides[1])) / len(sides[0]))
    assert found.accuracy.difference.value == pytest.approx(-found.accuracy.loss.value)
    assert {row.group for row in found.tasks} == set(graded)
