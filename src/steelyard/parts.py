"""Parts: the ``@part`` mark, the index of what there is, and the check of settings.

A part is a function (or a class) whose name is the part's name, whose keyword-only arguments are its
settings and whose docstring is its documentation. The index is generated from the source by parsing it
(:mod:`steelyard.catalog.index`), so listing parts imports none of them.

    from steelyard import parts
    compress = parts.load("sleb")                       # imports steelyard.compression.sleb only now
    settings = parts.validate("sleb", {"remove": "3"})  # {"remove": 3}; unknown names are refused
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from steelyard.errors import UsageError

INDEX_FILE = Path(__file__).with_name("parts.json")
ENTRY_POINTS = "steelyard.parts"

ROOM_KINDS: Mapping[str, str] = {
    "annotation": "annotator",
    "auditing": "audit",
    "compression": "compressor",
    "data": "curator",
    "decoding": "decoder",
    "evaluation": "task",
    "merging": "merger",
    "models": "recipe",
    "multimodal": "model",
    "retrieval": "retriever",
    "systems": "system",
    "training": "objective",
    "tuning": "search",
}
"""What a part of a room is unless ``@part(kind=...)`` says otherwise."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Mark:
    """What ``@part`` leaves on a function, as ``function.__part__``."""

    papers: tuple[int, ...]
    kind: str | None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting as written in the source: its annotation and default are source text."""

    name: str
    annotation: str
    default: str | None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One line of the index. ``status`` is ``"shown"`` or ``"null result"`` where evidence is recorded.

    ``also`` are names that people know it by, with some of its settings.
    """

    name: str
    kind: str
    room: str
    module: str
    attribute: str
    papers: tuple[int, ...]
    summary: str
    inputs: tuple[str, ...] = ()
    settings: tuple[SettingInfo, ...] = ()
    status: str = "not yet shown"
    package: str = field(default="steelyard")
    also: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> PartInfo:
        """Rebuild from the JSON form of :func:`dataclasses.asdict`."""
        fields = dict(record)
        fields["settings"] = tuple(SettingInfo(**setting) for setting in record.get("settings", ()))
        fields["papers"] = tuple(record["papers"])
        fields["inputs"] = tuple(record.get("inputs", ()))
        fields["also"] = tuple(record.get("also", ()))
        return cls(**fields)

    def to_record(self) -> dict[str, Any]:
        """The JSON form; ``also`` is left out where there is none."""
        record = asdict(self)
        return record if self.also else {key: value for key, value in record.items() if key != "also"}


def part(*, papers: Iterable[int] = (), kind: str | None = None, also: Iterable[str] = ()) -> Callable[[F], F]:
    """Mark a function or class as a part.

    ``papers`` are the numbers of the papers it comes from; ``kind`` names the contract it fulfils where that
    is not the usual one of its room (:data:`ROOM_KINDS`). ``also`` are names that people look for it by: it is
    pointed out for them, but they are no parts. The mark changes nothing in how it runs.
    """
    mark = Mark(tuple(papers), kind, tuple(also))

    def decorate(function: F) -> F:
        function.__part__ = mark  # type: ignore[attr-defined]
        return function

    return decorate


def part_name(attribute: str) -> str:
    """``finequant_int4`` -> ``finequant-int4``: how a function's name is written in files and commands."""
    return attribute.replace("_", "-")


@cache
def index() -> Mapping[str, PartInfo]:
    """Every known part by name: this package's from the generated index, others' from entry points.

    An entry point whose name is already taken is refused: two parts of one name would make a system file
    mean different things on different machines.
    """
    records = json.loads(INDEX_FILE.read_text(encoding="utf-8"))["parts"]
    found = {record["name"]: PartInfo.from_record(record) for record in records}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        name = part_name(entry.name)
        package = entry.dist.name if entry.dist else entry.module
        if name in found:
            raise UsageError(
                f"package {package!r} brings a part named {name!r}, which {found[name].package!r} already has; "
                "rename its entry point"
            )
        found[name] = PartInfo(
            name=name,
            kind="outside",
            room="outside",
            module=entry.module,
            attribute=entry.attr,
            papers=(),
            summary=f"from package {package}",
            package=package,
        )
    return found


def find(name: str, kind: str | None = None) -> PartInfo:
    """The part called ``name``; an unknown name is refused with the nearest real one."""
    candidates = {n: p for n, p in index().items() if kind is None or p.kind in (kind, "outside")}
    info = candidates.get(part_name(name))
    if info is None:
        what = kind or "part"
        covering = [candidate.name for candidate in candidates.values() if part_name(name) in candidate.also]
        hint = f"; {covering[0]!r} is it, with other settings" if covering else nearest(name, candidates)
        raise UsageError(f"unknown {what} {name!r}{hint}; `steelyard parts` lists all of them")
    return info


def load(name: str, kind: str | None = None) -> Callable[..., Any]:
    """Import the part called ``name`` and return its function or class."""
    info = find(name, kind)
    function: Callable[..., Any] = getattr(importlib.import_module(info.module), info.attribute)
    return function


def inputs_of(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments a part takes by position: its model, calibration texts and the like."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in positional]


def validate(name_or_function: str | Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``settings`` against the part's signature and return them converted to the annotated types.

    Raises :class:`UsageError` for an unknown setting (with the nearest real name), a value of the wrong type
    or out of the annotated range, and a required setting that is missing.
    """
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    function = load(name_or_function) if isinstance(name_or_function, str) else name_or_function
    name = part_name(function.__name__)
    known = _settings_of(function)
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        setting = key.replace("-", "_")
        if setting not in known:
            raise UsageError(f"part {name!r} has no setting {key!r}{nearest(setting, known)}")
        annotation = _evaluate(known[setting].annotation, function)
        try:
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # the annotation brings a configuration of its own
            adapter = TypeAdapter(annotation)
        try:
            checked[setting] = adapter.validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise UsageError(f"part {name!r}, setting {key!r}: {problem}, not {value!r}") from error
    missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in checked]
    if missing:
        raise UsageError(f"part {name!r} needs the setting {missing[0]!r}")
    return checked


def parse_setting(text: str) -> tuple[str, Any]:
    """``"remove=3"`` -> ``("remove", 3)``: one setting as typed on a command line, its value read as YAML."""
    import yaml

    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"setting {text!r} is not of the form name=value")
    if re.fullmatch(r"\s*\d+(:\d+)+\s*", value):  # a pattern such as 2:4, which YAML takes for a number to base 60
        return key, value.strip()
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"setting {text!r}: the value cannot be read ({str(error).splitlines()[0]})") from error


def parse_use(text: str) -> tuple[str, dict[str, Any]]:
    """A part and its settings as typed on a command line.

    Commas that start a new ``name=`` separate settings, so that a list value such as ``[1,2]`` stays whole.

    >>> parse_use("sleb:remove=3,blocks=[1,2]")
    ('sleb', {'remove': 3, 'blocks': [1, 2]})
    """
    name, _, rest = text.strip().partition(":")
    pairs = re.split(r",(?=\s*[A-Za-z_-]+=)", rest) if rest else []
    return name, dict(parse_setting(pair.strip()) for pair in pairs)


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _settings_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _evaluate(annotation: Any, function: Callable[..., Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    owner = inspect.unwrap(function.__init__ if inspect.isclass(function) else function)
    return eval(annotation, dict(vars(inspect.getmodule(owner) or object)))  # our own source text, never input
