"""Watching what the matrices of a block are called with, while calibration windows run through the block.

A dense layer is watched where it is called. Fused experts are not called one by one: what is routed to each is
worked out from what their module is called with, by the attributes with which transformers' expert modules
describe themselves. A pass ends where the last of the watched modules has been reached: watching q, k and v costs
a norm, not a block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from steelyard.compression.block_replay import PassEnded
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import LayerMatrix
from steelyard.errors import CapabilityError, ModelError


@torch.no_grad()
def observe(
    matrices: Sequence[LayerMatrix],
    run: Callable[[torch.Tensor], object],
    batches: Iterable[torch.Tensor],
    dtype: torch.dtype = torch.float32,
) -> list[Hessian]:
    """The Hessian of each matrix's inputs over ``batches`` of hidden states, sent through the block by ``run``.

    Matrices that are called with the same tensor get the same object. One of an expert that nothing was routed to
    has no rows. Raises :class:`ModelError`, naming the layer, for inputs that are not finite, and for a dense
    layer that is never called.
    """
    watch = _Watch(matrices, dtype)
    with watch.hooks():
        for hidden in batches:
            watch.begin()
            with contextlib.suppress(PassEnded):
                run(hidden)
    return [watch.hessian(matrix) for matrix in matrices]


class Routing(NamedTuple):
    """What a module of fused experts is called with: inputs (n, d), and the experts (n, k) of each."""

    inputs: torch.Tensor
    experts: torch.Tensor


def routing_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Routing:
    """Read the arguments of an experts module: its first float tensor, and its first integer tensor."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    inputs = [t for t in tensors if t.is_floating_point()]
    chosen = [t for t in tensors if t.dtype in (torch.int32, torch.int64)]
    if not inputs or not chosen:
        raise CapabilityError("an experts module is not called with inputs and the numbers of the experts chosen")
    return Routing(inputs[0].reshape(-1, inputs[0].shape[-1]), chosen[0].reshape(-1, chosen[0].shape[-1]))


def inner_states(experts: Any, rows: torch.Tensor, expert: int) -> torch.Tensor:
    """What one fused expert gives its down projection for inputs (n, d): (n, inner)."""
    gated = bool(getattr(experts, "has_gate", True))
    name = "gate_up_proj" if gated else "up_proj"
    if not hasattr(experts, name) or not hasattr(experts, "_apply_gate" if gated else "act_fn"):
        raise CapabilityError(f"a {type(experts).__name__} does not say how its experts compute")
    weight = getattr(experts, name)[expert]
    states = rows @ (weight if getattr(experts, "is_transposed", False) else weight.t())
    if getattr(experts, "has_bias", False):
        states = states + getattr(experts, f"{name}_bias")[expert]
    inner: torch.Tensor = experts._apply_gate(states) if gated else experts.act_fn(states)
    return inner


class _Seen(NamedTuple):
    """An input of this batch, held so that no other tensor can take its place, and whose it was first."""

    tensor: torch.Tensor
    version: int
    hessian: Hessian
    module: int


class _Watch:
    """Hooks on the modules of some matrices, and what they have met so far."""

    def __init__(self, matrices: Sequence[LayerMatrix], dtype: torch.dtype) -> None:
        self._matrices = matrices
        self._dtype = dtype
        self._hessians: dict[tuple[int, str, int | None], Hessian] = {}
        self._calls: dict[int, int] = {}
        self._seen: list[_Seen] = []
        self._ends_early: bool | None = None

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Watch for as long as the context lasts."""
        by_module: dict[int, list[LayerMatrix]] = {}
        for matrix in self._matrices:
            by_module.setdefault(id(matrix.module), []).append(matrix)
        handles = [
            group[0].module.register_forward_pre_hook(self._hook(group), with_kwargs=True)
            for group in by_module.values()
        ]
        self._calls = dict.fromkeys(by_module, 0)
        try:
            yield
        finally:
            self._seen.clear()
            for handle in handles:
                handle.remove()

    def begin(self) -> None:
        """A new batch comes. The first runs to its end: passes may end early if each module was called once."""
        if any(self._calls.values()) and self._ends_early is None:
            self._ends_early = all(count == 1 for count in self._calls.values())
        self._calls = dict.fromkeys(self._calls, 0)
        self._seen.clear()

    def hessian(self, matrix: LayerMatrix) -> Hessian:
        """What was learned of a matrix's inputs."""
        found = self._hessians.get(_key(matrix))
        if found is None:
            if not matrix.routed:
                raise ModelError(f"{matrix.name} is never called with inputs; leave it out (skip {matrix.role})")
            return self._new(matrix)
        if not found.finite:
            raise ModelError(
                f"{matrix.name}: its inputs on the calibration texts are not all finite numbers; the weights are "
                "damaged or overflow in this dtype: load the model in float32"
            )
        return found

    def _hook(self, group: list[LayerMatrix]) -> Callable[..., None]:
        def called(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if group[0].expert is None:
                self._take(group[0], args[0] if args else next(iter(kwargs.values())))
            else:
                self._take_routed(group, routing_of(args, kwargs))
            self._calls[id(module)] += 1
            if self._ends_early and all(self._calls.values()):
                raise PassEnded

        return called

    def _take(self, matrix: LayerMatrix, inputs: torch.Tensor) -> None:
        shared = next((s for s in self._seen if s.tensor is inputs and s.version == inputs._version), None)
        mine = self._hessians.get(_key(matrix))
        if mine is None:
            mine = self._hessians[_key(matrix)] = shared.hessian if shared else self._new(matrix)
        others = any(s.hessian is mine and s.module != id(matrix.module) for s in self._seen)
        if (shared.hessian is not mine) if shared else others:
            raise ModelError(
                f"{matrix.name} shares its inputs with other layers for some texts and not for others"
            )
        if shared is None:
            mine.add(inputs)
            self._seen.append(_Seen(inputs, inputs._version, mine, id(matrix.module)))

    def _take_routed(self, group: list[LayerMatrix], routing: Routing) -> None:
        for matrix in group:
            assert matrix.expert is not None
            rows = routing.inputs[(routing.experts == matrix.expert).any(-1)]
            if len(rows):
                inner = matrix.role == "down"
                inputs = inner_states(matrix.module, rows, matrix.expert) if inner else rows
                if _key(matrix) not in self._hessians:
                    self._hessians[_key(matrix)] = self._new(matrix)
                self._hessians[_key(matrix)].add(inputs)

    def _new(self, matrix: LayerMatrix) -> Hessian:
        return Hessian(matrix.width, self._dtype, matrix.stored.device)


def _key(matrix: LayerMatrix) -> tuple[int, str, int | None]:
    return id(matrix.module), matrix.parameter, matrix.expert
