"""The ``ground`` section of a system file: which documents, how they are searched, how answers rest on them.

    ground: {index: handbook.index, retriever: hybrid, reranker: upr, k: 4}
    ground: {docs: handbook, retriever: {hybrid: {fusion: weighted}}, threshold: 0.3}

Either ``index`` names an index (a folder, or a URL of PostgreSQL) or ``docs`` documents, which are indexed in the
project's folder when the system is loaded and brought up to date there; paths are relative to the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveInt, model_validator

from steelyard import parts
from steelyard.errors import InputError, UsageError
from steelyard.retrieval.served.place import is_served
from steelyard.systems.grounded import REFUSAL, GroundedSettings, Support
from steelyard.systems.yaml_files import Section

AUTO = "auto"
"""The retriever that is hybrid where an index has vectors and lexical otherwise."""
Use = dict[str, dict[str, Any]]


def one_part(entry: Any) -> Any:
    """A part with its settings, from its name, from ``name:setting=value``, or from a mapping of one.

    >>> one_part("hybrid:depth=50")
    {'hybrid': {'depth': 50}}
    """
    if isinstance(entry, str):
        try:
            name, settings = parts.parse_use(entry)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return {name: settings}
    if isinstance(entry, Mapping):
        if len(entry) != 1:
            raise ValueError(f"one part with its settings is wanted, not {len(entry)}")
        return {name: {} if settings is None else settings for name, settings in entry.items()}
    return entry


class GroundSection(Section):
    """The ``ground`` section as data.

    Attributes:
        index: an index: a folder, or a URL of PostgreSQL.
        docs: a folder of documents, or one file, instead.
        embedder: of documents' vectors, or none to index words alone.
        chunk: most tokens of a chunk of documents.
        retriever: a part such as ``lexical``, ``dense`` or ``hybrid`` with its settings, or ``auto``.
        reranker: a part such as ``upr``; it asks the system's own model.
        k: passages shown; this and what follows is as in :func:`~steelyard.systems.grounded.grounded`.
    """

    index: str | None = Field(None, min_length=1)
    docs: str | None = Field(None, min_length=1)
    embedder: str = Field("minilm", min_length=1)
    chunk: PositiveInt = 200
    retriever: Annotated[Use, BeforeValidator(one_part)] = Field({AUTO: {}}, validate_default=True)
    reranker: Annotated[Use, BeforeValidator(one_part)] | None = None
    k: PositiveInt = 4
    candidates: PositiveInt = 20
    threshold: NonNegativeFloat = 0.0
    support: Support = "lexical"
    marks: bool = False
    refusal: str = REFUSAL

    @model_validator(mode="after")
    def _consistent(self) -> GroundSection:
        if (self.index is None) == (self.docs is None):
            raise ValueError("name either an index or docs to be indexed")
        if self.reranker is not None and self.candidates < self.k:
            raise ValueError(f"{self.candidates} candidates are fewer than the k={self.k} passages to show")
        return self

    def beside(self, folder: Path) -> GroundSection:
        """The section for a file in ``folder``, its paths being so far relative to the current folder."""
        places = {"index": self.index, "docs": self.docs}
        moved = {
            key: os.path.relpath(place, folder)
            for key, place in places.items()
            if place is not None and not is_served(place)
        }
        return self.model_copy(update=moved)

    def settings(self) -> GroundedSettings:
        """How answers rest on what is found."""
        return GroundedSettings(self.k, self.candidates, self.threshold, self.support, self.marks, self.refusal)


def check_parts(section: GroundSection, place: Callable[[str], str]) -> None:
    """Refuse unknown parts and settings; ``place`` says where a key stands."""
    for key, use in (("retriever", section.retriever), ("reranker", section.reranker)):
        for name, settings in (use or {}).items():
            try:
                if name == AUTO and key == "retriever":
                    if settings:
                        raise UsageError(f"retriever {AUTO!r} has no settings; name lexical, dense or hybrid")
                    continue
                parts.validate(parts.load(name, kind=key), settings)
            except UsageError as error:
                raise InputError(f"{place(key)}: {error}") from error


def section_data(section: GroundSection) -> dict[str, Any]:
    """The section as it is written: nothing that is a default, parts without settings by their names."""
    data = section.model_dump(exclude_defaults=True)
    for key in ("retriever", "reranker"):
        for name, settings in (data.get(key) or {}).items():
            if not settings:
                data[key] = name
    return data
