"""``tune``: weigh candidates and hand over the cheapest system that does the task well enough."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from steelyard.compression.calibration import read_calibration
from steelyard.contracts import LanguageModel, Marks, Progress, ResultKey, Task
from steelyard.errors import SteelyardError, UsageError
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.question_task import TEXT_METRICS
from steelyard.evaluation.tasks import open_task
from steelyard.quantities import memory_bytes
from steelyard.runs.store import RunStore, opened_store
from steelyard.systems.system_file import SystemFile, write_system
from steelyard.tuning.candidates import Candidate, checked_weights, grid, parse_weights, styles_of
from steelyard.tuning.groundings import Groundings, groundings
from steelyard.tuning.latency import probe_samples, time_pairs
from steelyard.tuning.limits import Limits, parse_limits
from steelyard.tuning.record import Outcome, build_record
from steelyard.tuning.search import Rules, Search
from steelyard.tuning.settings import TuneOptions, TuneSettings
from steelyard.tuning.strategies import search
from steelyard.tuning.variants import Variants
from steelyard.tuning.winner import calibration_beside, system_of, texts_needed

CHUNK = 64
"""Samples measured between two writes: large, since answers generated together cost little more than one."""


@dataclass(frozen=True, slots=True)
class TuneOutcome:
    """What a tune hands over: the record behind the report, and the winner's system file."""

    run_id: str
    record: dict[str, Any]
    system_file: Path


def tune(
    task: str | Path | Task,
    models: str | Sequence[str],
    *,
    out: str | Path = "tuned",
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    **options: Unpack[TuneOptions],
) -> TuneOutcome:
    """Find the cheapest system that does ``task`` well enough, and write it to ``out/best.yaml``.

    Candidates are every combination of models, weight parts, groundings and prompt styles. They are timed in turns
    with the first of them, then measured by a budgeted search (:mod:`steelyard.tuning.search`). Everything
    measured is kept in the run store: a killed tune, started again, continues where it was.

    Args:
        task: task file (.jsonl, .csv, .parquet), a benchmark with its settings, or a task.
        models: names, folders, .gguf files or endpoint URLs.
        out: folder that gets ``best.yaml``; created if missing.
        store: run store, a path, a database URL, or None for the project's own.
        progress: told how far it is.
        **options: the fields of :class:`TuneSettings`.

    Raises:
        UsageError: a name or setting is wrong, limits contradict each other, or no candidate keeps them.
        InputError: the task file is wrong.

    Example::

        outcome = steelyard.tune("task.jsonl", ["smollm2-135m"], weights=["none", "int8"], shots=[0])
        print(outcome.record["findings"])
    """
    settings = TuneSettings.read(options)
    names = [models] if isinstance(models, str) else list(models)
    limits = parse_limits(settings.limits)
    loaded = open_task(task, metric=settings.metric) if isinstance(task, str | Path) else task
    candidates = candidates_of(names, settings, loaded)
    folder = _writable(Path(out))
    with opened_store(store) as opened:
        return _Tuning(loaded, candidates, settings, limits, opened, progress).run(names, folder)


def candidates_of(models: Sequence[str], settings: TuneSettings, task: Task) -> list[Candidate]:
    """The grid that the settings describe, with the prompts that suit the task where they leave that open."""
    weights = [parse_weights(w) if isinstance(w, str) else checked_weights(w) for w in settings.weights]
    texts = task.metric in TEXT_METRICS
    styles = settings.styles or (("plain",) if texts else ("plain", "chat"))
    shots = (0,) if settings.shots is None and texts else settings.shots or (0, 3)
    grounds = groundings(settings.ground, settings.docs, settings.index)
    return grid(models, weights, styles_of(styles, shots, settings.seed), grounds)


