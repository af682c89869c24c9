"""Layer-wise compression: SparseGPT here against the straightforward loop, on the same weights and the same texts.

    python benchmarks/bench_compress.py                    # a few minutes on two cores
    python benchmarks/bench_compress.py --blocks 2 --windows 4 --rounds 1

The straightforward loop holds the hidden states of all windows and the inputs of every layer of a block, sums
each layer's Hessian for itself, inverts it, and settles one column after another, each error reaching all later
columns at once. Both prune 2:4 for the same inputs (all layers of a block for what they get before any is changed),
so the weights must agree. Columns:

- ratio: its seconds over Steelyard's for the whole walk, the median of the rounds and their range;
- seconds a layer: of Steelyard, and of the loop;
- peak: most memory beside what was held before, of each in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from requests_from_data import DATA
from tables import section
from timing import seconds

from steelyard.compression.block_replay import BlockReplay
from steelyard.compression.calibration import read_calibration, token_windows
from steelyard.compression.layer_matrices import matrices_of, write_matrices
from steelyard.compression.sparsegpt import sparsegpt
from steelyard.models.loading import load_model

WINDOW, DAMPING = 256, 0.01


def shallow(blocks: int) -> Any:
    """SmolLM2 with its first blocks only, so that a round takes seconds."""
    from steelyard.compression.sleb import without_blocks

    model: Any = load_model("smollm2-135m")
    depth = len(model.family.layers(model.module))
    return model if blocks >= depth else without_blocks(model, range(blocks, depth))


def ours(model: Any, texts: list[str], windows: int) -> Any:
    result: Any = sparsegpt(
        model, texts, pattern="2:4", damping=DAMPING, targets="parallel", tokens=windows * WINDOW, window=WINDOW
    )
    return result.module


@torch.no_grad()
def straightforward(model: Any, texts: list[str], windows: int) -> Any:
    """All activations held, a Hessian a layer, one column after another."""
    ids = token_windows(model.tokenizer, texts, window=WINDOW, tokens=windows * WINDOW, seed=0)
    replay = BlockReplay(model)
    batch = replay.trace(ids)
    hidden = batch.hidden
    for number, matrices in enumerate(matrices_of(model, replay.module)):
        inputs: dict[str, list[torch.Tensor]] = {matrix.name: [] for matrix in matrices}
        hooks = [
            matrix.module.register_forward_pre_hook(
                lambda _m, args, kept=inputs[matrix.name]: kept.append(args[0].clone())
            )
            for matrix in matrices
        ]
        replay.run(batch, hidden, [number])
        for hook in hooks:
            hook.remove()
        write_matrices([(m, column_loop(m.read().clone(), torch.cat(inputs[m.name]))) for m in matrices])
        hidden = replay.run(batch, hidden, [number])
    return replay.module


def column_loop(weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """SparseGPT 2:4 of one matrix (out, in) as its recursion is written."""
    rows = inputs.reshape(-1, weight.shape[1])
    hessian = rows.t() @ rows / len(rows)
    hessian += DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian))
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    for j in range(weight.shape[1]):
        if j % 4 == 0:
            scores = (weight[:, j : j + 4] / factor.diagonal()[j : j + 4]) ** 2
            mask = torch.zeros_like(scores, dtype=torch.bool).scatter_(
                1, scores.topk(2, largest=False).indices, True
            )
        new = torch.where(mask[:, j % 4], 0.0, weight[:, j])
        error = (weight[:, j] - new) / factor[j, j]
        weight[:, j:] -= error[:, None] * factor[j, j:]
        weight[:, j] = new
    return weight


def peak(work: Callable[..., Any], blocks: int, data: Path, windows: int) -> float:
    """Megabytes that ``work`` adds to the most memory of a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_peak, (work, blocks, data, windows)))


def _peak(work: Callable[..., Any], blocks: int, data: Path, windows: int) -> float:
    model = shallow(blocks)
    texts = read_calibration(data / "wikitext2" / "valid.txt")
    with torch.no_grad():
        model.module(input_ids=torch.zeros(1, 8, dtype=torch.long))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(model, texts, windows)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def agreement(model: Any, first: Any, second: Any) -> float:
    """The share of weights on which two pruned modules agree as to what is zero."""
    sides = ([m.read() == 0 for block in matrices_of(model, module) for m in block] for module in (first, second))
    pairs = list(zip(*sides, strict=True))
    return sum(int((a == b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)


def measure(blocks: int, data: Path, windows: int, rounds: int) -> str:
    model, texts = shallow(blocks), read_calibration(data / "wikitext2" / "valid.txt")
    layers = sum(map(len, matrices_of(model, model.module)))
    agreed = agreement(model, ours(model, texts, windows), straightforward(model, texts, windows))
    mine, others = [], []
    for _ in range(rounds):
        mine.append(seconds(lambda: ours(model, texts, windows)))
        others.append(seconds(lambda: straightforward(model, texts, windows)))
    ratios = [b / a for a, b in zip(mine, others, strict=True)]
    spread = f"**{statistics.median(ratios):.2f}x** ({min(ratios):.2f} to {max(ratios):.2f})"
    each = f"{statistics.median(mine) / layers:.3f} | {statistics.median(others) / layers:.3f}"
    peaks = f"{peak(ours, blocks, data, windows):.0f} MB | {peak(straightforward, blocks, data, windows):.0f} MB"
    return f"| {windows * WINDOW} | {spread} | {each} | {peaks} | {agreed:.5f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--windows", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with section("bench_compress", write=options.write):
        print(
            f"SparseGPT 2:4, {options.blocks} blocks of SmolLM2-135M, windows of {WINDOW} tokens of WikiText-2\n"
        )
        print("| calibration tokens | ratio | seconds a layer | of the loop | peak | of the loop | same zeros |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for windows in options.windows:
            print(measure(options.blocks, options.data, windows, options.rounds))


if __name__ == "__main__":
    main()
