"""The ``steelyard`` command: its verbs, its errors and its exit codes.

Exit codes: 0 done, 1 failed, 2 wrong use. A failure is one line on standard error; ``--debug`` shows the
traceback instead.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import steelyard
from steelyard.cli import (
    ask,
    compare,
    compress,
    eval,
    index,
    merge,
    parts,
    pull,
    rank,
    report,
    run,
    search,
    serve,
    tune,
)
from steelyard.errors import SteelyardError

app = typer.Typer(
    name="steelyard",
    help="Find the cheapest system of open-weight language models that does your task well enough.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (pull, tune, eval, compare, rank, compress, merge, index, search, ask, report, serve, parts, run):
    app.command(name=verb.__name__.rsplit(".", 1)[-1])(verb.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"steelyard {steelyard.__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; accepted anywhere on the line.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every failure a user can meet becomes one line and an exit code."""
    # Threads that wait for each other should soon sleep: spinning, the default, gains a fifth on an idle machine
    # and costs several times the whole run beside another program. Read when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, prog_name="steelyard")
    except SteelyardError as error:
        _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        _fail("interrupted; what was measured is kept, and the same command continues from there", 130, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the exit flush is quiet too
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 1, debug)
    except MemoryError:
        _fail("out of memory; use a smaller model, the part int8, or a machine with more", 1, debug)
    except Exception as error:
        _fail(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(text: str, code: int, debug: bool) -> None:
    if debug:
        raise  # inside the handler of the error that is being reported
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(code)
