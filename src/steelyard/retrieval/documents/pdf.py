"""PDF: text page by page."""

from __future__ import annotations

import io
import logging

from steelyard.retrieval.documents.document import Extract, Mark, Unreadable
from steelyard.retrieval.documents.limits import Limits


def pdf(data: bytes, limits: Limits) -> Extract:
    """The text of every page, in pypdf's reading order; each page is a mark with its number, 1 the first.

    A file that opens without a password is read even if it is encrypted. A page that cannot be read is noted.

    Raises:
        Unreadable: A password is needed, the file is broken, or no page holds text (scans need OCR first).
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its warnings about untidy files are of no use here
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is encrypted; save a copy without a password")
        pages = list(reader.pages)
    except DependencyError as error:
        raise Unreadable("is encrypted; save a copy without a password") from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise Unreadable(f"is no PDF that can be read ({_first_line(error)})") from error
    pieces: list[str] = []
    marks: list[Mark] = []
    notes: list[str] = []
    at = 0
    for number, page in enumerate(pages, start=1):
        try:
            text = page.extract_text().replace("\0", "").strip()
        except MemoryError:
            raise
        except Exception as error:  # whatever a parser trips over in a broken page, the other pages can be read
            notes.append(f"page {number} cannot be read ({_first_line(error)})")
            continue
        if text:
            pieces.append(text)
            marks.append(Mark(at, at + len(text), {"page": number}))
            at += len(text) + 2
        if at > limits.characters:
            raise Unreadable(f"has more than {limits.characters:,} characters of text")
    if not pieces:
        raise Unreadable(notes[0] if notes else "holds no text (pages that are pictures need OCR first)")
    return Extract("\n\n".join(pieces), marks=tuple(marks), notes=tuple(notes))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