class _Tuning:
    """One tune under way; each step reads what an earlier, interrupted one left in the store."""

    def __init__(
        self,
        task: Task,
        candidates: Sequence[Candidate],
        settings: TuneSettings,
        limits: Limits,
        store: RunStore,
        progress: Progress | None,
    ) -> None:
        self.task = task
        self.candidates = {candidate.id: candidate for candidate in candidates}
        self.settings = settings
        self.limits = limits
        self.store = store
        self.progress = progress
        self.texts = self._calibration()
        self.variants = Variants(
            self.texts,
            memory=None if settings.memory is None else memory_bytes(settings.memory),
            progress=progress,
        )
        self.groundings = Groundings(progress)
        self.keys: dict[str, ResultKey] = {}
        self.marks: dict[str, dict[str, Marks]] = {}
        self.order = list(task.samples())
        random.Random(settings.seed).shuffle(self.order)

    def run(self, models: Sequence[str], folder: Path) -> TuneOutcome:
        started = time.time()
        plan = self.settings.plan(self.task.fingerprint, models)
        run_id = self._begin(plan, models)
        try:
            facts = self._all_facts(run_id)
            refused = {name: reason for name in facts if (reason := self._refusal(facts[name]))}
            costs = {name: self._costs(facts[name]) for name in facts if name not in refused}
            if not costs:
                raise UsageError(f"no candidate keeps the limits: {next(iter(refused.values()))}; raise them")
            found, replayed = self._search(run_id, costs)
            outcome = Outcome(
                run_id=run_id,
                started=started,
                task=self.task,
                settings=self.settings,
                limits=self.limits,
                candidates=list(self.candidates.values()),
                facts=facts,
                refused=refused,
                costs=costs,
                search=found,
                replay=replayed,
                order=self.order,
                marks=self.marks,
                keys=self.keys,
            )
            target = folder / "best.yaml"
            record = build_record(outcome, models, target)
            system = self._system(self.candidates[record["winner"]], folder)
            note = (f"Chosen by `steelyard tune`, run {run_id}.", *record["findings"][:1])
            file = write_system(target, system, comment=note)
            record["system_file"] = file.read_text(encoding="utf-8")
            self.store.finish(run_id, "done", record)
        except SteelyardError as error:
            self.store.finish(run_id, "failed", {"error": str(error)})
            raise
        return TuneOutcome(run_id, record, file)

    def _begin(self, plan: str, models: Sequence[str]) -> str:
        """Continue an interrupted run of the same plan, or start one."""
        for past in self.store.runs(None, verb="tune"):
            if past.status == "running" and past.settings.get("plan") == plan:
                if self.progress is not None:
                    self.progress.note(f"continuing run {past.id}")
                return past.id
        settings = {"plan": plan, "task": self.task.source, "models": list(models)}
        return self.store.start("tune", {**settings, **self.settings.model_dump(mode="json")})

    def _calibration(self) -> list[str]:
        """Texts that data-dependent parts look at: those given, or the task's questions without answers."""
        if self.settings.calibration is not None:
            return read_calibration(self.settings.calibration)
        asked = [str(s.data.get("text") or s.data.get("prompt") or "") for s in self.task.samples()]
        return [text for text in asked if text.strip()]

    def _system(self, winner: Candidate, folder: Path) -> SystemFile:
        needed = texts_needed(winner)
        texts = calibration_beside(folder, self.settings.calibration, self.texts) if needed else None
        return system_of(winner, self.variants.get(winner.variant), self.task, folder, texts)

    def _model(self, candidate: Candidate) -> LanguageModel:
        """What is timed: a candidate as it is in use."""
        model = self.variants.get(candidate.variant)
        return model if candidate.ground is None else self.groundings.timed(model, candidate.ground)

    def _asked(self, candidate: Candidate) -> LanguageModel:
        """What is asked for quality: candidates share what they find."""
        model = self.variants.get(candidate.variant)
        return model if candidate.ground is None else self.groundings.measured(model, candidate.ground)

    def _all_facts(self, run_id: str) -> dict[str, Mapping[str, Any]]:
        """Size and speed of every candidate, each measured once a run."""
        scope = f"{run_id}/facts"
        facts = self.store.recorded(scope)
        if self.progress is not None:
            self.progress.start("timing", len(self.candidates), len(facts))
        for name, candidate in self.candidates.items():
            if name not in facts:
                facts[name] = self.store.record(scope, name, self._facts(candidate))
                if self.progress is not None:
                    self.progress.advance("timing")
        return {name: facts[name] for name in self.candidates}

    def _facts(self, candidate: Candidate) -> dict[str, Any]:
        model = self._model(candidate)
        facts: dict[str, Any] = {"parameters": model.card.parameters, "memory_bytes": model.card.memory_bytes}
        if self.limits.memory_bytes is None or (model.card.memory_bytes or 0) <= self.limits.memory_bytes:
            reference = next(iter(self.candidates.values()))
            timing = time_pairs(
                (model, candidate.style),
                (self._model(reference), reference.style),
                self.task,
                probe_samples(self.task, self.settings.timing_samples, self.settings.seed),
            )
            facts["latency"] = timing.to_record()
            facts["operations"] = 2.0 * (model.card.parameters or 0) * timing.tokens
        return facts

    def _refusal(self, facts: Mapping[str, Any]) -> str | None:
        """Why a candidate cannot be used at all, if it cannot."""
        memory, limit = facts["memory_bytes"], self.limits.memory_bytes
        if limit is not None and memory is None:
            return "its memory is unknown, and there is a limit on memory"
        if limit is not None and memory > limit:
            return f"needs {memory / 1e6:.0f} MB of memory, over the limit of {limit / 1e6:.0f} MB"
        median, most = facts["latency"]["p50"], self.limits.latency_seconds
        if most is not None and median > most:
            return f"takes {median * 1000:.0f} ms an answer (median), over the limit of {most * 1000:.0f} ms"
        return None

    def _costs(self, facts: Mapping[str, Any]) -> tuple[float, ...]:
        """What the frontier compares: the chosen cost first, and memory beside it."""
        return (cost_of(facts, self.settings.by), float(facts["memory_bytes"] or 0))

    def _search(self, run_id: str, costs: Mapping[str, Sequence[float]]) -> tuple[Search, Search | None]:
        """Search, or measure everything and replay the search on it."""
        settings = self.settings
        target = settings.target if settings.target is None or self.task.higher_is_better else -settings.target
        rules = Rules(tolerance=settings.tolerance, target=target, seed=settings.seed)
        cost = {name: prices[0] for name, prices in costs.items()}
        weights = [sample.weight for sample in self.order]
        if not self.settings.exhaustive:
            live = search(
                cost, weights, lambda names, at: self._measure(run_id, names, at), rules, settings.search
            )
            return live, None
        everything = self._measure(run_id, list(costs), range(len(self.order)))
        full = Search({name: dict(enumerate(values)) for name, values in everything.items()})
        replayed = search(
            cost,
            weights,
            lambda names, at: {n: [everything[n][i] for i in at] for n in names},
            rules,
            settings.search,
        )
        return full, replayed

    def _measure(self, run_id: str, names: Sequence[str], positions: Sequence[int]) -> dict[str, list[float]]:
        """Quality of each candidate on these samples, larger is better; asked once, then read from the store."""
        samples = [self.order[position] for position in positions]
        shared = len(names) > 1
        bar = f"samples {positions[0] + 1}-{positions[-1] + 1}" if shared else self.candidates[names[0]].label
        if self.progress is not None:
            self.progress.start(bar, len(names) * len(samples))
        measured = {}
        for name in sorted(names, key=lambda name: self.candidates[name].variant.key):
            candidate = self.candidates[name]
            done = evaluate(
                self._asked(candidate),
                self.task,
                style=candidate.style,
                store=self.store,
                sample_ids=[sample.id for sample in samples],
                chunk=CHUNK,
            )
            if name not in self.keys:
                self.keys[name] = done.key
                self.store.link(run_id, name, done.key)
            marks = {result.sample_id: result.marks for result in done.results}
            self.marks.setdefault(name, {}).update(marks)
            measured[name] = [self._quality(marks[sample.id]) for sample in samples]
            if self.progress is not None:
                self.progress.advance(bar, len(samples))
        return {name: measured[name] for name in names}

    def _quality(self, marks: Marks) -> float:
        value = marks.values[self.task.metric]
        return value if self.task.higher_is_better else -value


def cost_of(facts: Mapping[str, Any], by: str) -> float:
    """The cost that ``by`` names: seconds of one answer, bytes in memory, or operations an answer."""
    if by == "latency":
        return float(facts["latency"]["p50"])
    return float(facts["memory_bytes" if by == "memory" else "operations"] or 0)


def _writable(folder: Path) -> Path:
    """Make the output folder now, so that a long search does not end at a folder that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot write results there ({error.strerror}); choose another --out"
        ) from error
    return folder
