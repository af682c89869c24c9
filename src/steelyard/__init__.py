"""Steelyard: a workbench for open-weight language models.

Each verb of the command line is a function here, imported when first used, so ``import steelyard`` is fast::

    import steelyard

    model = steelyard.load("smollm2-135m")
    result = steelyard.eval(model, "task.jsonl", shots=3)
    outcome = steelyard.tune("task.jsonl", ["smollm2-135m"], weights=["none", "int8"])
    steelyard.serve(outcome.system_file)

The verb ``parts`` is the module :mod:`steelyard.parts` (``steelyard.parts.index()``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.cli.recipes import run as run
    from steelyard.evaluation.ranking.verb import rank as rank
    from steelyard.evaluation.recorded_comparison import compare_recorded as compare
    from steelyard.evaluation.verb import evaluate_any as eval
    from steelyard.merging.verb import merge as merge
    from steelyard.models.pull import pull as pull
    from steelyard.reporting.report import report as report
    from steelyard.retrieval.verb import index as index
    from steelyard.retrieval.verb import search as search
    from steelyard.serving.server import serve as serve
    from steelyard.systems.ask import ask as ask
    from steelyard.systems.loading import load as load
    from steelyard.tuning.compressing.verb import compress as compress
    from steelyard.tuning.tune import tune as tune

__version__ = "0.1.0"
__all__ = [
    "ask",
    "compare",
    "compress",
    "eval",
    "index",
    "load",
    "merge",
    "pull",
    "rank",
    "report",
    "run",
    "search",
    "serve",
    "tune",
]

_VERBS = {
    "ask": "steelyard.systems.ask:ask",
    "compare": "steelyard.evaluation.recorded_comparison:compare_recorded",
    "compress": "steelyard.tuning.compressing.verb:compress",
    "eval": "steelyard.evaluation.verb:evaluate_any",
    "index": "steelyard.retrieval.verb:index",
    "load": "steelyard.systems.loading:load",
    "merge": "steelyard.merging.verb:merge",
    "pull": "steelyard.models.pull:pull",
    "rank": "steelyard.evaluation.ranking.verb:rank",
    "report": "steelyard.reporting.report:report",
    "run": "steelyard.cli.recipes:run",
    "search": "steelyard.retrieval.verb:search",
    "serve": "steelyard.serving.server:serve",
    "tune": "steelyard.tuning.tune:tune",
}


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'steelyard' has no attribute {name!r}")
    module, _, attribute = _VERBS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_VERBS])
