"""float32, int8 and int4, with llama.cpp's 4 bits beside: scoring and single steps of generation, as ratios.

python benchmarks/bench_precision.py --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from tables import section
from timing import seconds

from steelyard.compression.finequant import finequant
from steelyard.compression.int8 import int8
from steelyard.contracts import Continuation, Sampling
from steelyard.errors import SteelyardError
from steelyard.models.loading import load_model
from steelyard.models.recorded_step import STEPS_BEFORE

TEXT = "A steelyard is a balance with arms of unequal length and one weight that slides along the beam. "
STEPS = 24


def main() -> None:
    """SmolLM2-135M-Instruct: one table, medians of ratios over rounds in which the models take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    with section("bench_precision", write=chosen.write):
        measure(chosen.rounds)


def measure(rounds: int) -> None:
    """Print the table."""
    original: Any = load_model("smollm2-135m")
    models = {
        "float32": original,
        "int8": int8(original),
        "int8, packed": int8(original, packed=True),
        "int8, in groups of 64": finequant(original, bits=8, group=64),
        "int4, adaptive groups": finequant(original),
        "int4, in groups of 64": finequant(original, group=64),
    }
    quantized = llama_cpp()
    if quantized is not None:
        models["llama.cpp, Q4_1"] = quantized
    for model in models.values():  # until the step is recorded, as in longer use
        model.generate([TEXT], Sampling(max_tokens=STEPS_BEFORE + 8))
    works: dict[str, Callable[[Any], object]] = {
        "scoring, 4 texts": lambda model: model.score(
            [Continuation(f"{number}. " + TEXT * 3, TEXT) for number in range(4)]
        ),
        "one stream": lambda model: model.generate([TEXT], Sampling(max_tokens=STEPS)),
        "4 streams": lambda model: model.generate(
            [f"{number}. {TEXT}" for number in range(4)], Sampling(max_tokens=STEPS)
        ),
    }
    print(f"| | memory | {' | '.join(works)} |")
    print("| --- | --- |" + " --- |" * len(works))
    times = {work: compared(run, models, rounds) for work, run in works.items()}
    for name, model in models.items():
        share = model.card.memory_bytes / original.card.memory_bytes
        gains = [
            statistics.median(
                reference / own for reference, own in zip(found["float32"], found[name], strict=True)
            )
            for found in times.values()
        ]
        cells = " | ".join(f"{gain:.2f}x" for gain in gains)
        print(f"| {name} | {model.card.memory_bytes / 1e6:.0f} MB ({share:.2f}x) | {cells} |")


def llama_cpp() -> Any:
    """The 4-bit file that the model is published as, in llama.cpp; None where that is not installed."""
    try:
        return load_model("smollm2-135m", engine="llama.cpp")
    except SteelyardError as error:
        print(f"{error}\n")
        return None


def compared(run: Callable[[Any], object], models: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds of ``run`` for each model, round by round, the models in turns."""
    for model in models.values():
        run(model)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            times[name].append(seconds(lambda model=model: run(model)))  # type: ignore[misc]
    return times


if __name__ == "__main__":
    main()
