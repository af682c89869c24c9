"""ALCE's scores under a real judge: SmolLM2-135M asked for Yes or No, on answers whose citations are known.

XQuAD's English paragraphs stand in for the authors' data, in their layout: a question's documents are its own
paragraph and four others, its right answer the sentence that holds the gold span. What answers is a table, so that
the answers and citations are what they are meant to be; what is tried is the judge and the scores.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.alce.alce import alce
from steelyard.evaluation.benchmarks.alce.citations import sentences
from steelyard.evaluation.benchmarks.alce.records import FILES
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.statistics import paired_difference
from steelyard.models.scripted import ScriptedModel

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUESTIONS, DOCUMENTS = 40, 5
JUDGE = "smollm2-135m"


def questions() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Questions in ALCE's layout, the right document first, and to each its sentence with the gold span."""
    content = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))
    paragraphs = [(p["context"], p["qas"]) for article in content["data"] for p in article["paragraphs"]]
    items, golds = [], {}
    for number in range(0, len(paragraphs), max(1, len(paragraphs) // QUESTIONS)):
        context, asked = paragraphs[number]
        answer = asked[0]["answers"][0]["text"]
        gold = next((one for one in sentences(context) if answer in one), None)
        if gold is None:
            continue
        others = [paragraphs[(number + step) % len(paragraphs)][0] for step in (7, 13, 29, 41)]
        documents = [{"title": f"Text {i}", "text": text} for i, text in enumerate([context, *others][:DOCUMENTS])]
        question = asked[0]["question"]
        pairs = [{"question": question, "short_answers": [answer]}]
        items.append(
            {"id": str(number), "question": question, "qa_pairs": pairs, "answer": gold, "docs": documents}
        )
        golds[question] = " ".join(gold.split())
    return items[:QUESTIONS], golds


def main() -> None:
    """Measure and write ``evidence/alce.json``."""
    began = time.perf_counter()
    items, golds = questions()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILES["asqa"]).write_text(json.dumps(items), encoding="utf-8")

        def measured(mark: str, **settings: Any) -> Measurement:
            """Gold sentences with a mark behind each (none for an empty one)."""

            def answer(prompt: str) -> str:
                gold = golds[re.findall(r"^Question: (.*)$", prompt, re.MULTILINE)[-1]]
                return f"{gold.rstrip('.')} {mark}." if mark else gold

            return alce(ScriptedModel(answer), judge=JUDGE, data=folder, **settings)

        found = {
            "gold, right document": measured("[1]"),
            "gold, wrong document": measured("[2]"),
            "gold, both": measured("[1][2]"),
            "gold, without marks": measured(""),
            "gold, cited afterwards": measured("", way="closed-book", post_hoc="tfidf"),
        }
    write_evidence(
        "alce",
        claims_of(found),
        data={"task": f"{len(items)} XQuAD English questions in ALCE's layout, {DOCUMENTS} paragraphs each"},
        judge=found["gold, both"].details["judge"],
        figures={
            name: {metric: [round(v, 4) for v in interval[:3]] for metric, interval in one.values.items()}
            for name, one in found.items()
        },
        seeds={"bootstrap": 0},
        seconds=round(time.perf_counter() - began, 1),
    )


def claims_of(found: dict[str, Measurement]) -> list[Claim]:
    """What the row promises, under this judge."""

    def each(name: str, metric: str) -> np.ndarray:
        return np.array([item.values[metric] for item in found[name].items])

    right, bare = found["gold, right document"], found["gold, without marks"]
    recall = right.values["citation_recall"]
    over_wrong = paired_difference(
        each("gold, right document", "citation_recall"), each("gold, wrong document", "citation_recall")
    )
    over_both = paired_difference(
        each("gold, right document", "citation_precision"), each("gold, both", "citation_precision")
    )
    lifted = paired_difference(
        each("gold, cited afterwards", "citation_recall"), each("gold, without marks", "citation_recall")
    )
    kept = bare.values["str_em"].value == right.values["str_em"].value
    return [
        Claim(
            "gold extractive answers score near 1 (0.9 or more)", {"citation_recall": recall}, recall.value >= 0.9
        ),
        Claim("recall is lower where another document is cited", {"difference": over_wrong}, over_wrong.low > 0),
        Claim("an irrelevant citation costs precision", {"difference": over_both}, over_both.low > 0),
        Claim(
            "stripping citations zeroes citation scores and leaves correctness",
            {"citation_recall": bare.values["citation_recall"], "str_em": bare.values["str_em"]},
            kept and bare.values["citation_recall"].value == bare.values["citation_precision"].value == 0,
        ),
        Claim("citing afterwards lifts the recall of uncited answers", {"difference": lifted}, lifted.low > 0),
    ]


if __name__ == "__main__":
    main()
