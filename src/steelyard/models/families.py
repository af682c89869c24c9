"""What a part needs to know of an architecture, without a line of code per architecture.

    family = family_of(module)
    for layer in family.layers(module):
        for role, linear in family.linears(layer).items():      # "q", "k", "v", "o", "gate", "up", "down", ...
            ...
    family.set_layers(module, [l for i, l in enumerate(family.layers(module)) if i != 7])

The names themselves are in :mod:`steelyard.models.family_data`, keyed by ``config.model_type``. A model of
another architecture gets the family ``unknown``: it scores and generates all the same, and what needs its
structure raises :class:`CapabilityError` naming what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.family_data import FAMILIES
from steelyard.parts import nearest

if TYPE_CHECKING:
    from torch import nn

Kind: TypeAlias = Literal["decoder", "encoder", "encoder-decoder", "recurrent"]
Stack: TypeAlias = Literal["decoder", "encoder"]
Paths: TypeAlias = str | tuple[str, ...] | None

LAYER_NUMBERS = ("layer_idx", "layer_id")
"""What modules of a layer call the place they have in the key-value cache."""

DECLARED_KEY = "steelyard_family"
"""Where a module's configuration keeps what was declared of its family."""

CONFIG_NAMES: Mapping[str, str | None] = {
    "depth": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
}


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture family as data; see :data:`~steelyard.models.family_data.FAMILIES` for what paths mean.

    Attributes:
        projections: role to path in a layer. Fused projections have roles of their own: ``qkv``, ``gate_up``.
        packed_masks: whether forward takes a 4-d attention mask and explicit position ids, so that several
            continuations can be packed behind one prefix. Such a mask is taken as it is: where the model has a
            sliding window, whoever makes the mask must cut it to the window.
        transposed: the projections are ``Conv1D`` modules, whose weight is (in, out).
        per_layer_lists: configuration lists with one entry a layer.
        run_length_lists: configuration lists that repeat a per-layer list in another notation.
        depth_dependent: configuration flags under which a layer computes differently at another depth.
        first_layer_only: (path, module, flag): a module that only the first layer has, used by all.
        optional: roles that some members of the family lack.
    """

    name: str
    kind: Kind = "decoder"
    layers_path: Paths = None
    encoder_layers_path: Paths = None
    embeddings_path: Paths = None
    positions_path: Paths = None
    final_norm_path: Paths = None
    head_path: Paths = None
    attention_path: Paths = None
    mlp_path: Paths = None
    experts_path: Paths = None
    router_path: Paths = None
    projections: Mapping[str, Paths] = field(default_factory=dict)
    layer_norms: Mapping[str, Paths] = field(default_factory=dict)
    config_names: Mapping[str, str | None] = field(default_factory=dict)
    packed_masks: bool = False
    transposed: bool = False
    per_layer_lists: tuple[str, ...] = ()
    run_length_lists: Mapping[str, str] = field(default_factory=dict)
    depth_dependent: tuple[str, ...] = ()
    first_layer_only: tuple[str, str, str] | None = None
    optional: tuple[str, ...] = ()

    # ------------------------------------------------------------------------------ parts of the model

    def layers(self, module: nn.Module, stack: Stack = "decoder") -> nn.ModuleList:
        """The transformer blocks, in order; ``stack`` chooses where there are an encoder and a decoder."""
        from torch import nn

        found = self._need(module, self._stack_path(stack), "layers")
        if not isinstance(found, nn.ModuleList):
            raise CapabilityError(
                f"family {self.name!r}: the layers are a {type(found).__name__}, not a ModuleList"
            )
        return found

    def embeddings(self, module: nn.Module) -> nn.Module:
        """The token embedding."""
        return self._need(module, self.embeddings_path, "embeddings")

    def positions(self, module: nn.Module) -> nn.Module | None:
        """The learned position embedding, or None where positions are encoded otherwise."""
        return _find(module, self.positions_path)

    def final_norm(self, module: nn.Module) -> nn.Module | None:
        """The normalisation after the last layer, or None where there is none."""
        self._known("final norm")
        return _find(module, self.final_norm_path)

    def head(self, module: nn.Module) -> nn.Module:
        """The linear map from hidden states to logits (its weight may be tied to the embedding's)."""
        return self._need(module, self.head_path, "language model head")

    # ------------------------------------------------------------------------------ parts of one layer

    def linears(self, layer: nn.Module) -> dict[str, nn.Module]:
        """Role to projection. Experts are not among them (:meth:`experts`); see ``transposed`` for GPT-2."""
        self._known("projections")
        return self._roles(layer, self.projections, "")

    def norms(self, layer: nn.Module) -> dict[str, nn.Module]:
        """Role to normalisation: ``attention`` and ``mlp`` before a block, ``attention_out`` ... after it."""
        self._known("norms")
        return self._roles(layer, self.layer_norms, "norm:")

    def attention(self, layer: nn.Module) -> nn.Module:
        """The self-attention block of a layer."""
        return self._need(layer, self.attention_path, "attention block")

    def mlp(self, layer: nn.Module) -> nn.Module:
        """The feed-forward (or mixture-of-experts) block of a layer."""
        return self._need(layer, self.mlp_path, "feed-forward block")

    def experts(self, layer: nn.Module) -> nn.Module | None:
        """The experts of a layer, with parameters of shape (experts, out, in); None in a dense layer."""
        return _find(layer, self.experts_path)

    def router(self, layer: nn.Module) -> nn.Module | None:
        """What chooses the experts of a layer; None in a dense layer."""
        return _find(layer, self.router_path)

    # ------------------------------------------------------------------------------------ configuration

    def config_value(self, module_or_config: Any, name: str) -> Any:
        """``depth``, ``width``, ``heads`` or ``kv_heads`` as this family's configuration calls it."""
        attribute = self._config_name(name)
        if attribute is None:
            raise CapabilityError(f"family {self.name!r} has no {name}")
        return getattr(_text_config(module_or_config), attribute)

    def _config_name(self, name: str) -> str | None:
        names = {**CONFIG_NAMES, **self.config_names}
        return names.get(name)

    def set_layers(
        self,
        module: nn.Module,
        layers: Sequence[nn.Module],
        *,
        stack: Stack = "decoder",
        origin: Sequence[int] | None = None,
    ) -> None:
        """Give ``module`` these layers, as if it had been configured and saved with them.

        The layer count, lists with one entry a layer and the layers' own numbers (which address the key-value
        cache) are put right, so the model generates and a saved copy loads as a plain shallower checkpoint.

        Args:
            module: the model, changed in place.
            layers: its new layers. The same object may not occur twice: pass a copy.
            stack: which layers, where there are an encoder and a decoder.
            origin: for each new layer the number of the old layer whose configuration it keeps; needed
                only for layers that are not among the old ones.

        Raises:
            ModelError: no layers, a layer given twice or of unknown origin, or an architecture in which a layer
                would compute something else at another depth.
        """
        from torch import nn

        old = list(self.layers(module, stack))
        origin = self._origin(old, layers, origin)
        config = _text_config(module)
        moved = list(origin) != list(range(len(layers)))
        for flag in self.depth_dependent:
            if moved and getattr(config, flag, False):
                raise ModelError(
                    f"layers cannot be moved in this {self.name!r} model: {flag} ties each to its depth"
                )
        if stack == "decoder" or self.kind == "encoder":
            self._shrink_lists(config, origin, len(old))
        name = self._config_name("encoder_depth" if self._is_second_stack(stack) else "depth")
        setattr(config, str(name), len(layers))
        self._keep_first_layer_module(old, layers)
        _number(layers)
        _replace(module, self._stack_path(stack), nn.ModuleList(layers))
        self._tell_stack(module, stack, len(layers))

    def _origin(self, old: list[Any], new: Sequence[Any], given: Sequence[int] | None) -> Sequence[int]:
        if not new:
            raise ModelError("a model needs at least one layer")
        if len({id(layer) for layer in new}) != len(new):
            raise ModelError("the same layer occurs twice: pass a copy, for each needs its own place in the cache")
        if given is not None:
            if len(given) != len(new) or not all(0 <= index < len(old) for index in given):
                raise ModelError(
                    f"origin must name one of the {len(old)} old layers for each of the new {len(new)}"
                )
            return given
        place = {id(layer): index for index, layer in enumerate(old)}
        if len(new) == len(old) and not any(id(layer) in place for layer in new):
            return list(range(len(new)))  # every layer rebuilt, one for one
        unknown = [index for index, layer in enumerate(new) if id(layer) not in place]
        if unknown:
            raise ModelError(f"layer {unknown[0]} is none of the model's own: say which it replaces with `origin`")
        return [place[id(layer)] for layer in new]

    def _shrink_lists(self, config: Any, origin: Sequence[int], old_depth: int) -> None:
        for name in self.per_layer_lists:
            values = getattr(config, name, None)
            if values is not None and len(values) == old_depth:
                setattr(config, name, [values[index] for index in origin])
        for name, source in self.run_length_lists.items():
            setattr(config, name, [[list(getattr(config, source)), 1]])

    def _keep_first_layer_module(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        if self.first_layer_only is None:
            return
        path, attribute, flag = self.first_layer_only
        source, target = _find(old[0], path), _find(new[0], path)
        if source is target or source is None or target is None or hasattr(target, attribute):
            return
        setattr(target, attribute, getattr(source, attribute))
        setattr(target, flag, True)
        if any(layer is old[0] for layer in new):  # it comes later now, and must not build biases of its own
            delattr(source, attribute)
            setattr(source, flag, False)

    def _tell_stack(self, module: nn.Module, stack: Stack, depth: int) -> None:
        # An encoder-decoder's halves hold copies of the configuration, with their own layer count.
        if self.kind == "encoder-decoder":
            half = getattr(module, stack)
            half.config.num_layers = depth

    # --------------------------------------------------------------------------------------- internals

    def _is_second_stack(self, stack: Stack) -> bool:
        return stack == "encoder" and self.kind == "encoder-decoder"

    def _stack_path(self, stack: Stack) -> Paths:
        return self.encoder_layers_path if self._is_second_stack(stack) else self.layers_path

    def _known(self, what: str) -> None:
        if self.layers_path is None:
            raise CapabilityError(
                f"the {what} of architecture {self.name.removeprefix('unknown:')!r} are not known to Steelyard; "
                "say where they are with `family`, in a system file or to load_model"
            )

    def _need(self, module: nn.Module, path: Paths, what: str) -> nn.Module:
        self._known(what)
        found = _find(module, path)
        if found is None:
            where = f" at {path!r}" if path else ""
            raise CapabilityError(f"family {self.name!r}: a {type(module).__name__} has no {what}{where}")
        return found

    def _roles(self, layer: nn.Module, paths: Mapping[str, Paths], kind: str) -> dict[str, nn.Module]:
        roles = {}
        for role, path in paths.items():
            found = _find(layer, path)
            if found is not None:
                roles[role] = found
            elif kind + role not in self.optional:
                raise CapabilityError(f"family {self.name!r}: a layer has no {kind}{role} at {path!r}")
        return roles


def family_of(module_or_config: Any) -> Family:
    """The family of a model or configuration; one that is not known is called ``unknown:<model_type>``.

    What was declared for the model itself (:func:`declare_family`) goes before what its type says.

    Example:
        >>> from transformers import LlamaConfig
        >>> family_of(LlamaConfig()).projections["down"]
        'mlp.down_proj'
    """
    config = _text_config(module_or_config)
    model_type = getattr(config, "model_type", "") or "?"
    declared = getattr(config, DECLARED_KEY, None)
    if declared is not None:
        return read_family(declared, model_type)
    row = FAMILIES.get(model_type)
    return Family(name=f"unknown:{model_type}") if row is None else Family(name=model_type, **row)


def read_family(row: Mapping[str, Any], name: str) -> Family:
    """A family as written in a file: fields of :class:`Family`, and ``like``, a known family that says the rest.

    Raises :class:`UsageError` for an unknown field or family (with the nearest known one) and wrong values.

    Example:
        >>> read_family({"like": "llama", "layers_path": "transformer.blocks"}, "mine").layers_path
        'transformer.blocks'
    """
    from pydantic import TypeAdapter, ValidationError

    own = dict(row)
    like = own.pop("like", None)
    if like is not None and like not in FAMILIES:
        raise UsageError(f"family data: there is no family {like!r} to be like{nearest(str(like), FAMILIES)}")
    known = [each.name for each in fields(Family) if each.name != "name"]
    for key in own:
        if key not in known:
            raise UsageError(f"family data has no field {key!r}{nearest(str(key), known)}")
    try:
        family = TypeAdapter(Family).validate_python({**FAMILIES.get(like, {}), **own, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"family data, {place}: {first['msg']}, not {first['input']!r}") from error
    if family.layers_path is None:
        raise UsageError("family data needs layers_path, where the model has its list of blocks (or like: llama)")
    return family


def declare_family(module: Any, row: Mapping[str, Any]) -> Family:
    """Say where ``module``, of an architecture that is not known, has its parts.

    The row is kept in the module's configuration, so that it holds for copies, and for checkpoints saved from
    them. Raises as :func:`read_family`, and :class:`CapabilityError` where the layers or projections are not where
    it says.
    """
    config = _text_config(module)
    family = read_family(row, getattr(config, "model_type", "") or "?")
    for layer in family.layers(module):
        family.linears(layer)
    setattr(config, DECLARED_KEY, json.loads(json.dumps(dict(row))))
    return family


def _text_config(module_or_config: Any) -> Any:
    config = getattr(module_or_config, "config", module_or_config)
    get = getattr(config, "get_text_config", None)
    # `decoder=True` of an encoder-decoder would hand out a copy, to which nothing can be written
    return config if get is None or getattr(config, "is_encoder_decoder", False) else get()


def _candidates(module: Any, path: Paths) -> Iterable[str]:
    """Each path as written, and as it reads from the model without its head, or with another head."""
    prefix = getattr(module, "base_model_prefix", "")
    for written in (path,) if isinstance(path, str) else path or ():
        yield written
        if prefix:
            yield written.removeprefix(f"{prefix}.") if written.startswith(f"{prefix}.") else f"{prefix}.{written}"


def _walk(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = module[int(name)] if name.lstrip("-").isdigit() else getattr(module, name, None)
        if module is None:
            return None
    return module


def _find(module: Any, path: Paths) -> nn.Module | None:
    for candidate in _candidates(module, path):
        found: nn.Module | None = _walk(module, candidate)
        if found is not None:
            return found
    return None


def _replace(module: Any, path: Paths, value: Any) -> None:
    for candidate in _candidates(module, path):
        if _walk(module, candidate) is not None:
            parent, _, name = candidate.rpartition(".")
            setattr(_walk(module, parent) if parent else module, name, value)
            return


def _number(layers: Sequence[Any]) -> None:
    for index, layer in enumerate(layers):
        for part in layer.modules():
            for name in LAYER_NUMBERS:
                if isinstance(getattr(part, name, None), int):
                    setattr(part, name, index)
