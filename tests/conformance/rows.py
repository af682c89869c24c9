"""Conformance tables: one row per registered part of a kind, read from ``<kind>s.yaml`` beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from steelyard import parts


def rows(kind: str) -> dict[str, dict[str, Any]]:
    """The settings with which each part of ``kind`` runs on a tiny model."""
    found = yaml.safe_load(Path(__file__).with_name(f"{kind}s.yaml").read_text(encoding="utf-8"))
    return {name: settings or {} for name, settings in (found or {}).items()}


def registered(kind: str) -> set[str]:
    """Names of this package's parts of ``kind``."""
    return {p.name for p in parts.index().values() if p.kind == kind and p.package == "steelyard"}
