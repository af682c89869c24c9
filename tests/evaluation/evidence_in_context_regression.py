"""In-context regression: SmolLM2-135M ranked among scikit-learn's regressors, and its regret."""

from __future__ import annotations

import time

from evidence_record import Claim, write_evidence
from steelyard.contracts import Interval
from steelyard.evaluation.benchmarks.regression.cumulative_regret import fit_shapes
from steelyard.evaluation.benchmarks.regression.in_context_regression import (
    MODEL,
    in_context_regression,
    regret_curves,
)
from steelyard.evaluation.benchmarks.regression.numeric_regressors import regressors
from steelyard.models.loading import load_model

FUNCTIONS = ("linear-1-of-1", "linear-1-of-2", "friedman-1", "friedman-2", "original-1")
EXAMPLES, QUERIES, SEEDS, STEPS = 20, 12, 2, 24


def main() -> None:
    """Measure and write ``evidence/in-context-regression.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()
    found = in_context_regression(model, functions=FUNCTIONS, examples=EXAMPLES, queries=QUERIES, seeds=SEEDS)
    errors = {str(row[0]): row[1:] for row in found.tables[0].rows}
    cheap = {name: run for name, run in regressors().items() if name in ("mean", "ridge", "nearest neighbours")}
    curves = regret_curves(model, cheap, "original-1", seeds=SEEDS, steps=STEPS)
    fits = {name: fit_shapes(curve)[0] for name, curve in curves.items()}
    better = 0
    measured: dict[str, Interval | float | int | str] = {}
    for place, function in enumerate(FUNCTIONS):
        own, mean = errors[MODEL][place], errors["mean"][place]
        assert isinstance(own, Interval)
        assert isinstance(mean, Interval)
        better += own.value < mean.value
        measured |= {f"{function}, {name}": cells[place] for name, cells in errors.items()}  # type: ignore[misc]
    claims = [
        Claim("answers are numbers", {"invalid": found.values["invalid"]}, found.values["invalid"].value < 0.05),
        Claim(
            "the model is ranked among the regressors (a small model need not win)",
            {"mean rank": found.values["mean rank"], "regressors": len(errors), **measured},
            1 <= found.values["mean rank"].value <= len(errors),
        ),
        Claim(
            "it predicts better than the mean of the examples on most functions",
            {"functions": len(FUNCTIONS), "better than the mean": better},
            better > len(FUNCTIONS) / 2,
        ),
        Claim(
            "its cumulative regret grows more slowly than a line",
            {
                **{f"best shape, {name}": fit.shape for name, fit in fits.items()},
                **{f"R2, {name}": fit.r2 for name, fit in fits.items()},
                **{f"regret, {name}": float(curve[-1]) for name, curve in curves.items()},
            },
            fits[MODEL].shape != "linear",
        ),
    ]
    write_evidence(
        "in-context-regression",
        claims,
        model="SmolLM2-135M-Instruct, plain completion",
        data=f"{EXAMPLES} examples, {QUERIES} queries, {SEEDS} draws; regret over {STEPS} steps of original-1",
        seeds=list(range(1, SEEDS + 1)),
        seconds=time.perf_counter() - began,
    )


if __name__ == "__main__":
    main()
