"""llama.cpp through llama-cpp-python, as a peer: greedy answers for several prompts at a time.

It is given the same tokens, decodes as many sequences in parallel, and is not slowed by a sampler: the next token
is the largest logit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 2048


def quiet() -> Any:
    """Silence llama.cpp; what is returned has to be kept, for it is what the library calls."""
    import llama_cpp

    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return callback


def requantized(source: Path, target: Path, ftype: int) -> Path:
    """Write a GGUF file in another precision (0 is float32, 7 is Q8_0)."""
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = ftype
    settings.allow_requantize = True
    failed = llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(settings))
    if failed:
        raise SystemExit(f"llama.cpp cannot write {source} as {target}")
    return target


class LlamaCpp:
    """A loaded GGUF file."""

    def __init__(self, file: Path, threads: int) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        self.silence = quiet()
        self.threads = threads
        self.model = llama_cpp.llama_model_load_from_file(bytes(file), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot read {file}")
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def generate(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """``count`` new tokens for each prompt, all prompts in parallel."""
        api, rows = self.api, len(prompts)
        settings = api.llama_context_default_params()
        settings.n_ctx = sum(map(len, prompts)) + rows * (count + 1)
        settings.n_batch = settings.n_ubatch = BATCH
        settings.n_seq_max = rows
        settings.n_threads = settings.n_threads_batch = self.threads
        settings.kv_unified = True
        context = api.llama_init_from_model(self.model, settings)
        batch = api.llama_batch_init(BATCH, 0, 1)
        answers: list[list[int]] = [[] for _ in prompts]
        try:
            entries = [
                (token, place, row, place + 1 == len(prompt))
                for row, prompt in enumerate(prompts)
                for place, token in enumerate(prompt)
            ]
            for start in range(0, len(entries), BATCH):
                self._decode(context, batch, entries[start : start + BATCH], answers)
            for step in range(count - 1):
                self._decode(
                    context,
                    batch,
                    [(answer[-1], len(prompts[row]) + step, row, True) for row, answer in enumerate(answers)],
                    answers,
                )
        finally:
            api.llama_batch_free(batch)
            api.llama_free(context)
        return answers

    def _decode(
        self, context: Any, batch: Any, entries: list[tuple[int, int, int, bool]], answers: list[list[int]]
    ) -> None:
        batch.n_tokens = len(entries)
        for index, (token, place, row, read) in enumerate(entries):
            batch.token[index] = token
            batch.pos[index] = place
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = row
            batch.logits[index] = read
        if self.api.llama_decode(context, batch):
            raise SystemExit("llama.cpp cannot decode a batch")
        for index, (_, _, row, read) in enumerate(entries):
            if read:
                logits = np.ctypeslib.as_array(self.api.llama_get_logits_ith(context, index), (self.size,))
                answers[row].append(int(logits.argmax()))
