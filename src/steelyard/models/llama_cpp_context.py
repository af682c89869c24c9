"""llama.cpp's low-level interface: a loaded GGUF file, and contexts that decode a tree of tokens.

A token of a batch may belong to several sequences at once: it is then computed once and each of them attends to
it. So what sequences share, they share without a copy.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ModelError, UsageError
from steelyard.models.gguf_header import read_header

BATCH = 512
"""Most tokens of one call of llama.cpp; more make no matrix product faster."""
LOGIT_ELEMENTS = 2**23
"""Most logits held at once: 32 MiB."""
_CACHED = ("key", "value")
ROUND = 256
"""Cells of a cache come in multiples of this, as llama.cpp attends to as many at a time."""


class Entry(NamedTuple):
    """A token to compute: its position, the sequences it belongs to, and whether its logits are read."""

    token: int
    position: int
    sequences: Sequence[int]
    read: bool


@cache
def api() -> Any:
    """The bindings, silenced: what goes wrong is told by what its functions return.

    Raises:
        UsageError: llama-cpp-python is not installed.
    """
    try:
        import llama_cpp
    except ImportError as error:
        raise UsageError(
            "the engine llama.cpp needs the package llama-cpp-python: pip install 'steelyard[gguf]'"
        ) from error
    llama_cpp.llama_log_set(_silence(), ctypes.c_void_p(0))
    return llama_cpp


@cache
def _silence() -> Any:
    """Kept, because the library calls it as long as the process lives."""
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)


class Weights:
    """A GGUF file mapped into memory. ``lock`` is held while llama.cpp computes, so calls take turns."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = threading.Lock()
        self._api = api()
        self.handle = self._api.llama_model_load_from_file(bytes(file), self._settings())
        if not self.handle:
            raise ModelError(f"{file}: llama.cpp cannot load it: its architecture may be unknown to this version")
        weakref.finalize(self, self._api.llama_model_free, self.handle)
        vocabulary = self._api.llama_model_get_vocab(self.handle)
        self.vocabulary = int(self._api.llama_vocab_n_tokens(vocabulary))
        self.context_length = int(self._api.llama_model_n_ctx_train(self.handle))
        self.parameters = int(self._api.llama_model_n_params(self.handle))
        self.bytes = int(self._api.llama_model_size(self.handle))

    def _settings(self) -> Any:
        settings = self._api.llama_model_default_params()
        settings.n_gpu_layers = 0 if not self._api.llama_supports_gpu_offload() else -1
        return settings

    @property
    def branches(self) -> bool:
        """Whether sequences can share their beginnings: not where a state runs through all tokens."""
        recurrent = self._api.llama_model_is_recurrent(self.handle)
        return not (recurrent or self._api.llama_model_is_hybrid(self.handle))

    @property
    def decodes(self) -> bool:
        """Whether it is a decoder that reads its input itself."""
        encoder = self._api.llama_model_has_encoder(self.handle)
        return bool(self._api.llama_model_has_decoder(self.handle)) and not encoder

    @property
    def cell_bytes(self) -> int:
        """Bytes of cache that one token takes, in 16 bits: keys and values of every layer."""
        lib, said = self._api, read_header(self.file)
        heads = lib.llama_model_n_head_kv(self.handle)
        usual = lib.llama_model_n_embd(self.handle) // max(lib.llama_model_n_head(self.handle), 1)
        widths = (said.metadata.get(f"{said.architecture}.attention.{what}_length", usual) for what in _CACHED)
        return int(lib.llama_model_n_layer(self.handle) * heads * sum(widths) * 2)


