"""Loading anything that can be asked, by name: a model, an endpoint or a system file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from steelyard.contracts import LanguageModel, Texts
from steelyard.errors import UsageError
from steelyard.models.loading import LLAMA_CPP, NGRAM
from steelyard.quantities import memory_bytes
from steelyard.systems.system_file import SUFFIXES, SystemFile, read_system


def load(
    name: str | Path,
    *,
    calibration: Texts | None = None,
    cache: bool = True,
    on: str | None = None,
    **options: Any,
) -> LanguageModel:
    """Load a system file (``*.yaml``, ``*.yml``) or any name that ``models.load_model`` takes.

    ``options`` go to ``load_model`` (``device``, ``dtype``, ``memory``, ``accept_licence`` ...). A system
    file's parts are applied; those that need calibration get ``calibration``, else the texts that the file
    names. A file without a ``prompt`` section gives the bare model, with its parts. With ``on="ray"`` (or
    ``ray:ADDRESS``) the model is loaded by the workers of a Ray cluster and each call is divided among them.

    Example:
        >>> load("best.yaml").generate([[Message("user", "What is a steelyard?")]])  # doctest: +SKIP
    """
    from steelyard.models.loading import load_model

    if on is not None:
        return _on_cluster(name, on, calibration=calibration, cache=cache, **options)
    text = str(name)
    if not text.lower().endswith(SUFFIXES) or "://" in text:
        return load_model(text, **options)
    path = Path(name)
    return assemble(read_system(path), path, calibration=calibration, cache=cache, **options)


def assemble(
    system: SystemFile,
    path: Path | None = None,
    *,
    calibration: Texts | None = None,
    cache: bool = True,
    **options: Any,
) -> LanguageModel:
    """Load the model that ``system`` names, apply its parts, give it its documents and put it behind its prompt
    style.

    ``path`` is where the file lies: paths in it that start with a dot, and those of its calibration texts and
    documents, are relative to its folder. ``options`` go before those of the file's ``endpoint`` section.
    """
    from steelyard.models.loading import load_model

    if system.endpoint is not None:
        stated = system.endpoint.model_dump(exclude_none=True)
        if "response_cache" in stated:
            stated["response_cache"] = _resolved(stated["response_cache"], path)
        options = {**stated, **options}
    # a limit on memory is one on the weights as they are used: after the parts
    memory = memory_bytes(options.pop("memory")) if system.weights and "memory" in options else None
    if system.family is not None:
        options = {"family": system.family, **options}
    model = load_model(_resolved(system.model, path), **options)
    if system.weights:
        from steelyard.compression.apply import apply_parts

        model = apply_parts(model, system.weights, _calibration(system, path, calibration), cache=cache)
    if memory is not None:
        model = limited(model, memory)
    if system.ground is not None:
        from steelyard.systems.grounding import ground

        model = ground(model, system.ground, path.parent if path else None)
    if system.prompt is None:
        return model
    from steelyard.systems.system import System

    return System(model, system.prompt.to_style(), name=path.stem if path else None)


def _on_cluster(name: str | Path, on: str, **options: Any) -> LanguageModel:
    """A model loaded by the workers of a cluster; a system's prompt style stays here."""
    from steelyard.models.loading import load_model
    from steelyard.models.ray_model import RayModel, address_of

    address = address_of(on)
    text = str(name)
    if "://" in text:
        raise UsageError(f"{text} is served elsewhere already; leave --on out")
    path = Path(name).resolve() if Path(name).exists() else None
    if not text.lower().endswith(SUFFIXES):
        loading = {key: value for key, value in options.items() if key not in ("calibration", "cache")}
        return RayModel(partial(load_model, str(path or text), **loading), address)
    system = read_system(path or Path(name))
    changed: dict[str, Any] = {"prompt": None}
    if system.ground is not None and system.ground.docs is not None:
        from steelyard.systems.grounding import index_of

        index = str(index_of(system.ground, path.parent if path else None))  # once, here, not by every worker
        changed["ground"] = system.ground.model_copy(update={"docs": None, "index": index})
    model = RayModel(partial(assemble, system.model_copy(update=changed), path, **options), address)
    if system.prompt is None:
        return model
    from steelyard.systems.system import System

    return System(model, system.prompt.to_style(), name=Path(name).stem)


def limited(model: LanguageModel, memory: int) -> LanguageModel:
    """``model`` with its forward passes planned to stay within ``memory`` bytes, weights included."""
    from steelyard.models.weights import TransformersModel

    if not isinstance(model, TransformersModel):
        raise UsageError(f"memory cannot be limited for {model.card.name}: its weights are not in this process")
    return model.within(memory)


def _calibration(system: SystemFile, path: Path | None, given: Texts | None) -> Sequence[str] | None:
    if given is not None or system.calibration is None:
        return given
    from steelyard.compression.calibration import read_calibration

    folder = path.parent if path else Path()
    return read_calibration(folder / system.calibration)


def _resolved(name: str, path: Path | None) -> str:
    schemed = name.startswith((f"{LLAMA_CPP}:", NGRAM))
    engine, separator, bare = name.partition(":") if schemed else ("", "", name)
    if path is not None and bare.startswith(("./", "../")):
        return f"{engine}{separator}{path.parent / bare}"
    return name
