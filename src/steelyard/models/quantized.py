"""Which layers of a model hold their weights as integers: replacing them, naming them, and turning them back.

Two kinds of layer stand in for linear ones: :class:`~steelyard.models.int8_linear.Int8Linear`, with a scale for
each output channel, and :class:`~steelyard.models.grouped_linear.GroupedLinear`, with scales for groups of inputs
and 8 or 4 bits; its sibling :class:`~steelyard.models.grouped_linear.GroupedExperts` stands in for the weights of
experts. A saved model names them in ``steelyard.json``, and they are put in place before its weights are read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.families import family_of
from steelyard.models.grouped_linear import GroupedExperts, GroupedLinear, run_by_expert
from steelyard.models.int8_linear import DIGITS, DIGITS_KEY, PACKED_KEY, Int8Linear, is_linear, weight_of

QUANTIZED = (Int8Linear, GroupedLinear, GroupedExperts)


def linear_names(module: nn.Module, *, skip: Iterable[str] = (), head: bool = False) -> list[str]:
    """Dotted names of the linear layers that can be quantized, embeddings and (unless ``head``) the head apart.

    ``skip`` leaves out names that end with, or contain as one of their dotted parts, a given name. Rarely used
    shapes (routers, whose choice of experts is sensitive) are the caller's to skip.
    """
    output = _head(module)
    found = [(name, child) for name, child in module.named_modules() if is_linear(child)]
    return _kept((name for name, child in found if head or child is not output), skip)


def expert_names(module: nn.Module, *, skip: Iterable[str] = ()) -> list[str]:
    """Dotted names of the parameters (experts, out, in) that hold the experts of a known architecture."""
    family = family_of(module)
    if family.experts_path is None:
        return []
    blocks = [family.experts(layer) for layer in family.layers(module)]
    experts = {id(block) for block in blocks if block is not None}
    return _kept(
        (
            f"{name}.{own}"
            for name, child in module.named_modules()
            if id(child) in experts
            for own, parameter in child.named_parameters(recurse=False)
            if parameter.dim() == 3 and parameter.is_floating_point()
        ),
        skip,
    )


def exchange(module: nn.Module, replacements: Mapping[str, nn.Module | nn.Parameter]) -> nn.Module:
    """A copy of ``module`` with others in place of the submodules or parameters of these names.

    ``module`` stays as it is. Where the head is replaced and its weight was tied to the embedding, the copy's
    configuration says that they are not tied.
    """
    memo: dict[int, Any] = {}
    for name, new in replacements.items():
        old = _part(module, name)
        memo[id(old)] = new if isinstance(old, nn.Module) and isinstance(new, nn.Module) else old
    result = copy.deepcopy(module, memo)
    for name, new in replacements.items():
        if _part(result, name) is not new:
            parent, _, last = name.rpartition(".")
            owner = result.get_submodule(parent)
            delattr(owner, last)
            setattr(owner, last, new)
        if isinstance(new, nn.Module):
            new.train(module.training)
    _untie(result, replacements)
    run_by_expert(result)
    return result


def replace_linears(
    module: nn.Module,
    *,
    skip: Iterable[str] = (),
    head: bool = False,
    digits: int = DIGITS,
    packed: bool = False,
) -> nn.Module:
    """A copy of ``module`` whose linear layers are :class:`Int8Linear`; ``module`` itself stays as it is.

    ``digits`` is the number of 8-bit digits an activation is computed with, 1 (W8A8) to 3 (exact to float32);
    with ``packed`` a layer may hold a half-precision copy beside its integers. Both are noted in the copy's
    configuration.

    With ``head`` the output head is quantized too. Where its weight is tied to the embedding, the copy gets an
    int8 head of its own beside the float embedding, and its configuration says that they are not tied.
    """
    if digits not in (1, 2, 3):
        raise UsageError(f"int8: digits must be 1, 2 or 3, not {digits}")
    names = linear_names(module, skip=skip, head=head)
    if not names:
        raise CapabilityError(f"{type(module).__name__} has no linear layers that int8 could replace")
    new = exchange(
        module, {name: Int8Linear.from_linear(module.get_submodule(name), digits, packed) for name in names}
    )
    if hasattr(new, "config"):
        setattr(new.config, DIGITS_KEY, digits)
        if packed:
            setattr(new.config, PACKED_KEY, True)
    return new


# ------------------------------------------------------------------------------------- saving and loading


def int8_names(module: nn.Module) -> list[str]:
    """Dotted names of the :class:`Int8Linear` layers of a module, as saved in ``steelyard.json``."""
    return [name for name, child in module.named_modules() if isinstance(child, Int8Linear)]


def grouped_layers(module: nn.Module) -> dict[str, dict[str, int]]:
    """Bits and group size of the packed layers and experts by dotted name, as saved in ``steelyard.json``."""
    return {
        name: {"bits": child.bits, "group": child.group}
        for name, child in module.named_modules()
        if isinstance(child, GroupedLinear | GroupedExperts)
    }


def empty_linears(module: nn.Module, names: Iterable[str]) -> nn.Module:
    """Put an empty :class:`Int8Linear` in place of each named linear layer, for a state dict to be loaded into.

    Changes ``module`` in place and returns it; raises :class:`ModelError` for a name that is no linear layer.
    """
    names = list(names)
    config = getattr(module, "config", None)
    digits = int(getattr(config, DIGITS_KEY, DIGITS))
    packed = bool(getattr(config, PACKED_KEY, False))
    for name in names:
        linear = _linear(module, name, "int8")
        rows, columns = weight_of(linear).shape
        bias = getattr(linear, "bias", None) is not None
        device = weight_of(linear).device
        new = Int8Linear(columns, rows, bias, digits=digits, packed=packed, device=device)
        _put(module, name, new)
    _untie(module, names)
    return module


def empty_grouped(module: nn.Module, layers: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """As :func:`empty_linears`, for packed layers and experts as :func:`grouped_layers` describes them."""
    for name, layout in layers.items():
        try:
            bits, group = int(layout["bits"]), int(layout["group"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"steelyard.json: `grouped` gives no bits and group of {name!r}") from error
        old = _part(module, name)
        new: nn.Module
        if isinstance(old, nn.Parameter) and old.dim() == 3:
            new = GroupedExperts(tuple(old.shape), bits=bits, group=group, device=old.device)
        else:
            linear = _linear(module, name, "grouped")
            rows, columns = weight_of(linear).shape
            bias = getattr(linear, "bias", None) is not None
            device = weight_of(linear).device
            new = GroupedLinear(columns, rows, bias, bits=bits, group=group, device=device)
        _put(module, name, new)
    _untie(module, layers)
    return module


def dense(module: nn.Module) -> nn.Module:
    """A copy with floats in place of packed integers: the plain architecture that transformers knows.

    Layers hold the weights that their integers stand for, in the type of the model's other weights. A head that
    was tied before it was quantized stays a matrix of its own. ``module`` itself stays as it is.
    """
    layers = [(name, child) for name, child in module.named_modules() if isinstance(child, QUANTIZED)]
    if not layers:
        return module
    plain = _skeleton(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    found: dict[str, nn.Module | nn.Parameter] = {}
    for name, layer in layers:
        weight = layer.weight.to(dtype)
        if isinstance(layer, GroupedExperts):
            found[name] = nn.Parameter(weight)
            continue
        new = copy.deepcopy(plain.get_submodule(name)).to_empty(device=weight.device)
        new.weight = nn.Parameter(weight if isinstance(new, nn.Linear) else weight.t().contiguous())
        if layer.bias is not None:
            new.bias = nn.Parameter(layer.bias.detach().to(dtype).clone())
        found[name] = new
    result = exchange(module, found)
    config: Any = result.config
    for key in (DIGITS_KEY, PACKED_KEY):
        config.__dict__.pop(key, None)
    return result


# --------------------------------------------------------------------------------------------- internals


def _skeleton(module: Any) -> nn.Module:
    """The float architecture of a model, without memory for its weights."""
    with torch.device("meta"):
        plain: nn.Module = type(module)(copy.deepcopy(module.config))
    return plain


def _kept(names: Iterable[str], skip: Iterable[str]) -> list[str]:
    left_out = set(skip)
    return [
        name
        for name in names
        if name not in left_out
        and not left_out & set(name.split("."))
        and not any(name.endswith("." + ending) for ending in left_out)
    ]


def _part(module: nn.Module, name: str) -> nn.Module | nn.Parameter | None:
    """The submodule or parameter of a dotted name, None where there is none."""
    parent, _, last = name.rpartition(".")
    try:
        found: nn.Module | nn.Parameter | None = getattr(module.get_submodule(parent), last, None)
    except AttributeError:
        return None
    return found


def _put(module: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    owner = module.get_submodule(parent)
    delattr(owner, last)
    setattr(owner, last, new.train(module.training))


def _linear(module: nn.Module, name: str, listed: str) -> nn.Module:
    linear = _part(module, name)
    if not isinstance(linear, nn.Module) or not is_linear(linear):
        raise ModelError(f"{name!r} is listed as {listed} but is no linear layer of {type(module).__name__}")
    return linear


def _head(module: Any) -> nn.Module | None:
    try:
        head: nn.Module | None = module.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return head


def _untie(module: Any, names: Iterable[str]) -> None:
    head = _head(module)
    if head is None or not any(_part(module, name) is head for name in names):
        return
    if module.config.tie_word_embeddings and getattr(module.config, "is_encoder_decoder", False):
        raise CapabilityError(
            f"{type(module).__name__} scales its decoder's output when head and embedding are tied, so its head "
            "cannot be quantized by itself; leave the head as it is"
        )
    module.config.tie_word_embeddings = False
