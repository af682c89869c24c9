"""``steelyard merge``: several models into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, console, print_json, progress


def command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODELS...", help="Model names, folders or .gguf files; or LoRA folders."),
    ],
    out: Annotated[Path, typer.Option("--out", help="New or empty folder to save the checkpoint in.")],
    method: Annotated[
        str,
        typer.Option("--with", help="Such as linear, slerp:t=0.3, ties:density=0.2, dare-ties:weight=[1,0.5]."),
    ] = "linear",
    base: Annotated[str | None, typer.Option("--base", help="The model they were finetuned from.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", help="Where tokenizers differ: base, first or union; rows are mapped by token."
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, bfloat16 or float16 (default: that of the models).")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="For methods that search: a task file or benchmark to be good at.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="For methods that search: the first so many samples of the task.")
    ] = 200,
    json: JsonFlag = False,
) -> None:
    """Merge models of one architecture into one checkpoint, tensor by tensor."""
    from steelyard.merging.verb import merge

    fitness = None
    if task is not None:
        from steelyard.evaluation.fitness import TaskFitness
        from steelyard.evaluation.tasks import open_task

        fitness = TaskFitness(open_task(task), samples)
    with progress() as bars:
        merged = merge(
            models,
            method,
            base=base,
            out=out,
            tokenizer=tokenizer,
            dtype=dtype,
            fitness=fitness,
            progress=bars,
        )
    if json:
        part = {"name": merged.part.name, "settings": dict(merged.part.settings)}
        print_json({"folder": str(merged.folder), "part": part, "notes": list(merged.notes)})
        return
    console().print(f"saved: {merged.folder}", markup=False, soft_wrap=True)
