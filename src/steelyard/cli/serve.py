"""``steelyard serve``: answer over the OpenAI API."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import MemoryOption


def command(
    model: Annotated[str, typer.Argument(help="A model name, folder, .gguf file, endpoint URL or system file.")],
    host: Annotated[str, typer.Option(help="Address to bind; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="STEELYARD_TOKEN", help="Bearer token that clients must send.")
    ] = None,
    memory: MemoryOption = None,
) -> None:
    """Serve a model or a system file: chat completions, completions and models, with streaming."""
    from steelyard.serving.server import serve

    if memory is not None:
        from steelyard.systems.loading import load

        serve(load(model, memory=memory), host=host, port=port, token=token)
        return
    serve(model, host=host, port=port, token=token)
