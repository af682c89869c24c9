"""``steelyard ask``: a question to a model that reads your documents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli.console import JsonFlag, console, print_json, progress

if TYPE_CHECKING:
    from steelyard.contracts import Citation
    from steelyard.systems.grounded import GroundedAnswer


def command(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    system: Annotated[
        str | None, typer.Argument(help="A system file, whose documents are asked unless others are named.")
    ] = None,
    docs: Annotated[
        Path | None, typer.Option("--docs", help="Documents; indexed in .steelyard on first use.")
    ] = None,
    index: Annotated[
        str | None, typer.Option("--index", help="An index instead: a folder, or a URL of PostgreSQL.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model that answers (default: smollm2-135m).")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages shown to the model (default: 4).")] = None,
    retriever: Annotated[
        str | None, typer.Option(help="lexical, dense or hybrid, such as hybrid:fusion=weighted.")
    ] = None,
    reranker: Annotated[str | None, typer.Option(help="A reranker, such as upr.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, help="Least support of an answer; 0 answers always (default: 0.3).")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    json: JsonFlag = False,
) -> None:
    """Answer a question from your documents, with citations."""
    from steelyard.errors import UsageError
    from steelyard.systems.ask import MODEL, ask

    if system is not None and model is not None:
        raise UsageError("name either a system file or --model, not both")
    settings: dict[str, Any] = {
        "docs": docs, "index": index, "k": k, "retriever": retriever, "reranker": reranker, "threshold": threshold
    }  # fmt: skip
    settings = {name: value for name, value in settings.items() if value is not None}
    draft = _Draft()
    with progress() as bars:
        answer = ask(
            question,
            system or model or MODEL,
            max_tokens=max_tokens,
            tell=None if json else draft.show,
            progress=bars,
            **settings,
        )
    draft.clear()
    if json:
        print_json(answer_record(question, answer))
        return
    _show(answer)


def answer_record(question: str, answer: GroundedAnswer) -> dict[str, Any]:
    """An answer as JSON: its text, what it cites, and what was shown."""
    return {
        "question": question,
        "answer": answer.generation.text.strip(),
        "refused": answer.refused,
        "support": answer.support,
        "citations": [asdict(citation) for citation in answer.generation.citations],
        "passages": [{"marker": n, **asdict(hit)} for n, hit in enumerate(answer.passages, start=1)],
        "dropped": answer.dropped,
        "unknown_marks": list(answer.unknown_marks),
        "usage": asdict(answer.generation.usage),
    }


class _Draft:
    """The answer as it is written, on standard error where that is a terminal; the checked answer replaces it."""

    def __init__(self) -> None:
        self._live: Any = None
        self._text = ""

    def show(self, text: str) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        terminal = Console(stderr=True)
        if not terminal.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=terminal, transient=True)
            self._live.start()
        self._text += text
        self._live.update(Text(printable(self._text).strip(), style="dim"))

    def clear(self) -> None:
        if self._live is not None:
            self._live.stop()


def _show(answer: GroundedAnswer) -> None:
    from steelyard.systems.ask import marked

    terminal = console()
    terminal.print(printable(marked(answer)), markup=False, soft_wrap=True)
    if answer.dropped:
        found = answer.dropped + len(answer.passages)
        terminal.print(f"\n{answer.dropped} of {found} passages did not fit the model's context", soft_wrap=True)
    for citation in answer.generation.citations:
        terminal.print(f"\n[{citation.marker}] {place_of(citation)}", markup=False, soft_wrap=True)
        terminal.print(f"    “{printable(' '.join(citation.quote.split()))}”", markup=False, soft_wrap=True)


def place_of(citation: Citation) -> str:
    """Where a quote stands: its source, characters, and page and section where they are known."""
    place = [f"{citation.source or citation.id}:{citation.start}-{citation.end}"]
    place += [f"page {citation.metadata['page']}"] if "page" in citation.metadata else []
    place += [str(citation.metadata["section"])] if "section" in citation.metadata else []
    return printable(", ".join(place))


def printable(text: str) -> str:
    r"""The text without what would command a terminal.

    >>> printable("red\x1b[31m")
    'red�[31m'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
