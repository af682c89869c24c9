"""The verb ``rank``: many systems on one task in an order of merit, by gold answers, judges or neither.

The record of a run of kind ``rank``, JSON-ready, is that of an eval with these keys besides:

    by          how it was ranked: "gold", a metric, or a ranking part with its settings
    ranking     method, score_name, notes, details, and rows best first: rank, name, score, interval or null
    judges      who judged: name, n verdicts and the shares (intervals) of ties, unreadable, inconsistent and
                "first shown" (position bias; absent where nothing tells), and "calibration", a Measurement's
                record, where a calibration set was given
    against_gold  how alike the ranking is to that by the task's metric (a RankAgreement: kendall, rbo, inversions,
                longest, entropy); null where it is that ranking
    candidates  the systems, as an eval's candidate; label is the name in the ranking
    winner      id of the first candidate of the ranking
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard import parts
from steelyard.contracts import Judge, LanguageModel, Progress, Task
from steelyard.errors import SteelyardError, UsageError
from steelyard.evaluation.evaluate import Evaluation, evaluate
from steelyard.evaluation.judging.calibration import calibrate, verdict_shares
from steelyard.evaluation.judging.human_labels import LabelledPairs, labelled_pairs
from steelyard.evaluation.judging.kept_judge import KeptJudge
from steelyard.evaluation.judging.pairwise_judge import pairwise_judge
from steelyard.evaluation.ranking.fighting import fight, short_answers, whole_answers
from steelyard.evaluation.ranking.findings import rank_findings
from steelyard.evaluation.ranking.gold import gold_ranking
from steelyard.evaluation.ranking.rank_agreement import rank_agreement
from steelyard.evaluation.ranking.records import Ranking, joined
from steelyard.evaluation.recorded import (
    asked_style,
    candidate_record,
    loaded_model,
    measured_samples,
    task_record,
)
from steelyard.evaluation.statistics import interval_record
from steelyard.evaluation.tasks import open_task
from steelyard.runs.environment import environment
from steelyard.runs.store import RunStore, opened_store

GOLD = "gold"


@dataclass(frozen=True, slots=True)
class RecordedRanking:
    """A ranking, the id of its run in the store, and the run's record."""

    run_id: str
    ranking: Ranking
    record: dict[str, Any]


def rank(
    task: str | Path | Task,
    models: Sequence[str | LanguageModel],
    *,
    by: str = GOLD,
    judges: Sequence[str | LanguageModel | Judge] = (),
    calibration: str | Path | None = None,
    references: bool = False,
    samples: int | None = None,
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    **style: Any,
) -> RecordedRanking:
    """Rank systems on a task, and note the run; answers and verdicts in the store are not asked for again.

    Models are loaded one after the other, so that only one is in memory at a time.

    Args:
        task: a task file, a benchmark with its settings, or a task.
        models: names that :func:`steelyard.load` takes (also system files), or models; two or more.
        by: ``gold`` (the task's own metric), another metric of the task, or a part of kind ranking with its
            settings, such as ``bradley-terry``, ``triplet-ranking:variant=greedy`` or ``pico-peer-review``.
        judges: who compares answers, for rankings by battles: names, models (made into ``pairwise-judge``), or
            judges. Without any, the ranked models judge each other.
        calibration: pairs with human preferences (PandaLM's or LLMBar's layout); each judge's agreement with them
            is measured first and reported.
        references: show the judges the right answer where the task has one; by default they judge without.
        samples: rank on the first so many samples only.
        store: run store, a path, a database URL, or None for the project's own.
        progress: told of every finished chunk.
        **style: ``style``, ``shots`` and ``seed`` of the prompt; what is not given is as each system says.

    Raises:
        UsageError: fewer than two models, an unknown method, or judges for a method that asks none.

    Example::

        steelyard.rank("task.jsonl", ["a.yaml", "b.yaml"], by="bradley-terry", judges=["large"]).ranking.ranked
    """
    if len(models) < 2:
        raise UsageError("rank needs two or more models; name each with --model")
    loaded, method = _opened(task, by)
    judges = _reviewers(method, judges, models, calibration is not None or references)
    labelled = labelled_pairs(Path(calibration)) if calibration is not None else None
    with opened_store(store) as opened:
        asked = {"samples": samples, "calibration": calibration, "references": references or None, **style}
        command = _command(loaded, models, by, judges if judges is not models else (), asked)
        settings = {"task": loaded.source or loaded.name, "command": command, "by": by, "samples": samples}
        run_id = opened.start("rank", settings)
        try:
            began = time.monotonic()
            done = [_evaluated(model, loaded, style, opened, progress, samples) for model in models]
            names = _names(models, done)
            for place, one in enumerate(done, 1):
                opened.link(run_id, f"c{place:02d}", one.key)
            found, seats = _ranked(
                method, loaded, names, done, _Bench(judges, models, names, labelled, references, opened, progress)
            )
        except SteelyardError as error:
            opened.finish(run_id, "failed", {"error": str(error)})
            raise
        run = {"id": run_id, "command": command, "seed": done[0].style.seed, "seconds": time.monotonic() - began}
        record = rank_record(found, done, loaded, by, seats, run)
        opened.finish(run_id, "done", record)
    return RecordedRanking(run_id, found, record)