class Context:
    """A cache of ``cells`` tokens that up to ``sequences`` sequences use, and the work space beside it."""

    def __init__(self, weights: Weights, cells: int, sequences: int, threads: int) -> None:
        self.weights = weights
        self.cells = -(-cells // ROUND) * ROUND
        self.sequences = sequences
        self.threads = threads
        self._api = api()
        with weights.lock:
            self.handle = self._api.llama_init_from_model(weights.handle, self._settings())
        if not self.handle:
            raise ModelError(
                f"{weights.file}: llama.cpp cannot make a cache of {self.cells:,} tokens; ask for less at once"
            )
        weakref.finalize(self, self._api.llama_free, self.handle)
        self._memory = self._api.llama_get_memory(self.handle)

    def _settings(self) -> Any:
        settings = self._api.llama_context_default_params()
        settings.n_ctx = self.cells
        settings.n_batch = settings.n_ubatch = min(BATCH, self.cells)
        settings.n_seq_max = self.sequences
        settings.n_threads = settings.n_threads_batch = self.threads
        settings.kv_unified = True  # one cache for all, so that sequences can share cells
        settings.swa_full = True  # or what slid out of a window could not be branched from
        settings.no_perf = True
        return settings

    def fits(self, cells: int, sequences: int, threads: int) -> bool:
        """Whether it is large enough, but not many times too large."""
        return (
            cells <= self.cells <= 4 * max(cells, 1024) and sequences <= self.sequences and threads == self.threads
        )

    def decode(self, entries: Sequence[Entry]) -> Iterator[NDArray[np.float32]]:
        """Compute tokens, parents before children; logits float32 (tokens read, vocabulary) piece by piece.

        Raises:
            ModelError: llama.cpp fails.
        """
        most = max(16, LOGIT_ELEMENTS // self.weights.vocabulary)
        piece: list[Entry] = []
        read = 0
        for entry in entries:
            if len(piece) == min(BATCH, self.cells) or read + entry.read > most:
                yield from self._decode(piece)
                piece, read = [], 0
            piece.append(entry)
            read += entry.read
        if piece:
            yield from self._decode(piece)

    def _decode(self, entries: Sequence[Entry]) -> Iterator[NDArray[np.float32]]:
        batch = _Batch(entries)
        rows = [index for index, entry in enumerate(entries) if entry.read]
        logits = np.empty((len(rows), self.weights.vocabulary), dtype=np.float32)
        with self.weights.lock:
            failed = self._api.llama_decode(self.handle, batch.struct(self._api))
            if failed:
                raise ModelError(f"{self.weights.file}: llama.cpp fails to decode (code {failed})")
            for place, row in enumerate(rows):
                pointer = self._api.llama_get_logits_ith(self.handle, row)
                logits[place] = np.ctypeslib.as_array(pointer, (self.weights.vocabulary,))
        if rows:
            yield logits

    def share(self, source: int, target: int, length: int) -> None:
        """Let sequence ``target`` begin with the first ``length`` tokens of ``source``."""
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop a sequence's tokens from ``start`` on."""
        self._api.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def clear(self) -> None:
        """Drop all sequences."""
        self._api.llama_memory_clear(self._memory, False)


class _Batch:
    """Entries in the arrays that llama.cpp reads."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        counts = [len(entry.sequences) for entry in entries]
        self.tokens = np.array([entry.token for entry in entries], dtype=np.int32)
        self.positions = np.array([entry.position for entry in entries], dtype=np.int32)
        self.counts = np.array(counts, dtype=np.int32)
        self.sequences = np.concatenate([np.asarray(entry.sequences, dtype=np.int32) for entry in entries])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.uint64)
        self.places = (starts * 4 + self.sequences.ctypes.data).astype(np.uintp)
        self.read = np.array([entry.read for entry in entries], dtype=np.int8)

    def struct(self, lib: Any) -> Any:
        """The same as llama.cpp's structure; it points into this object."""
        kinds = dict(lib.llama_batch._fields_)

        def pointer(name: str, values: NDArray[Any]) -> Any:
            return ctypes.cast(values.ctypes.data, kinds[name])

        return lib.llama_batch(
            n_tokens=len(self.tokens),
            token=pointer("token", self.tokens),
            embd=None,
            pos=pointer("pos", self.positions),
            n_seq_id=pointer("n_seq_id", self.counts),
            seq_id=pointer("seq_id", self.places),
            logits=pointer("logits", self.read),
        )
