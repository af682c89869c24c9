"""How each server is asked to sample: the same :class:`~steelyard.contracts.Sampling`, in the server's own fields.

Defaults are written out where a server has others: vLLM takes those it is not given from the model's
``generation_config.json``, llama.cpp from its command line.
"""

from __future__ import annotations

from typing import Any

from steelyard.contracts import Sampling
from steelyard.models.endpoint_grammar import grammar_fields
from steelyard.models.endpoint_remote import Remote, ServerKind

_TAKES_EXTRAS: frozenset[ServerKind] = frozenset({"vllm", "llama.cpp", "sglang", "steelyard", "unknown"})


def sampling_fields(remote: Remote, kind: ServerKind, sampling: Sampling, conversation: bool) -> dict[str, Any]:
    """The fields of a request that say how to sample.

    A setting that the server is known to leave aside is a :class:`CapabilityError`. An unknown server gets the
    names most servers use, and only for settings that ask for something.
    """
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    fields |= _extras(remote, kind, sampling)
    if kind == "tgi" and sampling.top_p == 1:
        del fields["top_p"]  # it takes only values below
    if kind == "llama.cpp":
        fields["seed"] = sampling.seed % (2**32 - 1)  # the last number of 32 bits stands for a random seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logprobs:
        fields |= (
            {"logprobs": True, "top_logprobs": sampling.logprobs}
            if conversation
            else {"logprobs": sampling.logprobs}
        )
    if sampling.grammar is not None:
        fields |= grammar_fields(remote, kind, sampling.grammar, conversation)
    return fields


def _extras(remote: Remote, kind: ServerKind, sampling: Sampling) -> dict[str, Any]:
    """``top_k``, ``min_p`` and ``repetition_penalty``, which are not OpenAI's."""
    wanted: dict[str, Any] = {}
    if sampling.top_k:
        wanted["top_k"] = sampling.top_k
    if sampling.min_p:
        wanted["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1:
        wanted["repetition_penalty"] = sampling.repetition_penalty
    if wanted and kind not in _TAKES_EXTRAS:
        raise remote.lacks(f"cannot sample with {next(iter(wanted))}: its server ({kind}) leaves that aside")
    if kind in ("vllm", "sglang"):
        return {"top_k": sampling.top_k or -1, "min_p": sampling.min_p} | {
            "repetition_penalty": sampling.repetition_penalty
        }
    if kind == "llama.cpp":
        penalty = {"repeat_penalty": sampling.repetition_penalty, "repeat_last_n": -1}
        return {"top_k": sampling.top_k, "min_p": sampling.min_p} | penalty
    return wanted
