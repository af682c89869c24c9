"""The quick suite: a one-page profile of a model from generated items, in minutes on a laptop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from steelyard.contracts import Interval, Task
from steelyard.evaluation.benchmarks.lmentry.items import WordBank
from steelyard.evaluation.benchmarks.lmentry.lmentry import LmentryAsking, generated_rows, lmentry_task
from steelyard.evaluation.benchmarks.quick import tasks
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.suite import Suite, mean_of_tasks
from steelyard.parts import part

WORD_TASKS = (
    ("bigger_number", 0.5),
    ("all_words_from_category", 0.5),
    ("rhyming_word", 0.5),
    ("word_after", 0.0),
    ("first_letter", 0.0),
    ("starts_with_word", 0.0),
)
"""Tasks of LMentry, with what guessing gets: half where there are two possible answers."""


class Skilled(NamedTuple):
    """A task, the skill it stands for, and what guessing gets."""

    skill: str
    task: Task
    chance: float


@part(papers=[105], kind="suite")
def quick(*, size: Annotated[int, Field(ge=1, le=5)] = 1, seed: int = 0) -> Suite:
    """A profile of a model by skill, from generated items: a page of figures with intervals and chance levels.

        language    bits per byte of six short texts; grammatical against ungrammatical sentences (agreement
                    across a noun of the other number)
        knowledge   40 common questions with four choices, scored as answers and by letter
        reasoning   sums, differences and products; who is the tallest of three
        context     words to repeat; who owns what, eight facts given
        words       six tasks of LMentry in three wordings
        format      instructions about the form of the answer, checked by a pattern

    Everything is made from words and texts that this package carries; nothing is downloaded. Answers have at most
    32 tokens. A value is above chance where its interval is. The skill's value is the mean of its accuracies.

    Args:
        size: Multiplies the number of generated items (24 to 40 a task); questions and texts stay as many.
        seed: Of drawing.

    Source:
        Own items; the word tasks are those of "LMentry: A Language Model Benchmark of Elementary Language Tasks".

    Relations:
        ``lmentry`` measures all its 25 tasks and their robustness.

    Example:
        >>> suite = quick()
        >>> sum(len(task.samples()) for task in suite.tasks) < 600
        True
    """
    skills = quick_skills(size, seed)
    return Suite("quick", tuple(one.task for one in skills), summary=Profile(tuple(skills)))


def quick_skills(size: int = 1, seed: int = 0) -> list[Skilled]:
    """The tasks with their skills and chance levels."""
    some, few = 40 * size, 24 * size
    bank = WordBank.read()
    how = LmentryAsking(max_tokens=24)
    words = [
        Skilled("words", lmentry_task(name, generated_rows(bank, name, 8 * size, seed=seed), how), chance)
        for name, chance in WORD_TASKS
    ]
    made = tasks.generated
    return [
        Skilled("language", tasks.texts(), 8.0),
        Skilled("language", tasks.grammar(some, seed), 0.5),
        Skilled("knowledge", tasks.knowledge(40, seed, "cloze"), 0.25),
        Skilled("knowledge", tasks.knowledge(40, seed, "letters"), 0.25),
        Skilled("reasoning", made("arithmetic", tasks.arithmetic, some, seed, metric="numeric"), 0.0),
        Skilled("reasoning", made("ordering", tasks.ordering, some, seed, metric="accuracy"), 1 / 3),
        Skilled("context", made("copying", tasks.copying, few, seed, metric="accuracy", max_tokens=32), 0.0),
        Skilled("context", made("retrieval", tasks.retrieval, some, seed, metric="contains"), 1 / 8),
        *words,
        Skilled("format", tasks.formats(few, seed), 0.0),
    ]


@dataclass(frozen=True, slots=True)
class Profile:
    """The suite's summary: a line a task, by skill."""

    skills: tuple[Skilled, ...]

    def __call__(self, name: str, evaluations: Sequence[Evaluation]) -> Measurement:
        """A value a skill, and one table."""
        rows: list[tuple[Cell, ...]] = []
        by_skill: dict[str, list[Interval]] = {}
        values: dict[str, Interval] = {}
        for one, done in zip(self.skills, evaluations, strict=True):
            found = done.summary[done.metric]
            if done.metric == "bits_per_byte":
                values["bits per byte"] = found
            else:
                by_skill.setdefault(one.skill, []).append(found)
            rows.append((one.skill, done.task, done.metric, found.n, found, one.chance, _standing(one, done)))
        for skill, accuracies in by_skill.items():
            values[skill] = mean_of_tasks(accuracies)
        columns = ("skill", "task", "metric", "n", "value", "chance", "against chance")
        note = "chance: what guessing gets (8 bits per byte: every byte alike); intervals at 95 %"
        table = Table("Profile", columns, tuple(rows), note)
        above = sum(row[-1] == "above" for row in rows)
        seconds = sum(done.seconds for done in evaluations)
        tokens = sum(r.usage.completion_tokens for done in evaluations for r in done.results)
        notes = (
            f"{above} of {len(rows)} tasks are above chance",
            f"{sum(len(done.results) for done in evaluations)} items, {tokens} tokens written",
        )
        return Measurement(name, values, (table,), notes, {"seconds": seconds})


def _standing(one: Skilled, done: Evaluation) -> str:
    found = done.summary[done.metric]
    if done.metric == "bits_per_byte":
        return "above" if found.high < one.chance else "not above"
    return "above" if found.low > one.chance else "below" if found.high < one.chance else "not above"
