"""Documents of a task: found on this machine or the hub, and passed through the few functions that have names.

The harness lets a configuration run Python. Where well-known tasks need it, Steelyard has the function itself,
under a name that ``process_docs`` or ``process_results`` gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.harness.config import HarnessConfig
from steelyard.evaluation.benchmarks.harness.layouts import (
    LAYOUTS,
    Document,
    Layout,
    any_records,
    find_file,
    plain_document,
    read_layout,
)
from steelyard.evaluation.task_header import data_folder, how_to_get, hub_records
from steelyard.parts import nearest

FILE_FORMATS = ("json", "csv", "parquet")
"""Values of ``dataset_path`` that mean files named in ``dataset_kwargs.data_files``."""

_PLAIN = Layout({}, any_records, plain_document)
_SPLIT_FILES = ("{split}.jsonl", "{split}.json", "{split}.csv", "{split}.parquet")


def wikitext_detokenized(document: Document) -> Document:
    """WikiText's page with a ``text`` in which the tokenizer's spaces are taken back, as the harness does.

    >>> wikitext_detokenized({"page": "it was 1 @,@ 000 m , or so ."})["text"]
    'it was 1,000 m, or so .'
    """
    text = document["page"]
    for old, new in (("s '", "s'"), ("/' [0-9]/", "/'[0-9]/"), (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")):
        text = re.sub(old, new, text) if old.startswith("/'") else text.replace(old, new)
    for sign in ":;.!?,":
        text = text.replace(f" {sign} ", f"{sign} ")
    for pattern, repl in (
        (r"\(\s*([^\)]*?)\s*\)", r"(\1)"),
        (r"\[\s*([^\]]*?)\s*\]", r"[\1]"),
        (r"{\s*([^}]*?)\s*}", r"{\1}"),
        (r"\"\s*([^\"]*?)\s*\"", r'"\1"'),
        (r"'\s*([^']*?)\s*'", r"'\1'"),
    ):
        text = re.sub(pattern, repl, text)
    for old, new in (
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" ° ", "°"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ):
        text = text.replace(old, new)
    return {**document, "text": text}


PROCESSES: Mapping[str, Callable[[Document], Document]] = {"wikitext-detokenized": wikitext_detokenized}
"""What ``process_docs`` may name."""


def documents_of(config: HarnessConfig, split: str, base: Path, data: str | None) -> list[Document]:
    """The documents of one split, JSON-ready.

    Looked for, in this order: in ``dataset_kwargs.data_files`` where ``dataset_path`` is a file format; in the
    folder (or file) ``data`` or the task's folder below STEELYARD_DATA, by the layout that ``dataset_kwargs``
    names or as ``SPLIT.jsonl``, ``.json``, ``.csv`` or ``.parquet``; on the hub.

    Args:
        config: The task.
        split: Which split.
        base: The folder of the configuration, to which ``data_files`` are relative unless ``data`` is given.
        data: Folder or file given by the user.

    Raises:
        UsageError: The data are not here.
        InputError: They are not as they should be.
    """
    layout_name = config.dataset_kwargs.get("layout")
    if layout_name is not None and layout_name not in LAYOUTS:
        raise InputError(f"dataset_kwargs: unknown layout {layout_name!r}{nearest(str(layout_name), LAYOUTS)}")
    layout = LAYOUTS[layout_name] if layout_name else _PLAIN
    if config.dataset_path in FILE_FORMATS:
        found = read_layout(layout, _data_file(config, split, Path(data) if data else base))
    else:
        found = _from_folder(config, layout, split, data)
    process = config.process_docs
    if process is not None:
        if process not in PROCESSES:
            raise InputError(f"process_docs: unknown function {process!r}; there are {', '.join(PROCESSES)}")
        found = [PROCESSES[process](document) for document in found]
    if not found:
        raise InputError(f"the split {split!r} of {config.task} has no documents")
    return [json.loads(json.dumps(document, default=str)) for document in found]


def _from_folder(config: HarnessConfig, layout: Layout, split: str, data: str | None) -> list[Document]:
    header = config.header
    folder = data_folder(header, data)
    if folder is None:
        if not header.hub:
            raise UsageError(f"the data of {header.data_set} are not here; {how_to_get(header)}")
        records = hub_records(header, config=config.dataset_name, split=split)
        return [layout.document(record) for record in records]
    if folder.is_file():
        return read_layout(layout, folder)
    patterns = layout.files.get(split) or tuple(pattern.replace("{split}", split) for pattern in _SPLIT_FILES)
    file = find_file(folder, patterns, config.dataset_name or config.task)
    if file is None:
        wanted = " or ".join(patterns).replace("{name}", config.dataset_name or config.task)
        raise UsageError(f"{folder}: no file of the split {split!r} ({wanted}); {how_to_get(header)}")
    return read_layout(layout, file)


def _data_file(config: HarnessConfig, split: str, base: Path) -> Path:
    """The one file that ``data_files`` names for a split; it must lie below ``base``."""
    files: Any = config.dataset_kwargs.get("data_files")
    if isinstance(files, Mapping):
        files = files.get(split)
    elif files is not None and split != "train":  # as in `datasets`, files without a split are its training split
        files = None
    files = files[0] if isinstance(files, list) and len(files) == 1 else files
    if not isinstance(files, str):
        raise InputError(f"dataset_kwargs: data_files names no single file for the split {split!r}")
    file = base / files
    if not file.resolve().is_relative_to(base.resolve()):
        raise InputError(
            f"data_files: {files} lies outside {base}; put it there, or give its folder as data=FOLDER"
        )
    if not file.is_file():
        raise InputError(f"{file}: no such file; data_files are relative to the configuration, or to data=FOLDER")
    return file
