"""The index that a project keeps of a folder of documents, made when it is first asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from steelyard.contracts import Progress
from steelyard.models.cache import cache_root
from steelyard.retrieval.chunking import ChunkSize
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.verb import Reading, index

FOLDER = Path(".steelyard") / "indexes"
OVERLAP = 5
"""One part in so many of a chunk may repeat the chunk before."""


def project_index(
    docs: str | Path,
    embedder: str = "minilm",
    chunk: int = 200,
    *,
    language: str = "english",
    progress: Progress | None = None,
) -> Path:
    """The index of ``docs`` in the project's folder, brought up to date.

    It lies in ``.steelyard/indexes`` below the current folder, one for each set of documents, embedder and chunk
    size; in the model cache where the documents hold the current folder.

    Args:
        docs: a folder of documents, or one file.
        embedder: the model of the vectors; empty to index words alone.
        chunk: most tokens of a chunk, a fifth of which may repeat the one before.
        language: of the stemmer.
        progress: where to report how far it is.

    Raises:
        InputError: No such documents.
        UsageError: No documents there, or another process is indexing them.
    """
    place = Path(docs).resolve()
    settings = IndexSettings(language, embedder)
    key = json.dumps([str(place), embedder, chunk, language])
    name = f"{place.stem}-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    out = FOLDER.resolve() / name
    if out.is_relative_to(place):
        out = cache_root() / "indexes" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    index(docs, out, settings, reading=Reading(size=ChunkSize(chunk, chunk // OVERLAP)), progress=progress)
    return out
