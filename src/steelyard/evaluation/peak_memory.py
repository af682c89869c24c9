"""Peak memory of a model at work, read in a process of its own.

    python -m steelyard.evaluation.peak_memory < request.json

A process that holds several models cannot say what one of them needs, and freed memory may stay with a process.
So the model is loaded by a fresh interpreter, which answers a few prompts while a thread reads its resident
memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import LanguageModel, Message, OpenWeights, Prompt, Sampling
from steelyard.errors import ModelError

EVERY_SECONDS = 0.01
LONGEST_SECONDS = 1800


class MemoryReading(NamedTuple):
    """Resident bytes of one process: before the model is loaded (the interpreter and its libraries), once it is
    loaded, and the most while it answers.
    """

    before: int
    loaded: int
    peak: int

    @property
    def added(self) -> int:
        """What the model and its work add to the process."""
        return self.peak - self.before


@contextmanager
def loadable(model: LanguageModel) -> Iterator[str | None]:
    """A name by which another process can load the same model; None for one that is not on this machine.

    Weights in this process are saved to a folder that is removed afterwards; llama.cpp models have their file.
    """
    file = getattr(getattr(model, "weights", None), "file", None)
    if isinstance(file, Path):
        yield f"llama.cpp:{file}"
    elif isinstance(model, OpenWeights):
        with tempfile.TemporaryDirectory(prefix="steelyard-memory-") as folder:
            yield str(model.save(Path(folder) / "model"))
    else:
        yield None


def read_memory(name: str, prompts: Sequence[Prompt], sampling: Sampling) -> MemoryReading:
    """Load ``name`` in a fresh process, answer the prompts one by one there, and read its memory.

    Raises:
        ModelError: The process failed; the message has its last line.
    """
    request = {"name": name, "prompts": [_written(prompt) for prompt in prompts], "sampling": asdict(sampling)}
    package = str(Path(__file__).resolve().parents[2])  # where this very code lies, whatever the working folder
    places = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "steelyard.evaluation.peak_memory"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": places},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"{name}: its memory could not be read in a process of its own ({reason[:200]})")
    return MemoryReading(**json.loads(done.stdout.splitlines()[-1]))


def _written(prompt: Prompt) -> Any:
    if isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]


def _main() -> None:
    """Do what the request on standard input says, and print the reading."""
    import gc

    import psutil

    from steelyard.models.loading import load_model

    request = json.loads(sys.stdin.read())
    prompts = [p if isinstance(p, str) else [Message(**turn) for turn in p] for p in request["prompts"]]
    given = request["sampling"]
    sampling = Sampling(max_tokens=given["max_tokens"], stop=tuple(given["stop"]))
    process = psutil.Process()
    _warm_libraries(request["name"])
    before = process.memory_info().rss
    model = load_model(request["name"])
    gc.collect()
    loaded = process.memory_info().rss
    peak, done = [loaded], threading.Event()

    def watch() -> None:
        while not done.wait(EVERY_SECONDS):
            peak.append(max(peak.pop(), process.memory_info().rss))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for prompt in prompts:
            model.generate([prompt], sampling)
    finally:
        done.set()
        watcher.join()
    print(json.dumps(MemoryReading(before, loaded, max(peak))._asdict()))


def _warm_libraries(name: str) -> None:
    """Import what loading imports, so that libraries count as the interpreter's and not as the model's."""
    import torch
    import transformers  # noqa: F401

    import steelyard.models.checkpoint
    import steelyard.models.weights  # noqa: F401

    torch.ones(8, 8) @ torch.ones(8, 8)
    if name.startswith("llama.cpp:"):
        import llama_cpp  # noqa: F401


if __name__ == "__main__":
    _main()
