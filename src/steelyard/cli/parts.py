"""``steelyard parts``: what there is to build systems from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli.console import JsonFlag, console, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.parts import PartInfo


def command(
    name: Annotated[str | None, typer.Argument(help="Show this part: its settings and its papers.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only parts of this kind, such as compressor.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the parts, or show one: its settings, papers, and what was measured with it."""
    from steelyard import parts
    from steelyard.errors import UsageError

    if name is not None:
        info = parts.find(name)
        if json:
            print_json(info.to_record())
            return
        _show(info)
        return
    found = sorted(parts.index().values(), key=lambda part: (part.room, part.name))
    if kind is not None:
        kinds = sorted({part.kind for part in found})
        if kind not in kinds:
            raise UsageError(f"unknown kind {kind!r}{parts.nearest(kind, kinds)}; known: {', '.join(kinds)}")
        found = [part for part in found if part.kind == kind]
    if json:
        print_json([part.to_record() for part in found])
        return
    _list(found)


def _list(found: Sequence[PartInfo]) -> None:
    """Two lines a part, so that names stay whole on a narrow terminal."""
    from rich.padding import Padding
    from rich.text import Text

    out = console()
    for part in found:
        line = Text.assemble((part.name, "bold"), (f"  {part.kind}, {part.status}", "dim"))
        out.print(line, soft_wrap=True)
        if out.is_terminal:
            out.print(Padding(Text(part.summary), (0, 0, 0, 4)))
        else:
            out.print(Text(f"    {part.summary}"), soft_wrap=True)


def _show(info: PartInfo) -> None:
    out = console()
    out.print(f"[bold]{info.name}[/bold]  ({info.kind}, room {info.room}, {info.status})")
    out.print(info.summary, markup=False)
    if info.also:
        out.print(f"also: {', '.join(info.also)}", markup=False)
    if info.papers:
        out.print(f"papers: {', '.join(map(str, info.papers))}", markup=False)
    if info.inputs:
        out.print(f"takes: {', '.join(info.inputs)}", markup=False)
    for setting in info.settings:
        default = f" = {setting.default}" if setting.default is not None else " (required)"
        out.print(f"  {setting.name}: {setting.annotation}{default}", markup=False)
    out.print(f"python: from {info.module} import {info.attribute}", markup=False)
