"""A decoding step, recorded once and replayed without the Python around its operations.

With small batches a step spends as long in Python as in some of its matrix products. ``torch.jit.trace`` runs the
module's own code once and notes the operations; replaying them gives the same numbers. What was recorded is
compared with the module at other sizes, and not used where it differs or cannot be recorded; the log says so.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from steelyard.models.forward import Engine
from steelyard.models.kv_cache import RowCache, ViewCache

STEPS_BEFORE = 160
"""Steps an engine takes before it records one: recording costs about as much as so many steps save."""
TOLERANCE = 1e-4

log = logging.getLogger(__name__)


class StepModule(nn.Module):
    """One token for each row: logits (rows, vocabulary) from plain tensors, keys and values written in place."""

    def __init__(self, module: nn.Module, kinds: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.kinds = kinds

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        """``tensors`` are a mask for each kind of layer, then keys and values of each layer."""
        count = max(1, len(self.kinds))
        masks, views = tensors[:count], tensors[count:]
        mask = dict(zip(self.kinds, masks, strict=True)) if self.kinds else masks[0]
        output = self.module(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=ViewCache(views, positions),
            use_cache=True,
        )
        logits: torch.Tensor = output.logits
        return logits[:, 0]


class RecordedStep(NamedTuple):
    """What :class:`Recorder` keeps: the replayable step and the lock of its engine."""

    function: Any
    lock: Any

    def run(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, views: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Logits float32 (rows, vocabulary); ``views`` take the new keys and values."""
        with self.lock, torch.inference_mode():
            logits: torch.Tensor = self.function(ids, positions, *_flat(mask), *views)
        return logits.float()


class Recorder:
    """Records the step of an engine's module when it has been taken often enough, and anew when it changed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.steps = 0
        self.recorded: RecordedStep | None = None
        self.parts: tuple[int, ...] = ()

    def ready(self, cache: RowCache) -> RecordedStep | None:
        """The recorded step of the module as it is now, or None where there is none yet, or can be none."""
        self.steps += 1
        if self.steps < STEPS_BEFORE:
            return None
        parts = _parts(self.engine.module)
        if parts != self.parts:
            self.parts = parts
            self.recorded = self._record(cache)
        return self.recorded

    def _record(self, cache: RowCache) -> RecordedStep | None:
        module = self.engine.module
        if any(_hooks(child) for child in module.modules()):
            return None  # what hooks do may differ from step to step
        sizes = ((2, 8), (1, 5), (3, 19))
        inputs = [_trial(cache, self.engine, rows, columns) for rows, columns in sizes]
        kinds = sorted(inputs[0].mask) if isinstance(inputs[0].mask, dict) else []
        step = StepModule(module, kinds).eval()
        try:
            with self.engine.lock, torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that sizes and branches become constants is checked below
                function = torch.jit.trace(step, inputs[0].arguments(), check_trace=False)  # type: ignore[no-untyped-call]
                agrees = all(_agrees(step, function, trial) for trial in inputs)
        except Exception as error:  # tracing fails in as many ways as modules are written
            reason = (str(error).splitlines() or [""])[0]
            log.info("%s: its step cannot be recorded (%s); it runs as it is", self.engine.name, reason)
            return None
        if not agrees:
            log.info("%s: its recorded step gives other numbers; it runs as it is", self.engine.name)
            return None
        return RecordedStep(function, self.engine.lock)


class Trial(NamedTuple):
    """Inputs to record and compare with."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: Any
    views: list[torch.Tensor]

    def arguments(self) -> tuple[torch.Tensor, ...]:
        """As the step takes them, with copies of what it writes to."""
        return (self.ids, self.positions, *_flat(self.mask), *(view.clone() for view in self.views))


def _trial(cache: RowCache, engine: Engine, rows: int, columns: int) -> Trial:
    from steelyard.models.attention_masks import additive_mask

    generator = torch.Generator().manual_seed(rows)
    views = []
    for view in cache.views(1, 1):
        shape = (rows, view.shape[1], columns + 1, view.shape[3])
        random = torch.randn(shape, generator=generator)
        views.append(random.to(view.device, view.dtype)[:, :, :columns])  # as in a cache, not contiguous
    ids = torch.arange(1, rows + 1, device=engine.device).unsqueeze(1)
    positions = columns - ids
    distance = (positions - torch.arange(columns, device=engine.device)).unsqueeze(1)
    mask = additive_mask(distance >= 0, distance, engine.module.config, engine.module.dtype)
    return Trial(ids, positions, mask, views)


def _agrees(step: nn.Module, function: Any, trial: Trial) -> bool:
    mine, theirs = trial.arguments(), trial.arguments()
    pairs = [(step(*mine), function(*theirs)), *zip(mine, theirs, strict=True)]
    scale = max(float(pairs[0][0].float().std()), 1.0)
    return all(a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * scale) for a, b in pairs)


def _flat(mask: Any) -> list[torch.Tensor]:
    return [mask[kind] for kind in sorted(mask)] if isinstance(mask, dict) else [mask]


def _parts(module: nn.Module) -> tuple[int, ...]:
    """What a module consists of: changed values are replayed, changed parts have to be recorded."""
    found = [id(child) for child in module.modules()]
    found += [parameter.data_ptr() for parameter in module.parameters()]
    found += [id(hook) for child in module.modules() for hook in _hooks(child)]
    return tuple(found)


def _hooks(module: nn.Module) -> list[Any]:
    """Hooks of a module, but for those transformers leaves behind to collect outputs when it is asked for them."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return [hook for hook in hooks if getattr(hook, "__module__", "") != "transformers.utils.output_capturing"]
