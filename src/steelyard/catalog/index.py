"""Generate ``parts.json`` from the source by parsing it, never by importing it.

    python -m steelyard.catalog.index           # rewrite the index
    python -m steelyard.catalog.index --check   # exit 1 if the committed index is out of date

A part is a top-level function or class under ``@part(...)`` in a room of :mod:`steelyard`. Its status comes
from ``evidence/<part>.json`` at the root of a checkout and from nowhere else.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steelyard.errors import InputError
from steelyard.parts import INDEX_FILE, ROOM_KINDS, PartInfo, SettingInfo, part_name

PACKAGE = Path(__file__).resolve().parent.parent
EVIDENCE = PACKAGE.parent.parent / "evidence"

Definition = ast.FunctionDef | ast.ClassDef


def generate(package: Path = PACKAGE, evidence: Path = EVIDENCE) -> str:
    """The text of ``parts.json``: parts sorted by name, one JSON object a line so that changes merge well.

    Raises :class:`InputError` when two parts share a name, a part has no docstring, or ``@part`` holds
    anything but literals.
    """
    parts: dict[str, PartInfo] = {}
    for file in sorted(package.glob("*/**/*.py")):
        for found in _parts_in(file, package, evidence):
            if found.name in parts:
                raise InputError(f"{file}: part {found.name!r} is already defined in {parts[found.name].module}")
            parts[found.name] = found
    lines = [json.dumps(parts[name].to_record(), ensure_ascii=False) for name in sorted(parts)]
    return '{"parts": [\n' + ",\n".join(lines) + "\n]}\n"


def _parts_in(file: Path, package: Path, evidence: Path) -> Iterator[PartInfo]:
    source = file.read_text(encoding="utf-8")
    if "@part" not in source:
        return
    relative = file.relative_to(package)
    module = ".".join(("steelyard", *relative.with_suffix("").parts))
    for node in ast.parse(source, str(file)).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        mark = _mark_of(node, file)
        if mark is None:
            continue
        summary = (ast.get_docstring(node) or "").strip().split("\n\n")[0].replace("\n", " ")
        if not summary:
            raise InputError(
                f"{file}:{node.lineno}: part {node.name!r} has no docstring; say in one line what it does"
            )
        room = relative.parts[0]
        name = part_name(node.name)
        inputs, settings = _arguments_of(node)
        yield PartInfo(
            name=name,
            kind=mark.get("kind") or ROOM_KINDS[room],
            room=room,
            module=module,
            attribute=node.name,
            papers=tuple(mark.get("papers", ())),
            summary=summary,
            inputs=inputs,
            settings=settings,
            status=_status_of(name, evidence),
            also=tuple(mark.get("also", ())),
        )


def _mark_of(node: Definition, file: Path) -> dict[str, Any] | None:
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == "part"
        ):
            try:
                return {k.arg: ast.literal_eval(k.value) for k in decorator.keywords if k.arg}
            except ValueError as error:
                raise InputError(
                    f"{file}:{decorator.lineno}: @part takes literals only, so that it can be parsed"
                ) from error
    return None


def _arguments_of(node: Definition) -> tuple[tuple[str, ...], tuple[SettingInfo, ...]]:
    """Positional arguments (inputs) and keyword-only ones (settings) of a function or of ``__init__``."""
    if isinstance(node, ast.ClassDef):
        constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if constructor is None:
            return (), ()
        node = constructor
    arguments = node.args
    inputs = tuple(a.arg for a in [*arguments.posonlyargs, *arguments.args] if a.arg != "self")
    settings = tuple(
        SettingInfo(
            name=argument.arg,
            annotation=ast.unparse(argument.annotation) if argument.annotation else "Any",
            default=ast.unparse(default) if default else None,
        )
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    )
    return inputs, settings


def _status_of(name: str, evidence: Path) -> str:
    file = evidence / f"{name}.json"
    if not file.is_file():
        return "not yet shown"
    return str(json.loads(file.read_text(encoding="utf-8"))["verdict"])


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the index, or with ``--check`` compare it; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    text = generate()
    if "--check" in arguments:
        if not INDEX_FILE.is_file() or INDEX_FILE.read_text(encoding="utf-8") != text:
            print(f"{INDEX_FILE.name} is out of date: run `make index` and commit the result", file=sys.stderr)
            return 1
        return 0
    INDEX_FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
