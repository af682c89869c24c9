"""The verbs ``index`` and ``search``: documents into an index, and passages out of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.contracts import Embedder, Hit, Progress
from steelyard.errors import CapabilityError, UsageError
from steelyard.retrieval.chunking import ChunkSize, Counter, chunks, count_words
from steelyard.retrieval.documents.document import Document, Skipped
from steelyard.retrieval.documents.folder import Unchanged, files, read_folder
from steelyard.retrieval.documents.limits import Limits
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.opening import open_index, open_index_writer
from steelyard.retrieval.served.place import ServedPlace, is_served

COMMIT_PASSAGES = 2000
COMMIT_SECONDS = 30.0
"""What is read is made durable after so many passages or seconds, whichever comes first, between two documents."""
SPECIAL_TOKENS = 2
"""Tokens that an embedder puts around a text."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How documents are read: limits on a file, sizes of chunks, and whether to forget what is gone.

    Chunks are counted in the embedder's tokens, in words where there is none.
    """

    limits: Limits = field(default_factory=Limits)
    size: ChunkSize = field(default_factory=ChunkSize)
    forget_missing: bool = True


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an indexing run did: numbers of documents, the passages the index holds now, and what was skipped.

    ``folder`` is where the index is: a folder, or a URL without user and password.
    """

    folder: Path | str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    skipped: tuple[Skipped, ...] = field(default_factory=tuple)


def index(
    docs: str | Path,
    out: str | Path,
    settings: IndexSettings = IndexSettings(embedder="minilm"),  # noqa: B008
    *,
    embedder: Embedder | None = None,
    reading: Reading = Reading(),
    progress: Progress | None = None,
) -> Indexed:
    r"""Bring the index in ``out`` up to the documents in ``docs``.

    Files whose bytes are unchanged are not taken apart again, changed ones are replaced as a whole, passages that
    stayed the same keep their vectors, and documents that are gone are forgotten. A file that cannot be read is
    skipped with the reason; if an earlier version of it is in the index, that stays. A killed run loses no
    document that was committed and shows none in part; the same call goes on from there.

    Args:
        docs: a folder of documents, or one file.
        out: an index, or a new or empty folder, not within ``docs``; or a URL of PostgreSQL,
            ``postgresql://user:password@host/database?index=name``.
        settings: of the index; without ``embedder`` it searches by words alone.
        embedder: makes the vectors instead of the model that ``settings`` name.
        reading: limits, sizes of chunks, and whether to forget missing documents.
        progress: where to report how far it is.

    Raises:
        UsageError: ``out`` within ``docs``, no documents at all, or settings unlike the index's.
        InputError: No such folder, or a damaged index.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "docs").mkdir()
        >>> _ = (folder / "docs" / "wings.md").write_text("# Wings\n\nThey lift.")
        >>> index(folder / "docs", folder / "index", IndexSettings()).added
        1
        >>> search("a lifting wing", index=folder / "index")[0].source
        'wings.md'
    """
    docs = Path(docs)
    place = ServedPlace(str(out)).name if is_served(out) else Path(out)
    if isinstance(place, Path) and place.resolve().is_relative_to(docs.resolve()):
        raise UsageError(f"{place}: lies within the documents; choose a folder outside of {docs} for the index")
    total = sum(1 for _ in files(docs))
    if settings.embedder and embedder is None:
        embedder = _loaded(settings.embedder)
    count = counter_of(embedder, reading.size)
    run = _Run(reading, count, progress)
    if progress is not None:
        progress.start("documents", total)
    with open_index_writer(out, settings, embedder) as writer:
        run.read(docs, writer)
        if not (run.seen or run.skipped):
            raise UsageError(f"{docs}: holds no documents; the index is left as it was")
        removed = run.forget(writer) if reading.forget_missing else 0
        writer.commit()
        passages = writer.passages
    return Indexed(place, run.added, run.updated, run.unchanged, removed, passages, tuple(run.skipped))


class _Run:
    """One indexing run: what it did so far."""

    def __init__(self, reading: Reading, count: Counter, progress: Progress | None) -> None:
        self.added = self.updated = self.unchanged = 0
        self.seen: set[str] = set()
        self.skipped: list[Skipped] = []
        self._reading = reading
        self._count = count
        self._progress = progress

    def read(self, docs: Path, writer: PassageWriter) -> None:
        known = writer.documents()
        committed, last = time.monotonic(), ""
        for found in read_folder(docs, known, self._reading.limits):
            if found.source != last and self._progress is not None:
                self._progress.advance("documents")
            last = found.source
            if isinstance(found, Skipped):
                stays = found.source in known and found.source not in self.seen
                self.skipped.append(
                    Skipped(found.source, found.reason + ("; its earlier version stays" if stays else ""))
                )
            elif isinstance(found, Unchanged):
                self.unchanged += 1
            else:
                self._take(found, writer, found.source in known)
            self.seen.add(found.source)
            if writer.waiting >= COMMIT_PASSAGES or time.monotonic() - committed > COMMIT_SECONDS:
                writer.commit()
                committed = time.monotonic()

    def _take(self, document: Document, writer: PassageWriter, known: bool) -> None:
        passages = chunks(document, self._reading.size, self._count)
        writer.replace(document.source, document.digest, passages)
        self.updated += known
        self.added += not known

    def forget(self, writer: PassageWriter) -> int:
        gone = [source for source in writer.documents() if source not in self.seen]
        for source in gone:
            writer.delete_document(source)
        return len(gone)


def _loaded(name: str) -> Embedder:
    from steelyard.models.loading import load_model

    model = load_model(name)
    if not isinstance(model, Embedder):
        raise CapabilityError(f"an index needs an embedder, and {name!r} gives no vectors")
    return model


def counter_of(embedder: Embedder | None, size: ChunkSize) -> Counter:
    """Counts tokens of the embedder where it has a tokenizer, words otherwise.

    Raises:
        UsageError: Chunks larger than what the embedder reads, which it would cut.
    """
    tokenizer: Any = getattr(embedder, "tokenizer", None)
    if tokenizer is None:
        return count_words
    longest = _longest(embedder)
    if longest is not None and size.tokens + SPECIAL_TOKENS > longest:
        raise UsageError(f"chunks of {size.tokens} tokens: the embedder reads {longest - SPECIAL_TOKENS} at most")

    def count(texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]

    return count


def _longest(embedder: Any) -> int | None:
    """Most tokens that an embedder reads of a text, where it says so."""
    limits = [
        getattr(getattr(embedder, "card", None), "context_length", None),
        getattr(getattr(embedder, "pooling", None), "max_length", None),
    ]
    return min((limit for limit in limits if limit), default=None)


def search(
    query: str,
    *,
    index: str | Path,
    k: int = 10,
    options: SearchOptions = SearchOptions(),  # noqa: B008
    where: Filter | None = None,
) -> list[Hit]:
    """The ``k`` best passages of an index, best first.

    For several queries, or to search again and again, keep the
    retriever of :func:`~steelyard.retrieval.opening.open_index` instead.

    Args:
        query: what to look for; words in double quotation marks must occur as a phrase.
        index: the index: a folder, or a URL of PostgreSQL.
        k: how many.
        options: by words, meaning or both, and how.
        where: conditions on metadata.

    Raises:
        InputError: No index there, or a damaged one.
        UsageError: The index lacks what ``options`` ask for.
    """
    return open_index(index, options=options, where=where).search([query], k)[0]
