"""``steelyard compress``: a smaller model, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, console, print_json, progress


def command(
    model: Annotated[str, typer.Argument(help="A model name, folder or .gguf file.")],
    weights: Annotated[
        str, typer.Argument(metavar="PARTS", help="Such as int8, sleb:remove=3 or sleb:remove=3+int8.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to save the checkpoint in.")],
    calibration: Annotated[
        Path | None, typer.Option(help="Texts that data-dependent parts look at: .txt, .jsonl or a folder.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Apply weight parts to a model, measure it before and after, and save the result."""
    from steelyard.cli.display import show_compression
    from steelyard.compression.checks import compress
    from steelyard.tuning.candidates import parse_weights

    parts = parse_weights(weights)
    with progress() as bars:
        record = compress(model, parts, out=out, calibration=calibration, progress=bars)
    if json:
        print_json(record.to_record())
    else:
        show_compression(record.to_record(), console())
