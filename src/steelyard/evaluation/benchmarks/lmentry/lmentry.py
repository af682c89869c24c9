"""LMentry: 25 elementary language tasks, with generated or official items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from steelyard.contracts import Ask, Marks, Message, PromptStyle, Request, Response, Sample, Sampling
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.lmentry.items import WordBank, draw_arguments, render
from steelyard.evaluation.benchmarks.lmentry.prompts import TEMPLATES, all_names, core_of
from steelyard.evaluation.benchmarks.lmentry.score import KINDS, Outcome, count, score_intervals, scores_of
from steelyard.evaluation.benchmarks.lmentry.scorers import RULES, missing_arguments, score_output
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.responses import checked_text
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.task_header import TaskHeader
from steelyard.parts import nearest, part

GENERATED = TaskHeader(
    paper="LMentry: A Language Model Benchmark of Elementary Language Tasks",
    data_set="generated from Steelyard's own words",
    licence="Apache-2.0; pronunciations from CMUdict (BSD)",
    metric="accuracy times robustness",
)
OFFICIAL = TaskHeader(
    paper=GENERATED.paper,
    data_set="LMentry",
    licence="not stated",
    metric=GENERATED.metric,
    folder="lmentry",
    layout="data/TASK.json",
    url="https://github.com/aviaefrat/lmentry",
)
MAX_TOKENS = 50
_STOPS = ("\nQ:", "\n\n")


@part(papers=[105], kind="suite")
def lmentry(
    *,
    data: str | None = None,
    items: PositiveInt = 10,
    seed: int = 0,
    tasks: tuple[str, ...] = (),
    variants: bool = True,
    truncate: bool = False,
    max_tokens: PositiveInt = MAX_TOKENS,
) -> Suite:
    """Elementary language tasks in three wordings each; the score is accuracy times robustness.

    25 tasks, such as writing a sentence with a given word, choosing the longer of two words or naming a word's
    last letter, and 16 variants of six of them with easier and harder arguments. An output is right or wrong by
    rules of its task: regular expressions over what it claims, about the arguments alone. Then

        accuracy    mean over tasks of the share of right outputs
        robustness  mean of four means of 1 - (largest difference of accuracies): between the three wordings of a
                    task, between answers that stand first and second, between variants, between adjacent tasks
        score       accuracy * robustness

    all between 0 and 1 (the paper writes percent).

    Items are drawn from words that this package carries; golds follow from the rules. The chat style puts the
    prompt as a message, others as it stands, until an empty line or the next question.

    Args:
        data: Folder in the official layout (``data/TASK.json`` with ``examples``) to use its items instead.
        items: Items for each task or variant and wording; with letters there are at most 26. Of official data, the
            first so many.
        seed: Of drawing.
        tasks: Only these tasks and their variants; all by default.
        variants: Whether the variants are measured.
        truncate: Grade only what stands before the first line break and full stop, as the paper does for models
            that do not stop by themselves.
        max_tokens: Longest answer.

    Raises:
        UsageError: An unknown task.
        InputError: Official data without a task, or in another layout.

    Source:
        "LMentry: A Language Model Benchmark of Elementary Language Tasks", sections 2 to 4. Prompts and patterns
        are this project's own; the official prompts come with the official data. The official scorers look for
        fixed sentences; these also read claims in other words, and reject outputs that repeat the instruction.

    Relations:
        ``quick`` takes some of these tasks; ``judge-free-ngram-benchmark`` scores longer texts without a judge.

    Example:
        >>> suite = lmentry(items=1, tasks=("bigger_number",))
        >>> [len(task.samples()) for task in suite.tasks]
        [3]
    """
    for name in tasks:
        if name not in TEMPLATES:
            raise UsageError(f"lmentry has no task {name!r}{nearest(name, TEMPLATES)}")
    names = [
        name
        for name in all_names()
        if (not tasks or core_of(name) in tasks) and (variants or name == core_of(name))
    ]
    how = LmentryAsking(max_tokens, truncate)
    bank = WordBank.read()
    rows = {
        name: generated_rows(bank, name, items, seed=seed) if data is None else official_rows(data, name, items)
        for name in names
    }
    header = GENERATED if data is None else OFFICIAL
    made = tuple(lmentry_task(name, rows[name], how, header) for name in names)
    return Suite("lmentry", made, summary=LmentrySummary({name: _facts(rows[name]) for name in names}))


@dataclass(frozen=True, slots=True)
class LmentryAsking:
    """How outputs are asked for and cut."""

    max_tokens: int = MAX_TOKENS
    truncate: bool = False

    def ask(self, sample: Sample, style: PromptStyle) -> list[Request]:
        """The prompt as a message, or as it stands."""
        prompt = sample.data["prompt"]
        if style.style == "chat":
            turns = [Message("system", style.instruction)] if style.instruction else []
            return [Ask([*turns, Message("user", prompt.strip())], Sampling(self.max_tokens))]
        if style.instruction:
            raise UsageError("lmentry's prompts are taken as they stand; an instruction needs the chat style")
        return [Ask(prompt, Sampling(self.max_tokens, stop=_STOPS))]

    def mark(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        """Accuracy 1 or 0, and whether the rules understood the whole output."""
        output = checked_text(responses[0], sample).strip()
        if self.truncate:
            output = output.split("\n")[0].split(".")[0]
        verdict = score_output(sample.data["task"], output, sample.data["arguments"])
        return Marks({"accuracy": float(verdict.score), "certain": float(verdict.certain)}, prediction=output)


def lmentry_task(
    name: str, rows: Sequence[Sample], how: LmentryAsking, header: TaskHeader = GENERATED
) -> BenchmarkTask:
    """One task or variant as a task by itself."""
    return BenchmarkTask(
        name,
        tuple(rows),
        ask=how.ask,
        mark=how.mark,
        metric="accuracy",
        rules=RULES,
        header=header,
        settings={"max_tokens": how.max_tokens, "truncate": how.truncate},
    )


def generated_rows(bank: WordBank, name: str, items: int, *, seed: int = 0) -> list[Sample]:
    """Items in all three wordings, wording by wording for each draw of arguments."""
    rows = []
    for number, arguments in enumerate(draw_arguments(bank, name, items, seed=seed)):
        for template in range(3):
            rows.append(_row(f"{number}-{template}", name, render(name, template, arguments), template, arguments))
    return rows


def official_rows(folder: str, name: str, items: int) -> list[Sample]:
    """The first items of every wording from the official file of a task."""
    root = Path(folder).expanduser()
    file = next(
        (place for place in (root / "data" / f"{name}.json", root / f"{name}.json") if place.is_file()), None
    )
    if file is None:
        raise InputError(
            f"{root}: no data/{name}.json; download {OFFICIAL.url} and give its folder as data=FOLDER"
        )
    try:
        examples = json.loads(file.read_text(encoding="utf-8"))["examples"]
        read = [
            _row(key, name, str(example["input"]), int(example["metadata"]["template_id"]), example["metadata"])
            for key, example in examples.items()
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file}: not an LMentry file: 'examples' with 'input' and 'metadata' ({error})"
        ) from None
    taken: dict[int, list[Sample]] = {}
    for row in read:
        if lacking := missing_arguments(name, row.data["arguments"]):
            raise InputError(f"{file}: example {row.id!r} has no {lacking[0]!r} in its metadata")
        taken.setdefault(row.data["template"], []).append(row)
    longest = max((len(rows) for rows in taken.values()), default=0)
    # Wording by wording for each place, so that the first so many samples hold all wordings.
    return [rows[n] for n in range(min(items, longest)) for rows in taken.values() if n < len(rows)]


def _row(key: str, name: str, prompt: str, template: int, arguments: Mapping[str, Any]) -> Sample:
    return Sample(
        key,
        {
            "prompt": prompt,
            "reference": str(arguments.get("answer", "")),
            "task": name,
            "template": template,
            "arguments": dict(arguments),
        },
        group=f"wording {template + 1}",
    )


def _facts(rows: Sequence[Sample]) -> dict[str, tuple[int, int]]:
    found = {}
    for row in rows:
        arguments = row.data["arguments"]
        two = "distractor" in arguments
        found[row.id] = (row.data["template"], int(arguments.get("answer_index", -1)) if two else -1)
    return found


@dataclass(frozen=True, slots=True)
class LmentrySummary:
    """The suite's summary; ``facts`` hold template and answer index of every sample of every task."""

    facts: Mapping[str, Mapping[str, tuple[int, int]]]

    def __call__(self, name: str, evaluations: Sequence[Evaluation]) -> Measurement:
        """Score, accuracy and robustness with intervals, and a table of tasks."""
        outcomes = [
            Outcome(done.task, *self.facts[done.task][result.sample_id], result.marks.values["accuracy"])
            for done in evaluations
            for result in done.results
        ]
        values = score_intervals(outcomes)
        rows = []
        for done in evaluations:
            own = [one for one in outcomes if one.task == done.task]
            cells = count(own)
            wordings = [
                float(cells.right[picked].sum() / cells.total[picked].sum()) if picked else None
                for picked in ([i for i, cell in enumerate(cells.cells) if cell[1] == n] for n in range(3))
            ]
            rows.append(
                (done.task, done.summary["accuracy"], *wordings, done.summary["certain"].value, done.seconds)
            )
        columns = ("task", "accuracy", "wording 1", "wording 2", "wording 3", "certain", "seconds")
        note = "certain: share of outputs that the rules understood as a whole"
        missing = [kind for kind in KINDS if f"robustness, {kind}" not in values]
        notes = [f"not measured here: robustness to {kind}" for kind in missing]
        few = min(len(done.results) for done in evaluations)
        if few < 100:
            notes.append(f"with {few} outputs a task, chance alone makes gaps: robustness is understated")
        details = {"scores": scores_of(count(outcomes)).kinds}
        return Measurement(name, values, (Table("Tasks", columns, tuple(rows), note),), tuple(notes), details)
