"""``steelyard index``: documents into a folder that can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.cli.console import JsonFlag, console, print_json, progress

SHOWN = 20
"""So many skipped files are listed; ``--json`` lists all."""


def command(
    docs: Annotated[
        Path, typer.Argument(help="A folder of documents (txt, md, html, pdf, docx, csv, jsonl), or one.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            help="The index: a new or empty folder, or one to bring up to date; or a URL of PostgreSQL, "
            "postgresql://user:password@host/database?index=name.",
        ),
    ],
    embedder: Annotated[
        str, typer.Option(help="Model that makes the vectors, or none to search by words alone.")
    ] = "minilm",
    language: Annotated[str, typer.Option(help="Language of the stemmer, such as german, or none.")] = "english",
    tokens: Annotated[int, typer.Option(help="Most tokens of a chunk.")] = 200,
    overlap: Annotated[int, typer.Option(help="Tokens that a chunk may repeat of the one before.")] = 40,
    storage: Annotated[str, typer.Option(help="How vectors are kept: float32, int8 or binary.")] = "float32",
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Keep documents of the index that are not in DOCS.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Index documents; run again, it reads what changed and forgets what is gone."""
    from steelyard.errors import UsageError
    from steelyard.retrieval.chunking import ChunkSize
    from steelyard.retrieval.index.settings import IndexSettings
    from steelyard.retrieval.verb import Reading, index

    if storage not in ("float32", "int8", "binary"):
        raise UsageError(f"storage {storage!r}: one of float32, int8, binary")
    chosen: Any = storage
    settings = IndexSettings(language, "" if embedder == "none" else embedder, storage=chosen)
    reading = Reading(size=ChunkSize(tokens, overlap), forget_missing=not keep_missing)
    with progress() as bars:
        done = index(docs, out, settings, reading=reading, progress=bars)
    if json:
        skipped = [skip._asdict() for skip in done.skipped]
        counts = {name: getattr(done, name) for name in ("added", "updated", "unchanged", "removed", "passages")}
        print_json({"folder": str(done.folder), **counts, "skipped": skipped})
        return
    terminal = console()
    for skip in done.skipped[:SHOWN]:
        terminal.print(f"skipped: {skip.source} {skip.reason}", markup=False, soft_wrap=True)
    if len(done.skipped) > SHOWN:
        terminal.print(f"skipped: {len(done.skipped) - SHOWN} more (--json lists all)")
    terminal.print(
        f"{done.added} added, {done.updated} updated, {done.unchanged} unchanged, {done.removed} removed; "
        f"{done.passages} passages in {done.folder}",
        markup=False,
        soft_wrap=True,
    )
