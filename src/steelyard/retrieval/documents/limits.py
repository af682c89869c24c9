"""How much one file may cost before it is left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one file; what goes beyond one is skipped with the reason.

    ``file_bytes`` as stored; ``characters`` of extracted text; ``line_characters`` of one line of plain text, a
    table or JSON Lines; ``expansion`` the most bytes an archive may unfold to, per byte stored; ``seconds`` and
    ``memory_bytes`` of the process that takes apart PDF, Word and HTML files; ``columns`` of a table.
    """

    file_bytes: int = 200_000_000
    characters: int = 100_000_000
    line_characters: int = 5_000_000
    expansion: float = 200.0
    seconds: float = 60.0
    memory_bytes: int = 2_000_000_000
    columns: int = 256
