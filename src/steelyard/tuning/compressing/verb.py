"""The verb ``compress``: apply parts, measure what they cost, refuse what costs too much, and hand over."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, cast

from steelyard import parts as registry
from steelyard.compression.apply import PartEntry, apply_parts, split_entry
from steelyard.compression.sizes import sizes_of
from steelyard.contracts import LanguageModel, ModelCard, OpenWeights, Progress
from steelyard.errors import CapabilityError, LossError, ModelError, SteelyardError, UsageError
from steelyard.models.loading import load_model
from steelyard.runs.store import RunStore, opened_store
from steelyard.tuning.compressing.metric_card import MetricCard
from steelyard.tuning.compressing.model_card import model_card
from steelyard.tuning.compressing.quality import (
    SIDES,
    CheckPlan,
    Quality,
    check_plan,
    limit_problems,
    measure_quality,
)
from steelyard.tuning.compressing.record import Handover, build_record, findings
from steelyard.tuning.compressing.settings import CompressOptions, CompressSettings
from steelyard.tuning.compressing.speed import measure_speed
from steelyard.tuning.compressing.texts import ChosenTexts, choose_texts, texts_record

METRIC_CARD = "metric_card.json"
MODEL_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Compression:
    """A compressed model: its run in the store, the model, its metric card, and where it was saved (if it was)."""

    run_id: str
    model: OpenWeights
    card: MetricCard
    folder: Path | None


def compress(
    model: str | Path | LanguageModel,
    parts: Sequence[PartEntry],
    *,
    out: str | Path | None = None,
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    **options: Unpack[CompressOptions],
) -> Compression:
    """Compress a model, measure what that cost, and save the result with its cards.

    The original and the compressed model are measured on the same held-out texts (bits per byte, perplexity) and
    the same questions of the quick suite, and timed in turns. What was measured is kept in the run store, so a
    repeated call measures only what is new. Without ``held_out`` the last tenth of the calibration texts is kept
    from calibration and measured on; where those are short or absent, the six texts of the quick suite are.

    The folder appears whole or not at all, and holds the checkpoint, ``README.md`` (a model card) and
    ``metric_card.json``.

    Args:
        model: A loaded model, or a name, folder or .gguf file.
        parts: Compression parts in order, such as ``[{"sleb": {"remove": 3}}, "int8"]``.
        out: A new or empty folder for the checkpoint; without it nothing is saved.
        store: Run store, a path, a database URL, or None for the project's own.
        progress: Told how far it is.
        **options: The fields of :class:`CompressSettings`.

    Raises:
        UsageError: No parts, a folder that is already full, or a wrong setting.
        LossError: The loss is not shown to stay within ``max_loss``; nothing is saved.
        CapabilityError: A model that cannot score text, unless ``check`` is off.

    Example:
        >>> done = compress("smollm2-135m", ["int8"], out="small", max_loss=0.02)  # doctest: +SKIP
        >>> done.card.compression_ratio  # doctest: +SKIP
        2.09
    """
    settings = CompressSettings.read(options)
    if not parts:
        raise UsageError("compress needs at least one part, such as int8; `steelyard parts` lists them")
    target = None if out is None else _target(Path(out))
    texts = choose_texts(settings.calibration, settings.held_out, measured=settings.check)
    with opened_store(store) as opened:
        return _Compressing(model, parts, texts, settings, opened, progress).run(target)


class _Compressing:
    """One compression under way."""

    def __init__(
        self,
        model: str | Path | LanguageModel,
        parts: Sequence[PartEntry],
        texts: ChosenTexts,
        settings: CompressSettings,
        store: RunStore,
        progress: Progress | None,
    ) -> None:
        self.given = model
        self.parts = parts
        self.texts = texts
        self.settings = settings
        self.store = store
        self.progress = progress

    def run(self, target: Path | None) -> Compression:
        """Everything, with the run in the store finished whatever happens."""
        began = time.time()
        before = load_model(str(self.given)) if isinstance(self.given, str | Path) else self.given
        name = str(self.given) if isinstance(self.given, str | Path) else before.card.name
        command = _command(name, self.parts, self.settings, target)
        run_id = self.store.start("compress", {"model": name, "command": command})
        try:
            plan = self._plan(before) if self.settings.check else None  # refused before anything takes long
            after = apply_parts(before, self.parts, self.texts.calibration)
            done = self._handover(before, after, plan, run_id)
            if target is not None and (not done.problems or self.settings.force):
                done = _saved(done, after, target, command)
            record = build_record(done, {"id": run_id, "seconds": time.time() - began}, command)
            self.store.finish(run_id, "done", record)
        except SteelyardError as error:
            self.store.finish(run_id, "failed", {"error": str(error)})
            raise
        if done.problems and not self.settings.force:
            raise LossError(
                f"not saved: {'; '.join(done.problems)} (a larger max_loss or more items may do; force saves it)",
                run_id,
            )
        return Compression(run_id, after, done.card, done.folder)

    def _handover(
        self, before: LanguageModel, after: OpenWeights, plan: CheckPlan | None, run_id: str
    ) -> Handover:
        quality = speed = None
        if plan is not None:
            quality = measure_quality(before, after, plan, store=self.store, progress=self.progress)
            self._link(run_id, plan, quality)
            if self.progress is not None:
                self.progress.note("timing both models in turns")
            speed = measure_speed(before, after, [row.data["text"] for row in plan.texts.rows])
        card = MetricCard(sizes_of(cast(OpenWeights, before)), sizes_of(after), speed, quality)
        limit = self.settings.max_loss
        return Handover(
            before=before.card,
            after=after.card,
            card=card,
            plan=plan,
            calibration=self._calibration(before.card, after.card),
            held_out=None if plan is None else self._held_out(plan),
            max_loss=limit,
            problems=[] if limit is None or quality is None else limit_problems(quality, limit),
            forced=self.settings.force,
            folder=None,
        )

    def _plan(self, before: LanguageModel) -> CheckPlan:
        if "score" not in before.card.capabilities:
            raise CapabilityError(
                f"{before.card.name} cannot score text, so that what compressing costs it cannot be measured; "
                "switch the check off (--no-check), and measure it on a task of your own"
            )
        items = self.settings.quick if "generate" in before.card.capabilities else 0
        return check_plan(self.texts.held_out, self.texts.source, items=items)

    def _calibration(self, before: ModelCard, after: ModelCard) -> Mapping[str, Any] | None:
        """Which texts the new parts looked at, if any of them takes texts."""
        new = after.parts[len(before.parts) :]
        taken = any("calibration" in registry.find(part.name).inputs for part in new)
        if self.texts.calibration is None or not taken:
            return None
        return texts_record(self.texts.calibrated_on, self.texts.calibration)

    def _held_out(self, plan: CheckPlan) -> Mapping[str, Any]:
        return {**texts_record(plan.source, self.texts.held_out), "windows": len(plan.texts.rows)}

    def _link(self, run_id: str, plan: CheckPlan, quality: Quality) -> None:
        for side in SIDES:
            for task, done in zip(plan.all_tasks, quality.evaluations[side], strict=True):
                self.store.link(run_id, f"{side}/{task.name}", done.key)


def _target(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already exists and is not an empty folder; name a new one")
    return folder


def _saved(done: Handover, after: OpenWeights, target: Path, command: str) -> Handover:
    """Write checkpoint and cards beside ``target`` and put them there in one step."""
    done = replace(done, folder=target)
    new = target.parent / f".{target.name}.{os.getpid()}.new"
    facts = {"calibration": done.calibration, "held_out": done.held_out, "command": command}
    try:
        shutil.rmtree(new, ignore_errors=True)
        after.save(new)
        card = json.dumps(done.card.to_record(), indent=2, allow_nan=False)
        (new / METRIC_CARD).write_text(card + "\n", encoding="utf-8")
        text = model_card(done.before, done.after, done.card, facts, findings(done))
        (new / MODEL_CARD).write_text(text, encoding="utf-8")
        new.rename(target)  # takes the place of an empty folder, and of nothing else
    except OSError as error:
        raise ModelError(
            f"{target}: cannot be written ({error.strerror or error}); choose another place"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return done


def _typed(value: Any) -> str:
    """A setting's value as it is typed: text as it is, all else as YAML reads JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _command(name: str, parts: Sequence[PartEntry], settings: CompressSettings, target: Path | None) -> str:
    """The command line that does the same again."""
    words = ["steelyard", "compress", name]
    for entry in parts:
        part, chosen = split_entry(entry)
        pairs = ",".join(f"{key}={_typed(value)}" for key, value in chosen.items())
        words += ["--with", f"{part}:{pairs}" if pairs else part]
    return shlex.join([*words, *settings.words(), *([] if target is None else ["--out", str(target)])])
