"""The environment a run ran in, as far as it can change figures: versions, processor, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "accelerate",
    "gguf",
    "httpx",
    "numpy",
    "pyarrow",
    "safetensors",
    "scipy",
    "sentencepiece",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages whose version can change a result; those not installed are left out."""


def environment() -> dict[str, Any]:
    """What to note beside measurements, JSON-ready; no host name, user name or path.

    Keys: ``steelyard``, ``python``, ``platform``, ``processor``, ``cores`` (of the machine), ``cores_usable`` (by
    this process), ``memory_bytes``, ``packages`` (name to version) and, only where torch is already imported,
    ``torch`` (``threads``, ``cuda``: name of the device or ``None``). Imports nothing heavy.
    """
    found: dict[str, Any] = {
        "steelyard": _version("steelyard"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": _cores_usable(),
        "memory_bytes": _memory_bytes(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }
    if torch := sys.modules.get("torch"):
        cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
        found["torch"] = {"threads": torch.get_num_threads(), "cuda": cuda}
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str | None:
    """The processor's model name: from the kernel on Linux, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in ("model name", "hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or None


def _cores_usable() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    """Physical memory; ``None`` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
