"""Failures the user can act on; everything else is a fault of Steelyard's own."""

from __future__ import annotations


class SteelyardError(Exception):
    """A failure the user can act on: one line that names the place, what is wrong and how to mend it.

    ``exit_code`` is what the command line returns for it (1: failed, 2: wrong use).
    """

    exit_code = 1


class UsageError(SteelyardError):
    """The call itself is wrong: an unknown name or setting, contradictory limits, a missing argument."""

    exit_code = 2


class InputError(SteelyardError):
    """A file or record is wrong: the message names the file, the line where known, and the remedy."""


class ModelError(SteelyardError):
    """Weights cannot be read, or an architecture lacks what a part needs."""


class CapabilityError(ModelError):
    """A model lacks a capability a caller needs; the message names caller, model and capability."""


class EndpointError(ModelError):
    """A remote model did not answer, or answered with something unusable."""


class StoreError(SteelyardError):
    """The run store cannot be opened, read or written."""


class LossError(SteelyardError):
    """A compressed model costs more than its limit allows and was not saved; ``run_id`` has what was measured."""

    def __init__(self, message: str, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id
