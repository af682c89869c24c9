"""The one orchestration of all layer-wise methods: block by block, matrix by matrix, resumable.

    def method(weight, inputs):                     # (out, in), Hessian
        return Solution(new_weight)                 # (out, in), and figures for the log

    result = compress_layers(model, texts, method, AppliedPart("sparsegpt", settings), Walk(tokens=4096))
    layer_log(result.card.parts[-1])                # what each matrix cost

Calibration windows go through the first block, whose matrices are solved for the inputs they really get; then the
*compressed* block's outputs are the inputs of the next. Hidden states between two blocks lie in a file, so that
memory does not grow with the calibration texts. At most it takes, beside
the model, the new weights and what the method itself needs:

    statistic_bytes          (or one matrix's statistic, 4 in^2 bytes, where that is more)
    + one block's forward pass over ``batch_tokens`` tokens

and on disk twice 4 bytes x tokens x width, and the blocks that are done. After every block its weights and the
next one's inputs are put on disk; a run that was killed goes on behind the last finished block, and ends with the
weights that it would have ended with. Its folder, in the model cache, is gone when the walk is through.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from steelyard.compression.block_replay import BlockReplay, RecordedBatch, share
from steelyard.compression.calibration import fingerprint_texts, token_windows
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_inputs import observe
from steelyard.compression.layer_matrices import (
    LayerMatrix,
    matrices_of,
    replace_parameter,
    write_matrices,
)
from steelyard.compression.walk_folder import WalkFolder, walk_folder, walk_key
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.errors import CapabilityError, InputError, ModelError
from steelyard.models import cache as model_cache

Targets: TypeAlias = Literal["sequential", "parallel"]

_log = logging.getLogger(__name__)


class Solution(NamedTuple):
    """What a method makes of one matrix: new numbers (out, in), and figures for the log."""

    weight: torch.Tensor
    figures: Mapping[str, float] = {}


LayerMethod: TypeAlias = Callable[[torch.Tensor, Hessian], Solution]
"""``(weight (out, in) in float32 or the Hessian's type, inputs) -> Solution``: a pure function on tensors.

It must not change what it is given. ``inputs.rows`` is 0 for an expert that no calibration token was routed to:
its Hessian is then the identity.
"""


class LayerRecord(NamedTuple):
    """One line of the log: what a matrix was solved from, and what that cost.

    ``rows`` are the inputs seen; ``error`` is |(W - W') X|^2 / |W X|^2 over them, W being the weight before.
    """

    name: str
    block: int
    role: str
    rows: int
    error: float
    seconds: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Walk:
    """How calibration texts are cut and sent through the blocks.

    Attributes:
        tokens: calibration tokens, at most.
        window: tokens in one window (no more than the model's context).
        seed: draws the windows from the texts.
        targets: ``sequential`` solves o for the inputs that compressed q, k and v give it, and so on down the
            block; ``parallel`` solves all matrices of a block for the inputs they have before any is changed,
            with one pass instead of about three.
        skip: matrices to leave alone: roles (``"down"``), or last or inner parts of names.
        batch_tokens: tokens of one forward pass.
        statistic_bytes: most memory of Hessians held at a time; more passes are made where they need more.
        dtype: in which Hessians are summed, and methods compute.
    """

    tokens: int = 8192
    window: int = 256
    seed: int = 0
    targets: Targets = "sequential"
    skip: tuple[str, ...] = ()
    batch_tokens: int = 2048
    statistic_bytes: int = 2 << 30
    dtype: torch.dtype = field(default=torch.float32)

    @property
    def settings(self) -> dict[str, Any]:
        """What bears on the result, for the record."""
        named = {"tokens": self.tokens, "window": self.window, "seed": self.seed, "targets": self.targets}
        return named | ({"skip": list(self.skip)} if self.skip else {})


def compress_layers(
    model: OpenWeights, calibration: Texts, method: LayerMethod, part: AppliedPart, walk: Walk = Walk()
) -> OpenWeights:
    """Solve every linear layer of the blocks with ``method`` and return the new model; ``model`` is untouched.

    Args:
        model: a decoder whose family says where its projections are.
        calibration: texts like those the model will read.
        method: what is done to one matrix.
        part: name and settings of the method. They must tell its results apart: a killed run is resumed by them.
        walk: how the texts are sent through the blocks.

    Returns:
        The model with ``part`` in its history. The settings recorded are the part's, the walk's, ``calibration``
        (fingerprint of the texts) and ``walk`` (the name of its log, see :func:`layer_log`).

    Raises:
        InputError: no calibration text, or less than one window.
        CapabilityError: an architecture without family data, or one that cannot score text.
        ModelError: inputs that are no numbers, naming the layer; blocks that cannot be run one by one; a full
        disk.
    """
    if "score" not in model.card.capabilities:
        raise CapabilityError(f"part {part.name!r} needs a model that scores text, but {model.card.name} cannot")
    windows = calibration_windows(model, calibration, walk)
    replay = BlockReplay(model)
    blocks = matrices_of(model, replay.module, walk.skip)
    key = walk_key(model, part, calibration, asdict(walk))
    with walk_folder(key) as folder:
        log = _walk(replay, blocks, windows, method, walk, folder)
    model_cache.write_record(key, [record._asdict() for record in log])
    settings = {**part.settings, **walk.settings, "calibration": fingerprint_texts(calibration), "walk": key}
    return model.evolve(replay.module, AppliedPart(part.name, settings))


def layer_log(part: AppliedPart) -> tuple[LayerRecord, ...]:
    """The log of the walk that made ``part``, from the model cache; empty where it is not there (any more)."""
    found = model_cache.read_record(str(part.settings.get("walk", "")))
    return tuple(LayerRecord(**entry) for entry in found) if isinstance(found, list) else ()


def solve_weights(
    model: OpenWeights, method: LayerMethod, part: AppliedPart, skip: Sequence[str] = ()
) -> OpenWeights:
    """As :func:`compress_layers` for methods that look at weights only: no texts, no walk, no log.

    The Hessian handed to ``method`` has seen no rows.
    """
    module = share(model.module)
    for block in matrices_of(model, module, skip):
        solved = [(matrix, _solve(matrix, Hessian(matrix.width), method, torch.float32)) for matrix in block]
        write_matrices((matrix, solution.weight) for matrix, solution in solved)
    return model.evolve(module, part)


def calibration_windows(model: OpenWeights, calibration: Texts, walk: Walk) -> torch.Tensor:
    """Token ids (windows, tokens) of the texts; :class:`InputError` where they do not fill one window."""
    if not any(text.strip() for text in calibration):
        raise InputError(
            "the calibration texts are empty; give some thousand words like those the model will read"
        )
    window = min(walk.window, model.card.context_length or walk.window)
    ids = token_windows(model.tokenizer, calibration, window=window, tokens=walk.tokens, seed=walk.seed)
    if ids.shape[1] < window:
        raise InputError(
            f"the calibration texts have only {ids.shape[1]} tokens, less than one window of {window}; give more "
            "text, or a smaller window"
        )
    return ids


def _walk(
    replay: BlockReplay,
    blocks: Sequence[Sequence[LayerMatrix]],
    windows: torch.Tensor,
    method: LayerMethod,
    walk: Walk,
    folder: WalkFolder,
) -> list[LayerRecord]:
    rows = max(1, walk.batch_tokens // windows.shape[1])
    batches = torch.split(windows, rows)
    traced = {len(ids): replay.trace(ids) for ids in (batches[-1], batches[0])}
    finished = folder.finished()
    if finished is None:
        first = traced[len(batches[0])].hidden
        shape = (*windows.shape, first.shape[-1])
        folder.begin(len(blocks), shape, first.dtype, _entries(replay, batches, traced))
        finished = 0
    for number in range(finished):
        _restore(blocks[number], folder.tensors(number))
    for number in range(finished, len(blocks)):

        def run(hidden: torch.Tensor, number: int = number) -> torch.Tensor:
            return replay.run(traced[len(hidden)], hidden.to(replay.device), [number])

        def states(number: int = number) -> Iterator[torch.Tensor]:
            return folder.states(number, rows)

        log = _solve_block(blocks[number], run, states, method, walk)
        last = number + 1 == len(blocks)
        outputs = () if last else (run(hidden) for hidden in states())
        tensors = {matrix.key: matrix.stored for matrix in blocks[number]}
        folder.finish(number, tensors, [record._asdict() for record in log], outputs)
        _report(number, len(blocks), log)
    return [LayerRecord(**entry) for entry in folder.log()]


def _entries(
    replay: BlockReplay, batches: Sequence[torch.Tensor], traced: Mapping[int, RecordedBatch]
) -> Iterator[torch.Tensor]:
    """The first block's inputs, batch by batch; what else blocks are called with must not depend on texts."""
    for ids in batches:
        hidden, arguments = replay.enter(ids)
        if not _same(arguments, traced[len(ids)].arguments[0]):
            raise ModelError("its blocks are called with more than hidden states that differs from text to text")
        yield hidden


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return True


def _restore(matrices: Sequence[LayerMatrix], tensors: Mapping[str, torch.Tensor]) -> None:
    for matrix in {matrix.key: matrix for matrix in matrices}.values():
        replace_parameter(matrix.module, matrix.parameter, tensors[matrix.key].to(matrix.stored.device))


def _solve_block(
    matrices: Sequence[LayerMatrix],
    run: Callable[[torch.Tensor], torch.Tensor],
    states: Callable[[], Iterator[torch.Tensor]],
    method: LayerMethod,
    walk: Walk,
) -> list[LayerRecord]:
    """Solve one block's matrices, in place, stage by stage or all for the inputs they have now."""
    log: list[LayerRecord] = []
    for stage in _stages(matrices, walk.targets):
        solved: list[tuple[LayerMatrix, torch.Tensor]] = []
        for group in _groups(stage, walk):
            for matrix, hessian in zip(group, observe(group, run, states(), walk.dtype), strict=True):
                started = time.perf_counter()
                solution = _solve(matrix, hessian, method, walk.dtype)
                seconds = time.perf_counter() - started
                error = hessian.error(matrix.read(), solution.weight)
                solved.append((matrix, solution.weight))
                log.append(
                    LayerRecord(
                        matrix.name,
                        matrix.block,
                        matrix.role,
                        hessian.rows,
                        error,
                        seconds,
                        dict(solution.figures),
                    )
                )
        write_matrices(solved)
    return log


def _solve(matrix: LayerMatrix, hessian: Hessian, method: LayerMethod, dtype: torch.dtype) -> Solution:
    try:
        solution = method(matrix.read().to(dtype), hessian)
    except ModelError as error:
        raise ModelError(f"{matrix.name}: {error}") from error
    if not bool(torch.isfinite(solution.weight).all()):
        raise ModelError(f"{matrix.name}: its new weights are not all finite numbers; raise damping")
    return solution._replace(weight=solution.weight.to(matrix.stored.dtype))


def _stages(matrices: Sequence[LayerMatrix], targets: Targets) -> list[list[LayerMatrix]]:
    if targets == "parallel":
        return [list(matrices)]
    stages: dict[int, list[LayerMatrix]] = {}
    for matrix in matrices:
        stages.setdefault(matrix.stage, []).append(matrix)
    return [stages[number] for number in sorted(stages)]


def _groups(matrices: Sequence[LayerMatrix], walk: Walk) -> list[list[LayerMatrix]]:
    """Matrices whose Hessians fit into ``statistic_bytes`` together, at least one at a time."""
    groups: list[list[LayerMatrix]] = []
    room = 0
    for matrix in matrices:
        need = matrix.width**2 * walk.dtype.itemsize
        if need > room or not groups:
            groups.append([])
            room = walk.statistic_bytes
        groups[-1].append(matrix)
        room -= need
    return groups


def _report(number: int, blocks: int, log: Sequence[LayerRecord]) -> None:
    worst = max(log, key=lambda record: record.error, default=None)
    unseen = sum(record.rows == 0 for record in log)
    if worst is not None:
        _log.info("block %d of %d: largest error %.4f (%s)", number + 1, blocks, worst.error, worst.name)
    if unseen:
        _log.warning("block %d: no calibration token was routed to %d expert matrices", number + 1, unseen)
