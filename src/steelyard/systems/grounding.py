"""From a ``ground`` section to a grounded model: opening the index, making the parts, putting them together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard import parts
from steelyard.contracts import AppliedPart, Embedder, LanguageModel, Progress, Retriever
from steelyard.errors import UsageError
from steelyard.models.fingerprint import fingerprint_of
from steelyard.retrieval.content_fingerprint import source_fingerprint
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.index.settings import SearchOptions
from steelyard.retrieval.opening import for_questions, open_index
from steelyard.retrieval.project_index import project_index
from steelyard.retrieval.remembered import RememberedReranker, RememberedRetriever
from steelyard.retrieval.served.place import is_served
from steelyard.systems.ground_section import AUTO, GroundSection
from steelyard.systems.grounded import GroundedModel

NO_EMBEDDER = "none"


def ground(
    model: LanguageModel, section: GroundSection, folder: Path | None = None, *, progress: Progress | None = None
) -> GroundedModel:
    """``model`` with the documents of ``section``, whose paths are relative to ``folder``.

    Raises:
        InputError: No such documents or index.
        UsageError: A retriever or reranker that needs more than an index and the model.
    """
    index = index_of(section, folder, progress=progress)
    return GroundedModel(
        model, retriever_of(model, section, index), reranker_of(model, section), section.settings()
    )


def index_of(
    section: GroundSection, folder: Path | None = None, *, progress: Progress | None = None
) -> Path | str:
    """The index of a section, a folder or a URL; documents are indexed, or their index brought up to date."""
    base = folder or Path()
    if section.index is not None:
        return section.index if is_served(section.index) else base / section.index
    embedder = "" if section.embedder == NO_EMBEDDER else section.embedder
    return project_index(base / (section.docs or ""), embedder, section.chunk, progress=progress)


def retriever_of(
    model: LanguageModel, section: GroundSection, index: Path | str, embedder: Embedder | None = None
) -> Retriever:
    """The retriever of a section over ``index``; it has a fingerprint of what is searched.

    Quotation marks in a question are no phrases to search for, unless the retriever's settings say so. Parts that
    work on another retriever get the lexical one. ``embedder`` saves loading the one that the index names.
    """
    ((name, settings),) = section.retriever.items()
    if name == AUTO:
        return open_index(index, embedder=embedder, options=SearchOptions(phrases=False))
    words = open_index(index, options=SearchOptions("lexical", phrases=False))
    given = {"index": index, "embedder": embedder, "retriever": words, "model": model}
    made: Retriever = _made("retriever", name, settings, given)
    if not isinstance(made, SearchableIndex):
        return RememberedRetriever(made, _fingerprint(name, settings, model, words), room=0)
    return for_questions(made, index, settings, embedder)


def reranker_of(model: LanguageModel, section: GroundSection) -> RememberedReranker | None:
    """The reranker of a section, which asks ``model``; it has a fingerprint of what decides its orders."""
    if section.reranker is None:
        return None
    ((name, settings),) = section.reranker.items()
    made = _made("reranker", name, settings, {"model": model})
    return RememberedReranker(made, _fingerprint(name, settings, model), room=0)


def _made(kind: str, name: str, settings: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """The part, given those of its inputs that there are."""
    function = parts.load(name, kind=kind)
    wanted = inspect.signature(function).parameters
    needed = [n for n in parts.inputs_of(function) if wanted[n].default is inspect.Parameter.empty]
    missing = [n for n in needed if n not in inputs]
    if missing:
        raise UsageError(f"ground: the {kind} {name!r} needs {missing[0]}, which a system file cannot give")
    given = {n: inputs[n] for n in parts.inputs_of(function) if n in inputs}
    return function(**given, **parts.validate(function, settings))


def _fingerprint(
    name: str, settings: Mapping[str, Any], model: LanguageModel, retriever: Retriever | None = None
) -> str:
    """Of a part whose results follow from its settings, the model it asks and what it searches."""
    inside = {"inside": source_fingerprint("retriever", retriever)} if retriever is not None else {}
    return fingerprint_of(model.card.fingerprint, [AppliedPart(name, {**settings, **inside})])
