"""Keeping transformers' progress bars and warnings off the terminal while it reads or writes a model.

What matters of them is checked and raised as errors (missing weights, unknown architectures); the rest would
bury the one line a user has to read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers within the block; its own settings are put back afterwards."""
    from transformers.utils import logging as reports

    verbosity, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    root_level = logging.getLogger("accelerate").level
    reports.set_verbosity(logging.CRITICAL)
    reports.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        reports.set_verbosity(verbosity)
        logging.getLogger("accelerate").setLevel(root_level)
        if bars:
            reports.enable_progress_bar()


@contextlib.contextmanager
def without_bars(module: Any) -> Iterator[None]:
    """Silence a module that draws its bars with a ``tqdm`` of its own, which no setting reaches."""
    original = getattr(module, "tqdm", None)
    if original is None:
        yield
        return
    module.tqdm = functools.partial(original, disable=True)
    try:
        yield
    finally:
        module.tqdm = original
