"""A task as a fitness function, for methods that search for weights: how good a model is, as one number."""

from __future__ import annotations

from dataclasses import dataclass, field

from steelyard.contracts import LanguageModel, PromptStyle, Task
from steelyard.errors import UsageError
from steelyard.evaluation.evaluate import evaluate


@dataclass(frozen=True)
class TaskFitness:
    """The task's metric over its first ``samples`` samples.

    The other samples stay unseen: measure on them what the search found.

        fitness = TaskFitness(load_task("task.jsonl"), samples=200)
        steelyard.merge(["adapter-a", "adapter-b"], "population-evolution", base="smollm2-135m", fitness=fitness)
    """

    task: Task
    samples: int = 200
    style: PromptStyle = field(default_factory=PromptStyle)

    @property
    def name(self) -> str:
        """What a merged model remembers of it."""
        return f"{self.task.metric} on the first {self.samples} samples of {self.task.name}"

    def __call__(self, model: LanguageModel) -> float:
        """The model's value of the metric.

        Raises:
            UsageError: a metric of which less is better.
        """
        if not self.task.higher_is_better:
            raise UsageError(f"{self.task.name}: less {self.task.metric} is better; fitness needs the opposite")
        ids = [sample.id for sample in self.task.samples()[: self.samples]]
        return evaluate(model, self.task, style=self.style, sample_ids=ids).summary[self.task.metric].value
