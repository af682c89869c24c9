"""Grounding as something to choose: which candidates there are, and models with documents that share searches."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from steelyard import parts
from steelyard.contracts import Embedder, LanguageModel, Progress, Retriever
from steelyard.errors import UsageError
from steelyard.retrieval.index.manifest import read_manifest
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.opening import open_index
from steelyard.retrieval.remembered import Memory, RememberedReranker, RememberedRetriever
from steelyard.systems.ground_section import GroundSection, check_parts
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.grounding import NO_EMBEDDER, index_of, reranker_of, retriever_of

NONE = "none"
WORDS = ("lexical",)
"""Retrievers that need no vectors."""


def groundings(
    entries: Sequence[str | Mapping[str, Any]] | None, docs: Path | None, index: Path | None
) -> list[GroundSection | None]:
    """The groundings to weigh; without ``entries`` none, lexical and, where there can be vectors, hybrid.

    Documents are indexed with an embedder for all as soon as one needs it, so that all search the same chunks.

    Raises:
        UsageError: Groundings without documents, documents and an index, or a wrong setting.
    """
    if docs is None and index is None:
        if entries and any(entry != NONE for entry in entries):
            raise UsageError("tune: groundings need documents; name docs or an index")
        return [None]
    if docs is not None and index is not None:
        raise UsageError("tune: name either docs or an index, not both")
    if entries is None:
        vectors = index is None or bool(read_manifest(index).settings.embedder)
        entries = (NONE, "lexical", *(("hybrid",) if vectors else ()))
    place = {"docs": str(docs)} if docs is not None else {"index": str(index)}
    found = [grounding(entry, place) for entry in entries]
    if docs is not None and all(s is None or set(s.retriever) <= set(WORDS) for s in found):
        found = [
            s if s is None or "embedder" in s.model_fields_set else s.model_copy(update={"embedder": NO_EMBEDDER})
            for s in found
        ]
    return found


def grounding(entry: str | Mapping[str, Any], place: Mapping[str, str]) -> GroundSection | None:
    """One grounding: ``"none"``, ``"hybrid:k=8,chunk=100+upr"``, or a ``ground`` section without its documents.

    Before the plus stands the retriever, with its own settings and those of the section, behind it the reranker.

    >>> grounding("lexical:k=2,k1=0.9", {"index": "a.index"}).retriever
    {'lexical': {'k1': 0.9}}
    """
    if isinstance(entry, str):
        if entry.strip() == NONE:
            return None
        first, *others = entry.split("+")
        if len(others) > 1:
            raise UsageError(f"grounding {entry!r}: at most one reranker can follow the retriever")
        name, settings = parts.parse_use(first)
        own = {key: value for key, value in settings.items() if key in GroundSection.model_fields}
        rest = {key: value for key, value in settings.items() if key not in own}
        values: dict[str, Any] = {**own, "retriever": {name: rest}}
        if others:
            values["reranker"] = others[0].strip()
    else:
        values = dict(entry)
    if {"docs", "index"} & set(values):
        raise UsageError(f"grounding {entry!r}: documents are named once for all candidates")
    try:
        section = GroundSection.model_validate({**values, **place})
    except ValidationError as error:
        first_error = error.errors()[0]
        where = ".".join(str(step) for step in first_error["loc"])
        message = first_error["msg"].removeprefix("Value error, ")
        raise UsageError(f"grounding {entry!r}: {where}: {message}".replace(": : ", ": ")) from error
    check_parts(section, lambda key: f"grounding {entry!r}: {key}")
    return section


def grounding_label(section: GroundSection) -> str:
    """``"hybrid + upr k=4"``: what a report calls a grounding.

    >>> grounding_label(GroundSection(index="a.index", retriever="lexical", k=2))
    'lexical k=2'
    """
    uses = [*section.retriever.items(), *(section.reranker or {}).items()]
    words = [" ".join([name, *(f"{key}={value}" for key, value in settings.items())]) for name, settings in uses]
    shown = {"k": section.k, **section.model_dump(exclude_defaults=True)}
    left_out = ("index", "docs", "embedder", "retriever", "reranker", "refusal")
    return " ".join([" + ".join(words), *(f"{key}={v}" for key, v in shown.items() if key not in left_out)])


def grounding_text(entry: str | Mapping[str, Any]) -> str:
    """A grounding as a command line writes it."""
    if isinstance(entry, str):
        return entry
    section = grounding(entry, {"index": "."})
    if section is None:
        return NONE
    data = section.model_dump(exclude_defaults=True, exclude={"index", "retriever", "reranker"})
    ((name, settings),) = section.retriever.items()
    words = [(name, {**settings, **data}), *(section.reranker or {}).items()]
    return "+".join(
        f"{name}:{','.join(f'{key}={value}' for key, value in given.items())}" if given else name
        for name, given in words
    )


class Groundings:
    """Models with documents for all candidates; what one of them found is there for the others.

    Searches and rerankings are remembered by the content of the index, the query and the number of hits, so prompt
    styles and models search once. Indexes are brought up to date when first needed.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._memory: Memory = OrderedDict()
        self._indexes: dict[tuple[str | None, str | None, str, int], Path | str] = {}
        self._opened: dict[tuple[Path | str, str], SearchableIndex] = {}
        self._embedders: dict[Path | str, Embedder] = {}

    def measured(self, model: LanguageModel, section: GroundSection) -> GroundedModel:
        """The model with its documents, for measuring quality: it searches only for what nobody searched for."""
        retriever = RememberedRetriever(self._retriever(model, section), memory=self._memory)
        reranker = reranker_of(model, section)
        if reranker is not None:
            reranker = RememberedReranker(reranker, reranker.fingerprint, self._memory)
        return GroundedModel(model, retriever, reranker, section.settings())

    def timed(self, model: LanguageModel, section: GroundSection) -> GroundedModel:
        """The same model for measuring speed: it searches every time, as it would in use."""
        return GroundedModel(
            model, self._retriever(model, section), reranker_of(model, section), section.settings()
        )

    def _retriever(self, model: LanguageModel, section: GroundSection) -> Retriever:
        """An index is opened once for each way of searching it, and its embedder loaded once."""
        place = (section.index, section.docs, section.embedder, section.chunk)
        if place not in self._indexes:
            self._indexes[place] = index_of(section, progress=self._progress)
        index = self._indexes[place]
        key = (index, json.dumps(section.retriever, sort_keys=True, default=str))
        if key in self._opened:
            return self._opened[key]
        if index not in self._embedders and not set(section.retriever) <= set(WORDS):
            plain = open_index(index)
            with plain.reading() as state:
                settings = state.settings
            if settings.embedder:
                self._embedders[index] = plain.embedder(settings)
        found = retriever_of(model, section, index, self._embedders.get(index))
        if isinstance(found, SearchableIndex):  # others may ask the model, which is not kept alive here
            self._opened[key] = found
        return found
