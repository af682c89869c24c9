"""Applying compression parts to a model, one after another, and remembering what slow ones found.

A part that needs no calibration texts is quick and simply runs. One that does is run once per model, settings
and texts, and what it found is kept in the model cache:

- If its ``calibration`` argument is optional, the settings it records in the model's card must be enough to
  rebuild the result without calibration (``sleb`` records the blocks it removed). Those settings are kept, and
  the rebuilt model shares its tensors with the one it came from.
- Otherwise the result is kept as a checkpoint folder. Such a part must record what tells its results apart, the
  calibration texts included (:func:`~steelyard.compression.calibration.fingerprint_texts`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from steelyard import parts as registry
from steelyard.compression.calibration import fingerprint_texts
from steelyard.contracts import LanguageModel, OpenWeights, Texts
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models import cache as model_cache

CACHE_FORMAT = 1
CALIBRATION = "calibration"

PartEntry = Mapping[str, Mapping[str, Any] | None] | str
"""One part as written in a system file: ``{"sleb": {"remove": 3}}``, or just ``"int8"``."""


def apply_parts(
    model: LanguageModel, parts: Sequence[PartEntry], calibration: Texts | None = None, *, cache: bool = True
) -> OpenWeights:
    """Apply compression parts in order and return the resulting model; ``model`` itself is untouched.

    Settings are checked for all parts before the first one runs. ``calibration`` goes to the parts that take it;
    with ``cache`` their results are remembered across runs.

    Raises:
        UsageError: an unknown part or setting, or no calibration texts for a part that cannot do without.
        CapabilityError: a model without weights in this process.

    Example:
        >>> apply_parts(model, [{"sleb": {"blocks": [10, 12]}}, "int8"]).card.parts  # doctest: +SKIP
        (AppliedPart(name='sleb', settings={'blocks': [10, 12]}), AppliedPart(name='int8', ...))
    """
    checked = [_checked(*split_entry(entry)) for entry in parts]
    if checked and "weights" not in model.card.capabilities:
        first = checked[0][0].__name__
        raise CapabilityError(
            f"part {first!r} changes weights, but those of {model.card.name} are not in this process"
        )
    result = cast(OpenWeights, model)
    for function, settings in checked:
        result = _apply(function, settings, result, calibration, cache)
    return result


def split_entry(entry: PartEntry) -> tuple[str, dict[str, Any]]:
    """``{"sleb": {"remove": 3}}`` -> ``("sleb", {"remove": 3})``; a bare name has no settings.

    >>> split_entry("int8")
    ('int8', {})
    """
    if isinstance(entry, str):
        return entry, {}
    if len(entry) != 1:
        raise UsageError(
            f"a part is written as one name with its settings, not {dict(entry)!r}; use a list of parts"
        )
    name, settings = next(iter(entry.items()))
    if not isinstance(settings, Mapping | None):
        raise UsageError(f"the settings of part {name!r} must be names with values, not {settings!r}")
    return name, dict(settings or {})


def needs_texts(name: str) -> bool:
    """Whether a part cannot do without calibration texts, so that its recorded settings alone do not rebuild it.

    >>> needs_texts("int8")
    False
    """
    taken = inspect.signature(registry.load(name, kind="compressor")).parameters.get(CALIBRATION)
    return taken is not None and taken.default is inspect.Parameter.empty


def _checked(name: str, settings: Mapping[str, Any]) -> tuple[Callable[..., OpenWeights], dict[str, Any]]:
    function = registry.load(name, kind="compressor")
    return function, registry.validate(function, settings)


def _apply(
    function: Callable[..., OpenWeights],
    settings: dict[str, Any],
    model: OpenWeights,
    calibration: Texts | None,
    cache: bool,
) -> OpenWeights:
    name = registry.part_name(function.__name__)
    taken = inspect.signature(function).parameters.get(CALIBRATION)
    if taken is None:
        return function(model, **settings)
    optional = taken.default is not inspect.Parameter.empty
    if calibration is None:
        if not optional:
            raise UsageError(f"part {name!r} needs calibration texts: give a file or folder of text like your own")
        return function(model, **settings)
    if not cache:
        return function(model, calibration, **settings)
    key = _key(name, settings, model, calibration)
    if optional:
        return _rebuilt(function, settings, model, calibration, key)
    return _checkpointed(function, settings, model, calibration, key)


def _rebuilt(
    function: Callable[..., OpenWeights],
    settings: dict[str, Any],
    model: OpenWeights,
    calibration: Texts,
    key: str,
) -> OpenWeights:
    """Run once with calibration, afterwards from the settings that run recorded."""
    found = model_cache.read_record(key)
    if isinstance(found, dict):
        return function(model, **registry.validate(function, found))
    result = function(model, calibration, **settings)
    model_cache.write_record(key, dict(result.card.parts[-1].settings))
    return result


def _checkpointed(
    function: Callable[..., OpenWeights],
    settings: dict[str, Any],
    model: OpenWeights,
    calibration: Texts,
    key: str,
) -> OpenWeights:
    """Run once into a checkpoint folder; always return what is read from there, so that every run is equal."""
    from steelyard.models.loading import load_model

    def build(folder: Path) -> None:
        result = function(model, calibration, **settings)
        if CALIBRATION not in result.card.parts[-1].settings:
            raise ModelError(
                f"part {registry.part_name(function.__name__)!r} does not record its calibration texts: "
                f"add {CALIBRATION!r}: fingerprint_texts(calibration) to the settings it applies"
            )
        result.save(folder)

    return cast(OpenWeights, load_model(str(model_cache.materialise(key, build))))


def _key(name: str, settings: Mapping[str, Any], model: OpenWeights, calibration: Texts) -> str:
    content = [CACHE_FORMAT, model.card.fingerprint, name, settings, fingerprint_texts(calibration)]
    text = json.dumps(content, sort_keys=True, default=str)
    return f"part-{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
