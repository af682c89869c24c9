"""What a walk through the blocks keeps on disk: finished blocks, and the hidden states in front of the next one.

    <model cache>/walks/<key>/
        state.json              blocks finished, shape and type of the hidden states, the log so far
        block-<n>.safetensors   the new weights of a finished block
        states-<n>              hidden states (windows, tokens, width) in front of block n, as they lie in memory

Files appear by renaming, and ``state.json`` is renamed last: it never tells of what is not there. A state that is
damaged all the same counts as none, and the walk begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steelyard.compression.calibration import fingerprint_texts
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.errors import ModelError, SteelyardError
from steelyard.models.cache import ENVIRONMENT_VARIABLE, cache_root, locked

FORMAT = 1


def walk_key(model: OpenWeights, part: AppliedPart, calibration: Texts, walk: Mapping[str, Any]) -> str:
    """What a walk is known by: model, where its layers are, part with settings, texts, and the walk's settings."""
    texts, family = fingerprint_texts(calibration), repr(model.family)
    content = [FORMAT, model.card.fingerprint, family, part.name, part.settings, texts, walk]
    text = json.dumps(content, sort_keys=True, default=str)
    return f"walk-{part.name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


@contextlib.contextmanager
def walk_folder(key: str) -> Iterator[WalkFolder]:
    """The folder of the walk ``key``, under a lock; gone when the context ends, unless it was cut short.

    A failure of Steelyard's own (inputs that are no numbers, say) leaves nothing either; a full disk leaves what
    is finished, and is a :class:`ModelError`.
    """
    folder = cache_root() / "walks" / key
    try:
        with locked(key):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                yield WalkFolder(folder)
            except SteelyardError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"{folder}: {error.strerror or error}; free some space or set {ENVIRONMENT_VARIABLE} to a folder that "
            "can be written, and run again to go on"
        ) from error


class WalkFolder:
    """The files of one walk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self) -> list[dict[str, Any]]:
        """The log of the finished blocks, JSON-ready."""
        return list(self._state().get("log", []))

    def finished(self) -> int | None:
        """How many blocks are finished; None where nothing was begun, or what is there is damaged."""
        state = self._state()
        if not state:
            return None
        number = int(state["finished"])
        size = math.prod(state["shape"]) * _dtype(state["dtype"]).itemsize
        if not all(self._block(n).is_file() for n in range(number)):
            return None
        states = self._states(number)
        there = number == state["blocks"] or (states.is_file() and states.stat().st_size == size)
        return number if there else None

    def begin(self, blocks: int, shape: Sequence[int], dtype: torch.dtype, states: Iterable[torch.Tensor]) -> None:
        """Begin a walk through ``blocks`` blocks with the hidden states (b, tokens, width) in front of the first.

        ``shape`` is that of all of them: (windows, tokens, width).
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._write_states(0, states)
        name = str(dtype).removeprefix("torch.")
        self._write_state({"finished": 0, "blocks": blocks, "shape": list(shape), "dtype": name, "log": []})

    def finish(
        self,
        number: int,
        tensors: Mapping[str, torch.Tensor],
        log: Sequence[Mapping[str, Any]],
        states: Iterable[torch.Tensor],
    ) -> None:
        """Block ``number`` is done: its new tensors, its log, and the states it hands on (none from the last)."""
        from safetensors.torch import save_file

        partial = self._folder / "partial"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(partial))
        os.replace(partial, self._block(number))
        self._write_states(number + 1, states)
        state = self._state()
        self._write_state({**state, "finished": number + 1, "log": [*state["log"], *log]})
        self._states(number).unlink(missing_ok=True)

    def tensors(self, number: int) -> dict[str, torch.Tensor]:
        """The new tensors of a finished block."""
        from safetensors.torch import load_file

        return {name: tensor.clone() for name, tensor in load_file(str(self._block(number))).items()}

    def states(self, number: int, rows: int) -> Iterator[torch.Tensor]:
        """The hidden states in front of block ``number``, ``rows`` windows at a time."""
        state = self._state()
        windows, *rest = state["shape"]
        with self._states(number).open("rb", buffering=0) as file:
            for start in range(0, windows, rows):
                batch = torch.empty(min(rows, windows - start), *rest, dtype=_dtype(state["dtype"]))
                _fill(file, batch)
                yield batch

    def _write_states(self, number: int, batches: Iterable[torch.Tensor]) -> None:
        # written, not mapped: on a full disk a write fails where it stands, a mapped page kills the process
        partial = self._folder / "partial"
        with partial.open("wb") as file:
            for batch in batches:
                file.write(batch.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        os.replace(partial, self._states(number))

    def _write_state(self, state: Mapping[str, Any]) -> None:
        partial = self._folder / "partial"
        partial.write_text(json.dumps(state), encoding="utf-8")
        os.replace(partial, self._folder / "state.json")

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _block(self, number: int) -> Path:
        return self._folder / f"block-{number}.safetensors"

    def _states(self, number: int) -> Path:
        return self._folder / f"states-{number}"


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def _fill(file: Any, tensor: torch.Tensor) -> None:
    """Read a tensor's bytes to where they belong, so that it lies as torch aligns its own."""
    view = tensor.flatten().view(torch.uint8).numpy().data
    while view:
        count = file.readinto(view)
        if not count:
            raise ModelError(f"{file.name}: ends too early; remove its folder and run again")
        view = view[count:]
