"""The environment tells what changes figures, and nothing about who and where."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
from pathlib import Path

from steelyard.runs.environment import environment


def test_what_is_told() -> None:
    found = environment()
    assert found["steelyard"]
    assert found["python"].endswith(platform.python_version())
    assert found["platform"].startswith(platform.system())
    assert 1 <= found["cores_usable"] <= found["cores"]
    assert found["memory_bytes"] > 2**28
    assert found["packages"].keys() >= {"torch", "transformers", "sqlalchemy"}
    assert all(found["packages"].values())
    json.dumps(found, allow_nan=False)


def test_no_host_user_or_path_is_told() -> None:
    text = json.dumps(environment())
    names = [socket.gethostname(), str(Path.home()), str(Path.cwd()), sys.prefix]
    assert not [name for name in names if name.lower() not in ("linux", "cpython", "x86") and name in text]


def test_it_imports_nothing_heavy_and_speaks_of_torch_only_if_loaded() -> None:
    program = """
import sys
from steelyard.runs.environment import environment
found = environment()
heavy = {"torch", "numpy", "transformers", "sqlalchemy", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
assert "torch" not in found
import torch
torch.set_num_threads(1)
assert environment()["torch"] == {
    "threads": 1,
    "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
