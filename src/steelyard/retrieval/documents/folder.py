"""A folder of documents: which files there are, and reading those that changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from steelyard.errors import InputError
from steelyard.retrieval.documents.document import Document, Extract, Skipped, Unreadable
from steelyard.retrieval.documents.formats import Format, check_beginning, format_of
from steelyard.retrieval.documents.limits import Limits
from steelyard.retrieval.documents.process_apart import ProcessApart


class Unchanged(NamedTuple):
    """A file whose bytes are those read before."""

    source: str


def files(root: Path) -> Iterator[tuple[str, Path] | Skipped]:
    """Every file below ``root`` by its path from there, in a fixed order; what is left out, with the reason.

    Symbolic links are never followed, so that no loop is walked and nothing outside is read; hidden files and
    folders, devices and pipes are left out. ``root`` may be a single file.
    """
    if root.is_file():
        yield root.name, root
        return
    if not root.is_dir():
        raise InputError(f"{root}: no such file or folder of documents")
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield Skipped(_shown(root, folder), f"cannot be read ({error.strerror})")
            continue
        below: list[Path] = []
        for entry in entries:
            path = Path(entry.path)
            reason = _reason_against(entry)
            if reason:
                yield Skipped(_shown(root, path), reason)
            elif entry.is_dir(follow_symlinks=False):
                below.append(path)
            else:
                yield path.relative_to(root).as_posix(), path
        pending.extend(reversed(below))


def _reason_against(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if any(ord(character) < 32 for character in entry.name):
        return "has control characters in its name"
    if entry.name.startswith("."):
        return "is hidden"
    if entry.is_symlink():
        return "is a symbolic link"
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        return "is no regular file"
    return ""


def _shown(root: Path, path: Path) -> str:
    """A path as it can be printed, whatever is in it."""
    name = path.relative_to(root).as_posix()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in os.fsencode(name).decode("utf-8", "replace"))


def read_folder(
    root: Path, known: Mapping[str, str] | None = None, limits: Limits | None = None
) -> Iterator[Document | Unchanged | Skipped]:
    r"""Read every document below ``root``, one after the other.

    Args:
        root: a folder, or one file.
        known: the digest under which each source was read before; a file with the same bytes is not taken apart
            again.
        limits: what one file may cost.

    Yields:
        For each file a document, that it is unchanged, or why it is skipped; after a document that was read in
        part a ``Skipped`` for each part that was not.

    Raises:
        InputError: There is no such folder.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("note.md").write_text("# Wings\n\nThey lift.")
        >>> [document.extract.text for document in read_folder(Path("note.md"))]
        ['# Wings\n\nThey lift.']
    """
    limits = limits or Limits()
    known = known or {}
    with ProcessApart(limits) as apart:
        for found in files(root):
            if isinstance(found, Skipped):
                yield found
                continue
            source, path = found
            try:
                read = _read(source, path, known.get(source), limits, apart)
            except Unreadable as error:
                yield Skipped(source, str(error))
                continue
            yield read
            if isinstance(read, Document):
                for note in read.extract.notes:
                    yield Skipped(source, note)


def _read(source: str, path: Path, known: str | None, limits: Limits, apart: ProcessApart) -> Document | Unchanged:
    chosen = format_of(source)
    if chosen is None:
        ending = Path(source).suffix
        raise Unreadable(
            f"has a format that is not read ({ending})" if ending else "has no ending that names a format"
        )
    data = _bytes(path, limits)
    digest = hashlib.sha256(chosen.name.encode() + b"\0" + data).hexdigest()
    if digest == known:
        return Unchanged(source)
    check_beginning(chosen, data)
    return Document(source, digest, _extract(chosen, path, data, limits, apart))


def _extract(chosen: Format, path: Path, data: bytes, limits: Limits, apart: ProcessApart) -> Extract:
    return apart.read(chosen, path) if chosen.apart else chosen.read(data, limits)


def _bytes(path: Path, limits: Limits) -> bytes:
    """A regular file's bytes; checked on the open file, since the name may meanwhile mean something else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("is no regular file")
            data = file.read(limits.file_bytes + 1) if status.st_size <= limits.file_bytes else b""
            if status.st_size > limits.file_bytes or len(data) > limits.file_bytes:
                raise Unreadable(f"has more than {limits.file_bytes:,} bytes")
            return data
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or error})") from error
