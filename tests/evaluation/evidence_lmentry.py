"""LMentry: SmolLM2-135M on official and generated items, and what the scorers and the score must show."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from evidence_record import Claim, write_evidence
from steelyard.contracts import Ask, Interval, PromptStyle
from steelyard.evaluation.benchmarks.lmentry.lmentry import lmentry
from steelyard.evaluation.benchmarks.lmentry.prompts import ORDERED, TASKS
from steelyard.evaluation.benchmarks.lmentry.scorers import score_output
from steelyard.evaluation.benchmarks.relations.graded_relations import spearman_interval
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.statistics import interval_record
from steelyard.evaluation.suite import Suite, evaluate_suite
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data")) / "lmentry"
BANK = Path(__file__).parent / "fixtures" / "lmentry" / "labelled_outputs.yaml"
ITEMS = 1
STYLE = PromptStyle("chat")


def main() -> None:
    """Measure and write ``evidence/lmentry.json``."""
    model = load_model("smollm2-135m")
    official, generated = lmentry(data=str(DATA), items=ITEMS), lmentry(items=ITEMS)
    began = time.perf_counter()
    on_official = evaluate_suite(model, official, style=STYLE)
    middle = time.perf_counter()
    on_generated = evaluate_suite(model, generated, style=STYLE)
    seconds = middle - began, time.perf_counter() - middle
    claims = [
        _bank_claim(),
        _order_claim(),
        _minutes_claim(on_generated, seconds[1]),
        _score_claim("official", official, on_official),
        _score_claim("generated", generated, on_generated),
    ]
    write_evidence(
        "lmentry",
        claims,
        model="SmolLM2-135M-Instruct, chat style",
        data=f"LMentry's official data (odd ids) and generated items, {ITEMS} a task and wording",
        seeds=[0],
        agreement_of_official_and_generated_items=interval_record(_agreement(on_official, on_generated)),
        seconds={"official": seconds[0], "generated": seconds[1], "note": "on a machine shared with other work"},
    )


def _bank_claim() -> Claim:
    wrong = total = 0
    for group in yaml.safe_load(BANK.read_text(encoding="utf-8")):
        for label, score in (("right", 1), ("wrong", 0)):
            for output in group[label]:
                total += 1
                wrong += score_output(group["task"], output, group["data"]).score != score
    return Claim("scorers make no error on hand-labelled outputs", {"outputs": total, "errors": wrong}, wrong == 0)


def _order_claim() -> Claim:
    suite = lmentry(items=10, tasks=ORDERED, variants=False)
    answers = {}
    for task in suite.tasks:
        for sample in task.samples():
            request = task.requests(sample, PromptStyle())[0]
            assert isinstance(request, Ask)
            arguments = sample.data["arguments"]
            answers[str(request.prompt)] = str(arguments.get("word1", arguments.get("n1")))
    found = suite.summary("lmentry", evaluate_suite(ScriptedModel(answers), suite))
    value = found.values["robustness, argument order"]
    what = "a responder that always names the first argument has no robustness to their order"
    return Claim(what, {"robustness, argument order": value}, value.value == 0.0)


def _minutes_claim(done: Sequence[Evaluation], seconds: float) -> Claim:
    outputs = sum(len(one.results) for one in done)
    default = sum(len(task.samples()) for task in lmentry().tasks)
    estimate = seconds / outputs * default
    measured = {"outputs": outputs, "seconds": seconds, "seconds for the default size, estimated": estimate}
    return Claim("all 41 tasks and variants run in minutes", measured, estimate < 1800)


def _score_claim(kind: str, suite: Suite, done: Sequence[Evaluation]) -> Claim:
    found = suite.summary("lmentry", done)
    holds = (
        abs(found.values["score"].value - found.values["accuracy"].value * found.values["robustness"].value) < 1e-9
    )
    return Claim(f"the score on {kind} items is accuracy times robustness", dict(found.values), holds)


def _agreement(official: Sequence[Evaluation], generated: Sequence[Evaluation]) -> Interval:
    """Spearman's correlation of the 25 tasks' accuracies: whether both kinds of items find the same tasks easy."""
    own = {done.task: done.summary["accuracy"].value for done in generated}
    other = {done.task: done.summary["accuracy"].value for done in official}
    return spearman_interval([own[task] for task in TASKS], [other[task] for task in TASKS])


if __name__ == "__main__":
    main()
