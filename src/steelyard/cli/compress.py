"""``steelyard compress``: a smaller model, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli.console import JsonFlag, MemoryOption, console, print_json

if TYPE_CHECKING:
    from steelyard.compression.checks import Compression
    from steelyard.contracts import Interval, LanguageModel, ModelCard


def command(
    model: Annotated[str, typer.Argument(help="A model name, folder or .gguf file.")],
    weights: Annotated[
        str, typer.Argument(metavar="PARTS", help="Such as int8, sleb:remove=3 or sleb:remove=3+int8.")
    ],
    out: Annotated[Path, typer.Option("--out", help="New or empty folder to save the checkpoint in.")],
    calibration: Annotated[
        Path | None, typer.Option(help="Texts that data-dependent parts look at: .txt, .md, .jsonl or a folder.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Other texts, to measure bits per byte on before and after.")
    ] = None,
    memory: MemoryOption = None,
    json: JsonFlag = False,
) -> None:
    """Apply weight parts to a model, measure what that changed, and save the result."""
    from steelyard.compression.verb import compress
    from steelyard.tuning.candidates import parse_weights

    parts = parse_weights(weights)
    given: str | LanguageModel = model
    if memory is not None:
        from steelyard.models.loading import load_model

        given = load_model(model, memory=memory)
    done = compress(given, parts, out=out, calibration=calibration, held_out=held_out)
    record = compression_record(done)
    if json:
        print_json(record)
        return
    terminal = console()
    for name, measure in record["measures"].items():
        terminal.print(f"{name}: {measure}", markup=False, soft_wrap=True)
    terminal.print(f"saved: {out}", markup=False, soft_wrap=True)


def compression_record(done: Compression) -> dict[str, Any]:
    """The JSON form of a compression; ``measures`` says the same in words."""
    before, after = done.before, done.after
    measures = {
        "parameters": f"{before.parameters:,} -> {after.parameters:,} ({done.parameter_ratio:.3f}x)",
        "memory": f"{_megabytes(before)} -> {_megabytes(after)} ({done.memory_ratio:.3f}x)",
    }
    bits: Mapping[str, Interval | None] = {
        "bits per byte before": done.bits_before,
        "bits per byte after": done.bits_after,
        "difference (paired)": done.difference,
    }
    for name, interval in bits.items():
        if interval is not None:
            value, low, high, n = interval
            measures[name] = f"{value:.4f} [{low:.4f}, {high:.4f}] on {n} windows"
    if done.difference is None:
        measures["quality"] = "not measured (give --held-out texts, or compare both models on your task)"
    return {
        "folder": done.folder,
        "fingerprint": after.fingerprint,
        "parts": [{"name": part.name, "settings": dict(part.settings)} for part in after.parts],
        "parameters": [before.parameters, after.parameters],
        "memory_bytes": [before.memory_bytes, after.memory_bytes],
        "bits_per_byte": {name: interval._asdict() if interval else None for name, interval in bits.items()},
        "measures": measures,
    }


def _megabytes(card: ModelCard) -> str:
    return "unknown" if card.memory_bytes is None else f"{card.memory_bytes / 1e6:.0f} MB"
