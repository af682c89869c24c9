"""Tables of measurements: what a script prints, and on request the section of README.md that holds it."""

from __future__ import annotations

import datetime
import io
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

README = Path(__file__).with_name("README.md")


class _Both(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = sys.stdout

    def write(self, text: str) -> int:
        self.screen.write(text)
        self.screen.flush()
        return super().write(text)


@contextmanager
def section(name: str, *, write: bool) -> Iterator[None]:
    """Print as usual; with ``write`` what was printed then replaces the section ``name`` of README.md."""
    printed = _Both()
    with redirect_stdout(printed):
        yield
    if write:
        text = README.read_text(encoding="utf-8")
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        if not rest:
            raise SystemExit(f"{README}: has no section {name!r}; add {begin.strip()} and {end}")
        stamp = f"*{datetime.date.today().isoformat()}, {_machine()}*"
        README.write_text(
            f"{before}{begin}{stamp}\n\n{printed.getvalue().strip()}\n{end}{after}", encoding="utf-8"
        )


def _machine() -> str:
    import os

    import torch

    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{os.cpu_count()} cores of {model} ({capability}), torch {torch.__version__}"


def _lines(file: str) -> list[str]:
    place = Path(file)
    return place.read_text(encoding="utf-8").splitlines() if place.is_file() else []