def rank_record(
    found: Ranking,
    evaluations: Sequence[Evaluation],
    task: Task,
    by: str,
    judges: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a rank run; the module says what it holds."""
    candidates = [
        candidate_record(f"c{place:02d}", name, done)
        for place, (name, done) in enumerate(zip(found.names, evaluations, strict=True), 1)
    ]
    gold = None if found.method == GOLD else gold_ranking(found.names, evaluations)
    against_gold = None if gold is None else rank_agreement(found.ranked, gold.ranked)._asdict()
    return {
        "format": 1,
        "kind": "rank",
        "run": dict(run),
        "task": task_record(task, len(evaluations[0].results), sorted(evaluations[0].groups)),
        "by": by,
        "ranking": found.to_record(),
        "judges": list(judges),
        "against_gold": against_gold,
        "candidates": candidates,
        "winner": candidates[found.order[0]]["id"],
        "samples": measured_samples(evaluations[0], task),
        "findings": rank_findings(found, judges, len(evaluations[0].results), against_gold),
        "commands": [run["command"]],
        "environment": environment(),
    }


@dataclass(frozen=True)
class _Method:
    """How to rank: None for gold, else a ranking part and what it takes."""

    function: Callable[..., Ranking] | None
    settings: Mapping[str, Any]
    takes: str


@dataclass(frozen=True)
class _Bench:
    """The judges, by name or loaded, and where their verdicts are kept."""

    judges: Sequence[str | LanguageModel | Judge]
    models: Sequence[str | LanguageModel]
    names: tuple[str, ...]
    labelled: LabelledPairs | None
    references: bool
    store: RunStore
    progress: Progress | None

    def kept(self, judge: str | LanguageModel | Judge) -> KeptJudge:
        """One of them, loaded where it is a name, made a judge where it is a model."""
        found = loaded_model(judge, None, {}) if isinstance(judge, str) else judge
        made = pairwise_judge(found) if isinstance(found, LanguageModel) else found
        return KeptJudge(made, self.store, self.progress)


def _opened(task: str | Path | Task, by: str) -> tuple[Task, _Method]:
    name, settings = parts.parse_use(by)
    known = {info.name for info in parts.index().values() if info.kind == "ranking"}
    if parts.part_name(name) in known:
        function = parts.load(name, "ranking")
        checked = parts.validate(function, settings)
        opened = open_task(task) if isinstance(task, str | Path) else task
        return opened, _Method(function, checked, parts.inputs_of(function)[0])
    if settings:
        raise UsageError(
            f"unknown ranking {name!r}{parts.nearest(name, known)}; there are {', '.join(sorted(known))}"
        )
    metric = None if name == GOLD else name
    try:
        opened = open_task(task, metric=metric) if isinstance(task, str | Path) else task
    except UsageError as error:
        if metric is None:
            raise
        choices = ", ".join([GOLD, *sorted(known)])
        hint = parts.nearest(name, [GOLD, *known])
        raise UsageError(
            f"cannot rank by {by!r}{hint}; {error}; rank by {choices}, or a metric of the task"
        ) from error
    if metric is not None and opened.metric != metric:
        raise UsageError(f"cannot rank by {by!r}: task {opened.name!r} is ranked by {opened.metric!r}; use {GOLD}")
    return opened, _Method(None, {}, GOLD)


def _reviewers(
    method: _Method,
    judges: Sequence[str | LanguageModel | Judge],
    models: Sequence[str | LanguageModel],
    instructed: bool,
) -> Sequence[str | LanguageModel | Judge]:
    if method.takes != "battles":
        if judges or instructed:
            raise UsageError("this ranking asks no judges; leave --judge, --calibration and --references out")
        return ()
    return judges or models


def _evaluated(
    model: str | LanguageModel,
    task: Task,
    style: Mapping[str, Any],
    store: RunStore,
    progress: Progress | None,
    samples: int | None,
) -> Evaluation:
    system = loaded_model(model, None, {})
    ids = [sample.id for sample in task.samples()[:samples]]
    asked = asked_style(system, style)
    return evaluate(system, task, style=asked, store=store, sample_ids=ids, progress=progress)


def _ranked(
    method: _Method, task: Task, names: tuple[str, ...], done: Sequence[Evaluation], bench: _Bench
) -> tuple[Ranking, list[dict[str, Any]]]:
    if method.function is None:
        return gold_ranking(names, done), []
    if method.takes == "answers":
        return method.function(short_answers(names, done), **method.settings), []
    peers = bench.judges is bench.models
    table = whole_answers(names, done)
    seats: list[dict[str, Any]] = []
    reviewers: list[str] = []
    fought = []
    for place, judge in enumerate(bench.judges):
        kept = bench.kept(judge)
        reviewers.append(names[place] if peers else _distinct(kept.card.name, reviewers))
        seat: dict[str, Any] = {"name": reviewers[-1]}
        if bench.labelled is not None:
            seat["calibration"] = calibrate(kept, bench.labelled).to_record()
        battles, verdicts = fight(table, task.samples(), [kept], [reviewers[-1]], references=bench.references)
        given = verdicts[reviewers[-1]]
        shares = verdict_shares(given) if given else {}
        seats.append({**seat, "n": len(given), **{name: interval_record(share) for name, share in shares.items()}})
        fought.append(battles)
    return method.function(joined(fought), **method.settings), seats


def _names(models: Sequence[str | LanguageModel], done: Sequence[Evaluation]) -> tuple[str, ...]:
    """A name for each system, numbered where two are called the same."""
    found: list[str] = []
    for model, one in zip(models, done, strict=True):
        given = model if isinstance(model, str) else one.card.name
        found.append(_distinct(given if "://" in given else Path(given).name, found))
    return tuple(found)


def _distinct(name: str, taken: Sequence[str]) -> str:
    same = [other for other in taken if other == name or other.startswith(f"{name} (")]
    return f"{name} ({len(same) + 1})" if same else name


def _command(
    task: Task,
    models: Sequence[str | LanguageModel],
    by: str,
    judges: Sequence[str | LanguageModel | Judge],
    options: Mapping[str, Any],
) -> str:
    words = ["steelyard", "rank", task.source or task.name]
    for option, given in (("--model", models), ("--judge", judges)):
        for one in given:
            words += [option, one if isinstance(one, str) else one.card.name]
    words += ["--by", by]
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join(words)
