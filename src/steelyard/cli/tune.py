"""``steelyard tune``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, MemoryOption, StoreOption, console, print_json, progress


def command(  # the verb's options, one parameter each: Typer reads them off the signature
    task: Annotated[str, typer.Argument(help="Task file (.jsonl, .csv, .parquet) or benchmark.")],
    model: Annotated[list[str], typer.Option("--model", help="A model to weigh; repeat for more.")],
    style: Annotated[
        list[str] | None,
        typer.Option("--style", help="Prompt style: plain, chat or raw; repeat (default: plain and chat)."),
    ] = None,
    shots: Annotated[
        list[int] | None, typer.Option("--shots", help="Number of solved examples; repeat (default: 0 and 3).")
    ] = None,
    weights: Annotated[
        list[str], typer.Option("--weights", help="none, int8, sleb:remove=3, sleb:remove=3+int8; repeat.")
    ] = ["none", "int8"],  # noqa: B006
    docs: Annotated[
        Path | None,
        typer.Option("--docs", help="Documents that answers may be grounded in; indexed on first use."),
    ] = None,
    index: Annotated[Path | None, typer.Option("--index", help="An index folder instead of --docs.")] = None,
    ground: Annotated[
        list[str] | None,
        typer.Option(
            help="none, lexical, dense, hybrid:k=8, hybrid+upr; repeat (default: none, lexical, hybrid)."
        ),
    ] = None,
    limit: Annotated[list[str] | None, typer.Option("--limit", help="Such as memory=600MB,latency=300ms.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Texts for parts that need them (default: the task's).")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that counts (default: the task's own).")] = None,
    by: Annotated[str, typer.Option(help="What cheapest means: latency, memory or operations.")] = "latency",
    tolerance: Annotated[float, typer.Option(min=0, help="How far below the best is still good enough.")] = 0.02,
    target: Annotated[
        float | None, typer.Option(help="Quality that is good enough, whatever the best is.")
    ] = None,
    search: Annotated[str, typer.Option(help="How samples are spent: ucb-e, ucb-e-lrf or elimination.")] = "ucb-e",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Task files: leave damaged rows out; the report lists them.")
    ] = False,
    exhaustive: Annotated[
        bool, typer.Option(help="Measure everything, and show what the search would do.")
    ] = False,
    timing_samples: Annotated[int, typer.Option(min=1, help="Samples on which each system is timed.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    memory: MemoryOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html and best.yaml.")] = Path("tuned"),
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Weigh candidate systems on your task and hand over the cheapest that does well enough."""
    from steelyard.evaluation.tasks import open_task
    from steelyard.reporting.report import report
    from steelyard.reporting.terminal import show_record
    from steelyard.tuning.tune import tune

    with progress() as bars:
        outcome = tune(
            open_task(task, metric=metric, skip_bad=skip_bad),
            model,
            out=out,
            store=store,
            progress=bars,
            styles=style or None,
            shots=shots or None,
            weights=weights,
            docs=docs,
            index=index,
            ground=ground or None,
            limits=limit or [],
            calibration=calibration,
            by=by,
            tolerance=tolerance,
            target=target,
            search=search,
            exhaustive=exhaustive,
            timing_samples=timing_samples,
            seed=seed,
            memory=memory,
        )
    report_file = out / "report.html"
    record = report(outcome.run_id, out=report_file, store=store)
    if json:
        print_json(record)
        return
    terminal = console()
    show_record(record, terminal)
    terminal.print(f"report: {report_file}\nsystem: {outcome.system_file}", markup=False, soft_wrap=True)
