"""``steelyard compress``: a smaller model, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli.console import JsonFlag, MemoryOption, StoreOption, console, hand_over, progress

if TYPE_CHECKING:
    from steelyard.contracts import LanguageModel
    from steelyard.tuning.compressing.settings import CompressOptions


def command(
    model: Annotated[str, typer.Argument(help="A model name, folder or .gguf file.")],
    weights: Annotated[
        str | None, typer.Argument(metavar="[PARTS]", help="The same as --with, such as sleb:remove=3+int8.")
    ] = None,
    applied: Annotated[
        list[str] | None,
        typer.Option("--with", help="A part with its settings, such as sleb:remove=3; repeat, in order."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New or empty folder to save the checkpoint and its cards in.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Texts that data-dependent parts look at: .txt, .md, .jsonl or a folder.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Other texts to measure on (default: a tenth of those, or the quick suite's)."),
    ] = None,
    quick: Annotated[
        int | None,
        typer.Option(min=0, help="Items asked of every task of the quick suite, before and after (default: 12)."),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Save nothing unless the loss is shown to be at most this share, such as 0.02."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Save what is over --max-loss all the same.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Measure nothing; the model card says so.")] = False,
    memory: MemoryOption = None,
    page: Annotated[Path | None, typer.Option("--report", help="Write the HTML report here.")] = None,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Apply weight parts to a model, measure what that cost, and save the result with its cards.

    The loss is the rise of bits per byte and the drop of quick-suite accuracy; the upper end of the paired 95%
    interval of both must stay within --max-loss.
    """
    from steelyard.errors import LossError, UsageError
    from steelyard.tuning.candidates import parse_weights
    from steelyard.tuning.compressing.verb import compress

    if weights is not None and applied:
        raise UsageError("give the parts either as one argument or by --with, not both")
    parts = [entry for text in applied or [weights or "none"] for entry in parse_weights(text)]
    given: str | LanguageModel = model
    if memory is not None:
        from steelyard.models.loading import load_model

        given = load_model(model, memory=memory)
    options: CompressOptions = {
        "calibration": calibration,
        "held_out": held_out,
        "max_loss": max_loss,
        "force": force,
        "check": not no_check,
    }
    if quick is not None:
        options["quick"] = quick
    try:
        with progress() as bars:
            done = compress(given, parts, out=out, store=store, progress=bars, **options)
    except LossError as error:
        hand_over(error.run_id, out=page, store=store, as_json=json)
        raise
    hand_over(done.run_id, out=page, store=store, as_json=json)
    if out is not None and not json:
        console().print(f"saved: {out}", markup=False, soft_wrap=True)
