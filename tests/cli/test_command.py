"""The command itself: fast help, version, completion, and nothing heavy imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

import steelyard

VERBS = (
    *("pull", "tune", "eval", "compare", "rank", "compress", "merge"),
    *("index", "search", "ask", "report", "serve", "parts", "run"),
)
COMMAND = [sys.executable, "-c", "from steelyard.cli.main import main; main()"]


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_names_every_verb() -> None:
    done = call("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = call(verb, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_is_as_fast_as_an_interpreter_with_a_command_line_library() -> None:
    """0.3 s on a machine at rest; here relative to importing Typer and Rich, so that a busy machine may pass."""

    def seconds(command: list[str]) -> float:
        best = float("inf")
        for _ in range(4):
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True, timeout=60)
            best = min(best, time.perf_counter() - started)
        return best

    library = seconds([sys.executable, "-c", "import typer, rich.console, rich.panel, rich.table, rich.markdown"])
    assert seconds([*COMMAND, "--help"]) < 0.2 + 2 * library


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom steelyard.cli.main import main\nsys.argv = ['steelyard', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('LOADED', sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.split("LOADED")[1]
    for heavy in ("torch", "transformers", "numpy", "sqlalchemy", "pydantic", "yaml"):
        assert f"'{heavy}'" not in loaded


def test_version() -> None:
    assert call("--version").stdout.strip() == f"steelyard {steelyard.__version__}"


def test_shell_completion_offers_verbs() -> None:
    typed = {"_TYPER_COMPLETE_ARGS": "steelyard com", "COMP_WORDS": "steelyard com", "COMP_CWORD": "1"}
    done = call(_STEELYARD_COMPLETE="complete_bash", **typed)
    assert done.stdout.split() == ["compare", "compress"]


def test_the_python_package_offers_every_verb() -> None:
    assert set(steelyard.__all__) == {"load", *VERBS} - {"parts"}
    for name in steelyard.__all__:
        assert callable(getattr(steelyard, name))
        assert name in dir(steelyard)
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        steelyard.tunes  # noqa: B018
