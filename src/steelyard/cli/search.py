"""``steelyard search``: the best passages of an index."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from steelyard.cli.console import JsonFlag, console, print_json

SHOWN = 300
"""Characters of a passage that are shown."""


def command(
    query: Annotated[
        str, typer.Argument(help='What to look for; "words in quotation marks" must stand together.')
    ],
    index: Annotated[str, typer.Option("--index", help="The index: a folder, or a URL of PostgreSQL.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 10,
    mode: Annotated[
        str, typer.Option(help="lexical, dense or hybrid; auto is hybrid where there are vectors.")
    ] = "auto",
    where: Annotated[
        list[str] | None, typer.Option(help="Condition on metadata, such as page>=3; all must hold.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Search an index of documents."""
    from steelyard.errors import UsageError
    from steelyard.retrieval.index.filters import AllOf, parse
    from steelyard.retrieval.index.settings import SearchOptions
    from steelyard.retrieval.verb import search

    if mode not in ("auto", "lexical", "dense", "hybrid"):
        raise UsageError(f"mode {mode!r}: one of auto, lexical, dense, hybrid")
    chosen: Any = mode
    conditions = AllOf(tuple(parse(text) for text in where)) if where else None
    hits = search(query, index=index, k=k, options=SearchOptions(chosen), where=conditions)
    if json:
        print_json([asdict(hit) for hit in hits])
        return
    terminal = console()
    if not hits:
        terminal.print("nothing found")
    for rank, hit in enumerate(hits, start=1):
        place = [f"{hit.source}:{hit.start}-{hit.end}"]
        place += [f"page {hit.metadata['page']}"] if "page" in hit.metadata else []
        place += [str(hit.metadata["section"])] if "section" in hit.metadata else []
        terminal.print(f"{rank}. {hit.score:.4f}  {', '.join(place)}", markup=False, soft_wrap=True)
        text = " ".join(hit.text.split())
        terminal.print(f"   {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}\n", markup=False, soft_wrap=True)
