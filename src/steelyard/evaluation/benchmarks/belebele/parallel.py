"""Belebele over many languages: the same questions, compared question by question."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import NonNegativeInt

from steelyard.evaluation.benchmarks.belebele.belebele import asked, variant_task
from steelyard.evaluation.benchmarks.belebele.records import (
    HEADER,
    QUESTIONS,
    check_aligned,
    chosen_languages,
    read_variant,
)
from steelyard.evaluation.benchmarks.belebele.summary import belebele_summary
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.task_header import data_folder
from steelyard.parts import part


@part(papers=[206], kind="suite")
def belebele_parallel(
    *,
    languages: str | list[str] | None = None,
    data: str | None = None,
    mode: Literal["in-context", "instruction"] = "in-context",
    shots: NonNegativeInt | None = None,
    examples: str | None = None,
    translated: str | None = None,
    shuffle: int | None = None,
) -> Suite:
    """Belebele in many variants, one task each, compared on the same questions.

    The variants are checked to ask the same questions with the same answers. The summary has accuracy by language,
    script, family and resources (classes of Joshi et al. 2020: high 4 and 5, medium 3, low 0 to 2), each
    language's difference from English (McNemar, Holm), and of each group from the other languages; intervals are
    clustered by passage.

    Args:
        languages: FLORES-200 codes such as ``swh_Latn``; by default all that the folder has.
        data: A folder of LANGUAGE.jsonl files.
        mode: How it is asked, as ``belebele`` takes it.
        shots: Solved examples of the mode ``in-context``, 5 by default.
        examples: A file of solved English examples, as ``belebele`` takes it.
        translated: A folder of machine translations of the same questions, for translate-test: each becomes a
            second task of its language, compared with the first.
        shuffle: A seed that draws the order of answers anew for each question, alike in every variant.

    Raises:
        UsageError: An unknown variant, no data, or settings that contradict each other.
        InputError: A damaged record, or variants that are not aligned.

    Source:
        "The Belebele Benchmark" (2024), sections 4 and 5. Languages, scripts and families are those of its
        published table; resource classes: Joshi et al. 2020, "The State and Fate of Linguistic Diversity and
        Inclusion in the NLP World".

    Relations:
        ``belebele`` is one variant by itself;
        :func:`~steelyard.evaluation.benchmarks.belebele.records.translate_records` makes translations.

    Example:
        >>> suite = belebele_parallel(languages=["eng_Latn", "swh_Latn"], data="Belebele/")  # doctest: +SKIP
    """
    how = asked(mode, shots, examples, shuffle)
    wanted = [languages] if isinstance(languages, str) else languages
    codes = chosen_languages(wanted, data_folder(HEADER, data))
    variants = {code: read_variant(code, data) for code in codes}
    check_aligned(variants)
    tasks = [variant_task(f"belebele-{code}", variants[code], how) for code in codes]
    second = {}
    for code in codes if translated is not None else ():
        rows = read_variant(code, translated)
        check_aligned({code: variants[code], f"the translation of {code}": rows})
        tasks.append(variant_task(f"belebele-{code}-translated", rows, how))
        second[tasks[-1].name] = code
    short = [f"{code} has {len(rows)}" for code, rows in variants.items() if len(rows) != QUESTIONS]
    notes = (f"Of {QUESTIONS} questions {', '.join(short)}.",) if short else ()
    direct = {f"belebele-{code}": code for code in codes}
    summary = partial(belebele_summary, direct=direct, translated=second, notes=notes)
    return Suite("belebele-parallel", tuple(tasks), summary)
