"""Where a published task comes from: paper, data set, licence, and how its data are found on this machine.

Data are looked for in the folder given as ``data``, then below the folder that the environment variable
``STEELYARD_DATA`` names, then on the Hugging Face hub through ``datasets`` where that package is installed and the
hub may be used. A task without its data says what to download and where to put it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.records import Problems, read_rows

DATA_VARIABLE = "STEELYARD_DATA"


@dataclass(frozen=True, slots=True)
class TaskHeader:
    """Facts about a published task.

    Attributes:
        paper: Title of the paper that defines it.
        data_set: The data set's own name.
        licence: Its licence, in words; "not stated" where none is.
        metric: What it is scored by, as the paper defines it.
        folder: Name of its folder below ``STEELYARD_DATA``.
        layout: The official files in that folder, for the message that asks for them.
        hub: Its name on the Hugging Face hub, if it has one.
        url: Where else it is published.
    """

    paper: str
    data_set: str
    licence: str
    metric: str
    folder: str = ""
    layout: str = ""
    hub: str = ""
    url: str = ""

    def to_record(self) -> dict[str, str]:
        """What is known, as JSON."""
        return {name: value for name, value in asdict(self).items() if value}


def data_folder(header: TaskHeader, data: str | Path | None = None) -> Path | None:
    """The folder (or file) with the task's data: ``data``, or the task's own below ``STEELYARD_DATA``; else None.

    Raises:
        InputError: ``data`` was given and is not there.
    """
    if data is not None:
        given = Path(data).expanduser()
        if not given.exists():
            raise InputError(f"{given}: no such file or folder; {how_to_get(header)}")
        return given
    root = os.environ.get(DATA_VARIABLE)
    found = Path(root) / header.folder if root and header.folder else None
    return found if found is not None and found.exists() else None


def required_folder(header: TaskHeader, data: str | Path | None = None) -> Path:
    """The same, or an error that says what to download and where to put it."""
    found = data_folder(header, data)
    if found is None:
        raise UsageError(f"the data of {header.data_set} are not here; {how_to_get(header)}")
    return found


def how_to_get(header: TaskHeader) -> str:
    """One sentence: what to download, and how to say where it is."""
    origin = " or ".join(filter(None, [f"{header.hub} (Hugging Face)" if header.hub else "", header.url]))
    files = f" with {header.layout}" if header.layout else ""
    place = f", or put it at ${DATA_VARIABLE}/{header.folder}" if header.folder else ""
    origin = origin or "its authors"
    return f"download {header.data_set} from {origin} and give its folder{files} as data=FOLDER{place}"


def records_of(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place ("FILE:LINE") and columns of every record of a JSONL, CSV or Parquet file."""
    problems = Problems(file)
    rows = read_rows(file, problems)
    problems.check()
    for row in rows:
        yield f"{file}:{row.place}", row.values


def hub_records(header: TaskHeader, *, config: str | None = None, split: str = "test") -> list[dict[str, Any]]:
    """Every record of a split, through ``datasets``.

    Raises:
        UsageError: The package is missing, the hub is switched off or out of reach, or it has no such split.
    """
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"{how_to_get(header)}; with the package `datasets` installed it is fetched from the hub"
        ) from None
    try:
        _reach_hub(header.hub)
        return [dict(record) for record in datasets.load_dataset(header.hub, config, split=split)]
    except Exception as error:  # the library raises whatever its network layer does
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UsageError(f"{header.hub} cannot be fetched ({reason}); {how_to_get(header)}") from None


def _reach_hub(name: str) -> None:
    """Fail at once where the hub is out of reach and the data set not in its cache: the library retries long."""
    import httpx
    from huggingface_hub import constants

    cached = "datasets--" + name.replace("/", "--")
    if constants.HF_HUB_OFFLINE or (Path(constants.HF_HUB_CACHE) / cached).is_dir():
        return
    httpx.head(constants.ENDPOINT, timeout=10.0, follow_redirects=False)
