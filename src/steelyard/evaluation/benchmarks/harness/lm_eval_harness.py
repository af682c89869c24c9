"""Any task written as a configuration of lm-evaluation-harness, with the harness's numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt

from steelyard.contracts import Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.harness.aggregation import summarise_rules
from steelyard.evaluation.benchmarks.harness.config import HarnessConfig, config_file, read_config
from steelyard.evaluation.benchmarks.harness.documents import documents_of
from steelyard.evaluation.benchmarks.harness.fields import Fields
from steelyard.evaluation.benchmarks.harness.filters import check_filters
from steelyard.evaluation.benchmarks.harness.items import NO_FILTER, Items, check_results, sampling_of
from steelyard.evaluation.benchmarks.harness.layouts import Document
from steelyard.evaluation.benchmarks.harness.metrics import metrics_of
from steelyard.evaluation.benchmarks.harness.prompts import Prompter, draw_examples
from steelyard.parts import nearest, part

RULES = "lm-eval-harness/1"


@part(papers=[183], kind="task")
def lm_eval_harness(
    *,
    config: str,
    data: str | None = None,
    split: str | None = None,
    num_fewshot: NonNegativeInt | None = None,
    fewshot_seed: int = 1234,
    metric: str | None = None,
) -> BenchmarkTask:
    """Measure a task that a YAML configuration of lm-evaluation-harness describes, by the harness's rules.

    A configuration fixes everything that makes two results comparable: template, split, number and choice of
    solved examples, delimiters, stop strings, filters, metrics and a version. Four kinds of output are known:

    - ``multiple_choice``: log P(delimiter + choice | context) for each choice; ``acc`` takes the largest,
      ``acc_norm`` the largest per character, ``acc_bytes`` per UTF-8 byte, ``acc_mutual_info`` less log
      P(choice);
    - ``loglikelihood``: log P(target | context); ``acc`` is whether greedy decoding writes the target,
      ``perplexity`` exp(-mean log P);
    - ``loglikelihood_rolling``: log P(text); ``word_perplexity`` exp(-sum log P / words), ``byte_perplexity`` the
      same per byte, ``bits_per_byte`` its binary logarithm;
    - ``generate_until``: text up to a stop string, through named filters (``regex``, ``multi_choice_regex``,
      ``take_first``, ``take_first_k``, ``majority_vote``, ``map``, ``remove_whitespace``, ``lowercase``,
      ``uppercase``) to ``exact_match`` (with its four ways of ignoring), ``bleu``, ``chrf``, ``chrf++``, ``ter``,
      ``rouge1``, ``rouge2`` or ``rougeL``. A metric under a filter is called ``METRIC,FILTER``.

    Means have Wilson or bootstrap intervals, ratios delta-method ones, corpus metrics bootstrap ones; the
    harness's standard errors are in
    :func:`steelyard.evaluation.benchmarks.harness.logs.results_record`, which also writes logs with the harness's
    prompt, target and document hashes. Every document is rendered when the task is built, so a wrong template is
    an error before anything is measured. Templates run in a sandbox and ``!function`` is
    refused: a configuration is data. Where numbers differ from the harness's, and why, is in
    ``docs/reference/lm-eval-tasks.md``.

    Args:
        config: A ``.yaml`` file, or a bundled configuration such as ``arc_challenge`` or ``gsm8k``.
        data: The folder (or file) with the documents; by default the task's folder below ``STEELYARD_DATA``, else
            the hub.
        split: Measure this split instead of the configuration's test (or validation) split.
        num_fewshot: Solved examples before each question, instead of the configuration's number.
        fewshot_seed: Seed of their choice; 1234 is the harness's.
        metric: The metric that ranks systems; by default the first (under the first filter).

    Raises:
        UsageError: An unknown configuration, split or metric, missing data, or too few documents to draw from.
        InputError: The configuration or a document is wrong; the message names file and key.

    Source:
        Lessons from the Trenches on Reproducible Evaluation of Language Models, the section on the Language Model
        Evaluation Harness and the appendix on scoring; formats and rules as in the package lm-eval 0.4.13.

    Relations:
        ``bits_per_byte`` and the likelihood forms are those of task files (``steelyard eval --task FILE``), which
        need no templates. A suite of several configurations is several ``--task`` runs in one store.

    Example:
        >>> task = lm_eval_harness(config="arc_challenge", data="arc/")  # doctest: +SKIP
        >>> evaluate(model, task).summary["acc_norm"]  # doctest: +SKIP
        Interval(value=0.27..., low=..., high=..., n=1172)
    """
    file = config_file(config)
    read = read_config(file)
    if num_fewshot is not None:
        read = read.model_copy(update={"num_fewshot": num_fewshot})
    measured = split or read.evaluated_split
    if measured is None:
        raise UsageError(f"{file}: neither test_split nor validation_split; say which with split=NAME")
    try:
        items, rows = _built(read, measured, file.parent, data, fewshot_seed)
    except InputError as error:
        raise error if str(error).startswith(str(file)) else InputError(f"{config}: {error}") from None
    ranking = metric or next(iter(items.rules))
    if ranking not in items.rules:
        raise UsageError(
            f"{read.task} has no metric {ranking!r}{nearest(ranking, items.rules)}; "
            f"it has {', '.join(items.rules)}"
        )
    return BenchmarkTask(
        name=read.task,
        rows=rows,
        ask=items.ask,
        mark=items.mark,
        metric=ranking,
        rules=RULES,
        header=read.header,
        higher_is_better=dict(items.keyed())[ranking].higher_is_better,
        settings=_settings(read, measured, fewshot_seed),
        summary=partial(summarise_rules, items.rules),
    )


def _built(
    config: HarnessConfig, split: str, base: Path, data: str | None, seed: int
) -> tuple[Items, tuple[Sample, ...]]:
    """What asks and marks the task, and its samples."""
    check_results(config)
    check_filters(config.filter_list or [])
    documents = documents_of(config, split, base, data)
    features = frozenset(documents[0])
    own_split = config.fewshot_config.split or config.fewshot_split
    pool_split = _pool_split(config)
    pool = _pool(config, pool_split, split, documents, base, data) if config.num_fewshot else []
    prompter = Prompter(config, Fields.of(config, features), Fields.of_examples(config, features), pool)
    items = Items(prompter, metrics_of(config), config.filter_list or [NO_FILTER], sampling_of(config))
    shown = draw_examples(
        documents,
        pool,
        config.num_fewshot,
        sampler=config.fewshot_config.sampler,
        seed=seed,
        same_split=pool_split == split or own_split == config.test_split,
    )
    rows = []
    for number, (document, own) in enumerate(zip(documents, shown, strict=True)):
        try:
            rows.append(items.row(number, document, own))
        except InputError as error:
            raise InputError(f"document {number}: {error}") from None
    return items, tuple(rows)


def _pool_split(config: HarnessConfig) -> str | None:
    """The split that solved examples come from, as the harness chooses it; None where they stand in the file."""
    own = config.fewshot_config.split or config.fewshot_split
    if own is not None:
        return own
    if config.fewshot_config.samples is not None:
        return None
    return config.training_split or config.validation_split or config.test_split


def _pool(
    config: HarnessConfig,
    pool_split: str | None,
    split: str,
    documents: list[Document],
    base: Path,
    data: str | None,
) -> list[Document]:
    if pool_split is None:
        return list(config.fewshot_config.samples or [])
    return documents if pool_split == split else documents_of(config, pool_split, base, data)


def _settings(config: HarnessConfig, split: str, seed: int) -> dict[str, Any]:
    """What distinguishes this task from others of the same documents."""
    written = config.model_dump(mode="json", exclude_defaults=True)
    return {"config": written, "split": split, "fewshot_seed": seed}
