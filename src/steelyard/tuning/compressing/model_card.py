"""The model card of a compressed checkpoint: ``README.md`` as the Hugging Face hub reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from steelyard.contracts import ModelCard
from steelyard.evaluation.measurement import Table
from steelyard.tuning.compressing.metric_card import MetricCard

HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "gemma", "llama3", "openrail")
"""Licences that the hub knows by the name a model's card has."""


def model_card(
    before: ModelCard, after: ModelCard, card: MetricCard, facts: Mapping[str, Any], findings: Sequence[str]
) -> str:
    """The text of ``README.md``: front matter, recipe, data, measured quality and how to load it.

    Args:
        before: The original.
        after: The compressed model.
        card: What changed.
        facts: ``calibration`` and ``held_out`` (``{"source", "fingerprint", ...}`` or None) and the ``command``.
        findings: Sentences about the outcome.

    Example:
        >>> model_card(before, after, card, facts, []).splitlines()[0]  # doctest: +SKIP
        '---'
    """
    parts = "\n".join(f"{number}. `{_part(part)}`" for number, part in enumerate(after.parts, 1))
    sections = [
        f"---\n{_front_matter(before, after)}---",
        f"# {_plain(before.name)}, compressed",
        f"Made from **{_plain(before.name)}** (fingerprint `{before.fingerprint[:16]}`) by Steelyard."
        f" This folder has the fingerprint `{after.fingerprint[:16]}`.",
        f"## Recipe\n\n{parts}\n\n```console\n$ {facts['command']}\n```",
        f"## Data\n\n- Calibration: {_data(facts['calibration'], 'no texts were given')}\n"
        f"- Measured on: {_data(facts['held_out'], 'nothing; the check was switched off')}",
        f"## What it cost\n\n{_markdown(card.table())}",
        "\n".join(f"- {_plain(finding)}" for finding in findings),
        f"## Loading\n\n{_loading(after, card)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(before: ModelCard, after: ModelCard) -> str:
    licence = (before.licence or "").lower()
    known = licence in HUB_LICENCES
    named: dict[str, Any] = {
        "base_model": _base(before),
        "license": licence if known else "other",
        **({"license_name": before.licence} if before.licence and not known else {}),
        "library_name": "transformers",
        "tags": ["steelyard", "compressed", *dict.fromkeys(part.name for part in after.parts)],
    }
    return yaml.safe_dump(named, sort_keys=False, allow_unicode=True)


def _base(card: ModelCard) -> str:
    """The id on a hub where there is one, else the name: a path of this machine says nothing elsewhere."""
    source = card.source or ""
    return source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not Path(source).exists() else card.name


def _part(part: Any) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in part.settings.items() if name != "calibration")
    return f"{part.name}: {settings}" if settings else part.name


def _data(found: Mapping[str, Any] | None, absent: str) -> str:
    if not found:
        return absent
    counts = ", ".join(f"{found[name]:,} {name}" for name in ("texts", "characters", "windows") if name in found)
    return f"{_plain(found['source'])} ({counts}; fingerprint `{found['fingerprint']}`)"


def _markdown(table: Table) -> str:
    rows = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    head = "| " + " | ".join(table.columns) + " |"
    return "\n".join([head, "|" + " --- |" * len(table.columns), *rows, "", table.note])


def _loading(after: ModelCard, card: MetricCard) -> str:
    here = '```python\nimport steelyard\n\nmodel = steelyard.load("path/to/this/folder")\n```'
    if card.after.computed_layers:
        return (
            f"{here}\n\n{card.after.computed_layers} of its layers are held in fewer bits (`steelyard.json` names"
            " them), so plain transformers cannot load it."
        )
    kind = "AutoModelForCausalLM" if "generate" in after.capabilities else "AutoModel"
    elsewhere = (
        f"```python\nfrom transformers import {kind}, AutoTokenizer\n\n"
        f'model = {kind}.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n```'
    )
    return f"{here}\n\nIt is a plain checkpoint, which transformers loads too:\n\n{elsewhere}"


def _plain(text: Any) -> str:
    """One line without Markdown's marks: names come from files."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _cell(cell: Any) -> str:
    return _plain("" if cell is None else cell)
