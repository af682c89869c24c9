"""A harness task's documents as samples: what to ask for each, and the marks of what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard.contracts import (
    Ask,
    Continuation,
    Marks,
    Prompt,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
)
from steelyard.errors import InputError, ModelError, UsageError
from steelyard.evaluation.benchmarks.harness.aggregation import Rule
from steelyard.evaluation.benchmarks.harness.config import FilterConfig, FilterStep, HarnessConfig
from steelyard.evaluation.benchmarks.harness.fields import Target, choices_of, target_of, text_of
from steelyard.evaluation.benchmarks.harness.filters import apply_filter
from steelyard.evaluation.benchmarks.harness.metrics import (
    NO_CHOICE,
    Metric,
    answer_values,
    choice_values,
    gold_choices,
    likelihood_values,
    rolling_values,
    true_share,
)
from steelyard.evaluation.benchmarks.harness.prompts import Prompter, answer_text, as_messages, as_text
from steelyard.evaluation.responses import checked_score, checked_text
from steelyard.parts import nearest

NO_FILTER = FilterConfig(name="none", filter=[FilterStep(function="take_first")])
MAX_TOKENS = 256
"""Longest generated answer unless ``generation_kwargs`` says otherwise."""

RESULTS = ("truthfulqa-mc2", "wikitext-counts")
"""What ``process_results`` may name: MC2's share of the true answers; words and bytes counted in ``page``."""

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = ("until", *_LENGTHS, "do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class Items:
    """Asks and marks the samples of one task.

    Attributes:
        prompter: Writes the prompts.
        metrics: What is computed.
        filters: The ways from responses to an answer, for generated output.
        sampling: How answers are generated.
    """

    prompter: Prompter
    metrics: Sequence[Metric]
    filters: Sequence[FilterConfig]
    sampling: Sampling

    @property
    def config(self) -> HarnessConfig:
        """The task."""
        return self.prompter.config

    @property
    def rules(self) -> dict[str, Rule]:
        """The rule of aggregation of every metric, by the key under which it stands among a sample's values."""
        return {key: metric.rule for key, metric in self.keyed()}

    def keyed(self) -> list[tuple[str, Metric]]:
        """Metrics by their keys: the name, and where answers are filtered ``NAME,FILTER``."""
        if self.config.output_type != "generate_until":
            return [(metric.name, metric) for metric in self.metrics]
        return [(key_of(metric.name, one), metric) for one in self.filters for metric in self.metrics]

    def row(self, number: int, document: Mapping[str, Any], shown: Sequence[int]) -> Sample:
        """The sample of a document: its prompt, choices and right answer beside the document itself."""
        turns = self.prompter.turns(document, shown)
        target = target_of(self.prompter.fields, document)
        data: dict[str, Any] = {
            "doc": document,
            "shots": list(shown),
            "prompt": as_text(turns[0]),
            "target": target,
        }
        if self.config.output_type == "multiple_choice":
            choices = choices_of(self.prompter.fields, document)
            gold = gold_choices(self._gold(document), choices)
            data |= {"choices": choices, "gold": gold}
            if gold[0] != NO_CHOICE:
                data |= {"answer": gold[0], "reference": choices[gold[0]]}
        elif self.config.output_type == "generate_until":
            data["references"] = self._references(document, target)
            data["reference"] = data["references"][0]
        elif not answer_text(target):
            raise InputError("doc_to_target gives an empty text")
        return Sample(id=str(number), data=data)

    def _gold(self, document: Mapping[str, Any]) -> Target:
        """The right choice; where the choices are the questions, the question's number."""
        question = text_of(self.prompter.fields, document)
        return question if isinstance(question, int) else target_of(self.prompter.fields, document)

    def _references(self, document: Mapping[str, Any], target: Target) -> list[str]:
        if isinstance(target, int) and self.config.doc_to_choice is not None:
            return [choices_of(self.prompter.fields, document)[target]]
        found = [str(one) for one in target] if isinstance(target, list) else [str(target)]
        if not found:
            raise InputError("doc_to_target gives no answer")
        return found

    def ask(self, sample: Sample, style: PromptStyle) -> list[Request]:
        """The requests for one sample: one a choice, one target, one text, or ``repeats`` answers."""
        data, config = sample.data, self.config
        if config.output_type == "loglikelihood_rolling":
            return [Continuation("", answer_text(data["target"]))]
        chat = style.style == "chat"
        turns = self.prompter.turns(data["doc"], data["shots"], style.instruction)
        contexts: list[Prompt] = [as_messages(one) if chat else as_text(one) for one in turns]
        if config.output_type == "loglikelihood":
            return [Continuation(contexts[0], answer_text(data["target"]))]
        if config.output_type == "generate_until":
            seeds = range(self.sampling.seed, self.sampling.seed + config.repeats)
            return [Ask(contexts[0], replace(self.sampling, seed=seed)) for seed in seeds]
        delimiter = "" if chat else config.target_delimiter
        if len(contexts) > 1:
            asked = [Continuation(one, delimiter + answer_text(data["target"])) for one in contexts]
        else:
            asked = [Continuation(contexts[0], delimiter + choice) for choice in data["choices"]]
        if any(metric.name == "acc_mutual_info" for metric in self.metrics):
            asked += [Continuation("", delimiter + choice) for choice in data["choices"]]
        return list(asked)

    def mark(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        """The marks of one sample.

        Raises:
            ModelError: A response is of the wrong kind, or a log-likelihood is not a number.
        """
        data, config = sample.data, self.config
        if config.output_type == "generate_until":
            return self._mark_answers(sample, responses)
        scores = [checked_score(response, sample) for response in responses]
        if config.output_type == "multiple_choice":
            best = max(range(len(data["choices"])), key=lambda i: scores[i].logprob)
            if config.process_results == "truthfulqa-mc2":
                values = {"acc": true_share(scores, data["doc"]["mc2_targets"]["labels"])}
            else:
                values = choice_values(self.metrics, data["choices"], data["gold"], scores)
            return Marks(values, prediction=data["choices"][best])
        if scores[0].logprob == -math.inf:
            raise ModelError(f"sample {sample.id!r}: the model gives this text no probability at all")
        if config.output_type == "loglikelihood":
            return Marks(likelihood_values(self.metrics, scores[0]))
        own_page = config.process_results == "wikitext-counts"
        counted = data["doc"]["page"] if own_page else answer_text(data["target"])
        values, weights = rolling_values(self.metrics, scores[0].logprob, counted)
        return Marks(values, weights=weights)

    def _mark_answers(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        texts = [checked_text(response, sample) for response in responses]
        values: dict[str, float] = {}
        answers = [apply_filter(one, texts, sample.data["doc"]) for one in self.filters]
        for one, answer in zip(self.filters, answers, strict=True):
            found = answer_values(self.metrics, answer, sample.data["references"])
            values |= {key_of(name, one): value for name, value in found.items()}
        return Marks(values, prediction=answers[0])


def key_of(name: str, one: FilterConfig) -> str:
    """The key of a metric under a filter; a statistic's number stays at the end.

    >>> key_of("exact_match", FilterConfig(name="strict-match", filter=[]))
    'exact_match,strict-match'
    """
    if one.name == NO_FILTER.name:
        return name
    metric, mark, number = name.partition("#")
    return f"{metric},{one.name}{mark}{number}"


def sampling_of(config: HarnessConfig) -> Sampling:
    """How ``generation_kwargs`` ask for answers: greedily where ``do_sample`` is false or no temperature is given.

    Raises:
        InputError: An option Steelyard does not have, or sampling without a temperature.
    """
    given = config.generation_kwargs
    for option in given:
        if option not in _SAMPLING:
            raise InputError(f"generation_kwargs: unknown option {option!r}{nearest(option, _SAMPLING)}")
    until = given.get("until", [config.fewshot_delimiter])
    until = [until] if isinstance(until, str) else until
    temperature = float(given.get("temperature", 0.0))
    if given.get("do_sample") and not temperature:
        raise InputError("generation_kwargs: do_sample needs a temperature above 0")
    temperature = 0.0 if given.get("do_sample") is False else temperature
    tokens = next((int(given[name]) for name in _LENGTHS if given.get(name) is not None), MAX_TOKENS)
    return Sampling(
        max_tokens=tokens,
        temperature=temperature,
        top_p=float(given.get("top_p", 1.0)),
        top_k=int(given.get("top_k", 0)),
        min_p=float(given.get("min_p", 0.0)),
        repetition_penalty=float(given.get("repetition_penalty", 1.0)),
        stop=tuple(str(text) for text in until if text),
    )


def check_results(config: HarnessConfig) -> None:
    """Refuse an unknown ``process_results`` and one that does not fit the kind of output."""
    name = config.process_results
    kinds = dict(zip(RESULTS, ("multiple_choice", "loglikelihood_rolling"), strict=True))
    if name is not None and name not in kinds:
        raise InputError(
            f"process_results: unknown function {name!r}{nearest(name, RESULTS)}; there are {RESULTS}"
        )
    if name is not None and kinds[name] != config.output_type:
        raise UsageError(f"process_results: {name} is for output_type {kinds[name]}, not {config.output_type}")
