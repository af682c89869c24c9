"""``steelyard rank``: many systems in an order of merit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, StoreOption, hand_over, progress


def command(
    task: Annotated[str, typer.Argument(help="Task file, or benchmark as NAME:setting=value.")],
    model: Annotated[
        list[str], typer.Option("--model", help="A model, folder, endpoint URL or system file; two or more.")
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="gold, a metric, or a ranking such as bradley-terry or NAME:setting=value; "
            "`steelyard parts --kind ranking` lists them.",
        ),
    ] = "gold",
    judge: Annotated[
        list[str] | None,
        typer.Option("--judge", help="A model that compares answers (default: the ranked models themselves)."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Pairs with human preferences: each judge's agreement with them is measured first."),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Show the judges the right answers, where the task has them.")
    ] = False,
    style: Annotated[
        str | None, typer.Option(help="plain, chat or raw (default: plain, or what the system file says).")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Solved examples shown before each question.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the choice of examples.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the HTML report here.")] = None,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Rank systems on a task: by gold answers, by judges, or by each other's answers alone."""
    from steelyard.evaluation.ranking.verb import rank

    with progress() as bars:
        found = rank(
            task,
            model,
            by=by,
            judges=judge or (),
            calibration=calibration,
            references=references,
            samples=samples,
            store=store,
            progress=bars,
            style=style,
            shots=shots,
            seed=seed,
        )
    hand_over(found.run_id, out=out, store=store, as_json=json)
