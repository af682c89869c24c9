"""``steelyard eval``: measure one system on one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, MemoryOption, StoreOption, hand_over, progress


def command(
    model: Annotated[
        list[str],
        typer.Argument(
            help="A model name, folder, .gguf file, endpoint URL or system file; several for measures; an index "
            "folder for retrieval-metrics."
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", help="Task file (.jsonl, .csv, .parquet), or benchmark as NAME:setting=value."),
    ] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="A suite of tasks, such as quick.")] = None,
    style: Annotated[
        str | None, typer.Option(help="plain, chat or raw (default: plain, or what the system file says).")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Solved examples shown before each question.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that counts (default: the task's own).")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of examples.")] = 0,
    form: Annotated[
        str, typer.Option("--form", help="Task files: cloze scores choices as answers, letters lists them.")
    ] = "cloze",
    extract: Annotated[
        str, typer.Option("--extract", help="Task files: the rule that finds the answer, such as letter.")
    ] = "first-line",
    max_tokens: Annotated[int, typer.Option(min=1, help="Task files: longest answer to generate.")] = 16,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Task files: leave damaged rows out; the report lists them.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Take pickled weights, read as plain tensors only.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Endpoints: seconds without an answer before another try.")
    ] = None,
    cache_responses: Annotated[
        Path | None, typer.Option("--cache-responses", help="Endpoints: keep every answer in this folder.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", help="ray, or ray:ADDRESS: share the work over a Ray cluster.")
    ] = None,
    memory: MemoryOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the HTML report here.")] = None,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure a model or system on a task or suite; what was measured before is not measured again."""
    from steelyard.evaluation.tasks import open_measured
    from steelyard.evaluation.verb import evaluate_any

    reading = {"form": form, "extract": extract, "max_tokens": max_tokens, "skip_bad": skip_bad}
    opened = open_measured(task, suite, metric=metric, **reading)
    loading = {
        "allow_pickle": allow_pickle or None,
        "memory": memory,
        "timeout": timeout,
        "response_cache": cache_responses,
    }
    with progress() as bars:
        result = evaluate_any(
            model if len(model) > 1 else model[0],
            opened,
            loading={option: value for option, value in loading.items() if value is not None},
            style=style,
            shots=shots,
            samples=samples,
            seed=seed,
            on=on,
            store=store,
            progress=bars,
        )
    hand_over(result.run_id, out=out, store=store, as_json=json)
