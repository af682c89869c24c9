"""Reading YAML that may come from anyone: small, flat, without aliases, each key once."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from steelyard.errors import InputError

MAX_BYTES = 1024**2
MAX_DEPTH = 20


class Section(BaseModel):
    """A mapping of a YAML file; nothing but its keys is understood, and no value is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_yaml(file: Path) -> Any:
    """The value of a YAML file.

    Raises :class:`InputError` naming file and line: unreadable, not YAML, larger than 1 MB, nested deeper than
    20 levels, a repeated key, or an alias (with which a file could refer to itself or grow without end).
    """
    return value_of(compose(file), file)


def value_of(root: yaml.Node | None, file: Path) -> Any:
    """The Python value of a node tree."""
    if root is None:
        return None
    try:
        return _Loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, file)) from error
    except (ValueError, OverflowError) as error:  # e.g. the date 2024-13-45
        raise InputError(f"{file}: a value cannot be read ({error}); put text in quotes") from error


def compose(file: Path) -> yaml.Node | None:
    """The node tree of a file, after checks that need no tree: size, encoding, depth, no aliases."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"{file}: larger than {MAX_BYTES >> 20} MB; such a file is a few lines")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        _check_events(text, file)
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, file)) from error


def _check_events(text: str, file: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark: Any = event.start_mark  # set by the parser, though the stubs allow None
        line = mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{file}:{line}: aliases (*{event.anchor}) are not allowed; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise InputError(f"{file}:{line}: nested deeper than {MAX_DEPTH} levels; such a file needs a few")


def _yaml_problem(error: yaml.YAMLError, file: Path) -> str:
    mark: Any = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    where = f"{file}:{mark.line + 1}" if mark else str(file)
    return f"{where}: not valid YAML: {problem}"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may occur only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                problem = f"the key {key!r} occurs twice" if isinstance(key, Hashable) else "a key must be a word"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """A number; ``2:4``, which YAML 1.1 takes for one to base 60, stays text."""
        text = str(node.value)
        if ":" in text:
            return text
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
