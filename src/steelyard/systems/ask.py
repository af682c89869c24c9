"""The verb ``ask``: one question to a model that reads your documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from steelyard.contracts import LanguageModel, Message, Progress, PromptStyle, Sampling
from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.systems.ground_section import GroundSection, check_parts
from steelyard.systems.grounded import GroundedAnswer, GroundedModel
from steelyard.systems.grounding import NO_EMBEDDER, ground
from steelyard.systems.loading import assemble, load
from steelyard.systems.system import System, unwrap
from steelyard.systems.system_file import SUFFIXES, read_system

MODEL = "smollm2-135m"
THRESHOLD = 0.3
"""Least support of an answer where neither the call nor a system file names one."""
MAX_TOKENS = 128


def ask(
    question: str,
    model: str | Path | LanguageModel = MODEL,
    *,
    max_tokens: int = MAX_TOKENS,
    tell: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> GroundedAnswer:
    """Answer a question from documents, and say where the answer comes from.

    Args:
        question: what to ask.
        model: a name that :func:`steelyard.load` takes, such as a system file, or a model. A system file's
            ``ground`` section counts; what ``settings`` name is changed.
        max_tokens: longest answer.
        tell: gets the model's words as they are written; the answer may still turn out to be unsupported.
        progress: where indexing reports how far it is.
        **settings: keys of a system file's ``ground`` section
            (:class:`~steelyard.systems.ground_section.GroundSection`). ``docs`` or ``index`` is needed unless the
            system has documents; documents are indexed in the project's folder on first use. ``threshold`` is
            0.3 unless the system says otherwise.

    Raises:
        UsageError: No question, no documents, or a wrong setting.
        InputError: Documents or index that cannot be read.

    Example:
        >>> answer = ask("Who may open the store?", docs="handbook")          # doctest: +SKIP
        >>> answer.generation.citations[0].quote                              # doctest: +SKIP
        'Two keepers open the store together.'
    """
    if not question.strip():
        raise UsageError("ask: the question is empty")
    grounded, style = _grounded(model, settings, progress)
    if style is None:
        style = PromptStyle("chat" if "chat" in grounded.card.capabilities else "plain")
    system = System(grounded, style)
    prompt = system.rendered([Message("user", question.strip())])
    return grounded.answer(prompt, system.stopped(Sampling(max_tokens=max_tokens)), tell=tell)


def _grounded(
    model: str | Path | LanguageModel, settings: dict[str, Any], progress: Progress | None
) -> tuple[GroundedModel, PromptStyle | None]:
    """The model with its documents, and the style of a system."""
    base: Path | None = None
    known: GroundSection | None = None
    if isinstance(model, str | Path) and str(model).lower().endswith(SUFFIXES) and "://" not in str(model):
        path = Path(model)
        system = read_system(path)
        base, known = path.parent, system.ground
        loaded = assemble(system.model_copy(update={"ground": None}), path)
    else:
        loaded = load(model) if isinstance(model, str | Path) else model
    inner, style = unwrap(loaded)
    if isinstance(inner, GroundedModel):
        if not settings:
            return inner, style
        inner = inner.model
    section = section_of(settings, known)
    if "docs" in settings or "index" in settings:
        base = None
    return ground(inner, section, base, progress=progress), style


def section_of(settings: dict[str, Any], known: GroundSection | None = None) -> GroundSection:
    """A ``ground`` section from keywords, which change the ``known`` one.

    Raises:
        UsageError: An unknown keyword or a wrong value, or neither documents nor an index.
    """
    names = list(GroundSection.model_fields)
    for name in settings:
        if name not in names:
            raise UsageError(f"ask has no setting {name!r}{nearest(name, names)}")
    given = {n: str(v) if isinstance(v, Path) else v for n, v in settings.items() if v is not None}
    values = {} if known is None else known.model_dump(exclude_unset=True)
    if "docs" in given or "index" in given:
        values = {n: v for n, v in values.items() if n not in ("docs", "index")}
    values = {"threshold": THRESHOLD, **values, **given}
    if not ("docs" in values or "index" in values):
        raise UsageError("ask needs documents: name docs, an index, or a system file with a ground section")
    try:
        section = GroundSection.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "documents"
        raise UsageError(f"ask: {place}: {first['msg'].removeprefix('Value error, ')}") from error
    check_parts(section, lambda key: f"ask: {key}")
    if "lexical" in section.retriever and "embedder" not in section.model_fields_set:
        section = section.model_copy(update={"embedder": NO_EMBEDDER})
    return section


def marked(answer: GroundedAnswer) -> str:
    """The answer's text with the number of the passage behind each claim that is cited.

    >>> from steelyard.contracts import Citation, Generation
    >>> made = Generation("Paris.", citations=(Citation(2, "a", "a.md", 0, 6, "Paris.", 0, 6),))
    >>> marked(GroundedAnswer(made, (), 0, 1.0, False))
    'Paris. [2]'
    """
    text = answer.generation.text
    for citation in sorted(answer.generation.citations, key=lambda c: (c.answer_end, c.marker), reverse=True):
        text = f"{text[: citation.answer_end]} [{citation.marker}]{text[citation.answer_end :]}"
    return text.strip()
