"""Grounded answers on XQuAD: its English paragraphs as documents, its questions without them as the task.

SmolLM2-135M answers the same questions without documents and with the best passages by words, by meaning, by both,
and by both after UPR has put twenty candidates into order. The prompt is the default one ("Question: ... Answer:",
no examples); nothing was tuned on these questions.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evidence_record import Claim, write_evidence
from steelyard.contracts import Citation, Interval, LanguageModel, PromptStyle, Sample
from steelyard.evaluation.evaluate import Evaluation, evaluate
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.significance import holm, permutation_test
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.models.loading import load_model
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.verb import index
from steelyard.systems.attribution import misquoted
from steelyard.systems.ground_section import GroundSection
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.grounding import ground

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUESTIONS, SHOWN, TOKENS = 60, 3, 24
SECTIONS = {
    "lexical": {"retriever": "lexical"},
    "dense": {"retriever": "dense"},
    "hybrid": {"retriever": "hybrid"},
    "hybrid, upr": {"retriever": "hybrid", "reranker": "upr"},
}


class Gold(NamedTuple):
    """Where a question's answer stands: the file of its paragraph, and the characters there."""

    source: str
    start: int
    end: int


class Cited(NamedTuple):
    """One answer: its citations, and whether a passage cited, or one shown, holds the gold span."""

    citations: list[Citation]
    cited: bool
    shown: bool
    share: float


def write_paragraphs(docs: Path) -> tuple[list[Sample], dict[str, Gold]]:
    """Every paragraph as a file of its own; the questions, and where their answers stand."""
    samples, gold = [], {}
    content = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))
    for number, article in enumerate(content["data"]):
        for place, paragraph in enumerate(article["paragraphs"]):
            file = docs / f"{number:02d}-{place:02d}.txt"
            file.write_text(paragraph["context"], encoding="utf-8")
            for question in paragraph["qas"]:
                first = question["answers"][0]
                start = first["answer_start"]
                gold[question["id"]] = Gold(file.name, start, start + len(first["text"]))
                answers = list(dict.fromkeys(answer["text"] for answer in question["answers"]))
                samples.append(Sample(question["id"], {"prompt": question["question"], "answers": answers}))
    return samples, gold


def citing(
    model: GroundedModel, samples: Sequence[Sample], done: Evaluation, gold: dict[str, Gold]
) -> list[Cited]:
    """What each answer cites, against where the gold span stands."""
    found = []
    passages = model.hits([str(sample.data["prompt"]) for sample in samples])
    for sample, result, shown in zip(samples, done.results, passages, strict=True):
        here = gold[sample.id]
        holds = {h.id: h.source == here.source and h.start <= here.start and here.end <= h.end for h in shown}
        citations = [Citation(**citation) for citation in result.responses[0].get("citations", ())]
        cited = any(holds[citation.id] for citation in citations)
        found.append(Cited(citations, cited, any(holds.values()), float(np.mean(list(holds.values()) or [0]))))
    return found


def values(done: Evaluation, metric: str) -> np.ndarray:
    """A metric of every question."""
    return np.array([result.marks.values[metric] for result in done.results])


def main() -> None:
    """Measure and write ``evidence/grounded.json``."""
    began = time.perf_counter()
    model = load_model("smollm2-135m")
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        docs.mkdir()
        everything, gold = write_paragraphs(docs)
        chosen = everything[:: max(1, len(everything) // QUESTIONS)][:QUESTIONS]
        index(docs, Path(folder) / "index", IndexSettings(embedder="minilm"))
        task = QuestionTask("xquad.en", tuple(chosen), "f1", max_tokens=TOKENS)
        systems: dict[str, LanguageModel] = {"closed-book": model}
        for name, use in SECTIONS.items():
            section = GroundSection.model_validate({"index": str(Path(folder) / "index"), "k": SHOWN, **use})
            systems[name] = ground(model, section)
        done = {
            name: evaluate(one, task, style=PromptStyle("plain"), chunk=len(chosen))
            for name, one in systems.items()
        }
        cites = {
            name: citing(one, chosen, done[name], gold)
            for name, one in systems.items()
            if isinstance(one, GroundedModel)
        }
        texts = {file.name: file.read_text(encoding="utf-8") for file in docs.iterdir()}
    wrong = sum(1 for own in cites.values() for one in own for _ in misquoted(one.citations, texts))
    write_evidence(
        "grounded",
        claims_of(done, cites, wrong),
        data={"task": f"XQuAD English: {len(chosen)} questions, {len(texts)} paragraphs as documents"},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        settings={"k": SHOWN, "candidates": 20, "style": "plain, no examples", "max_tokens": TOKENS},
        figures=figures(done, cites),
        seeds={"bootstrap": 0, "permutation": 0},
        seconds=round(time.perf_counter() - began, 1),
    )


def claims_of(done: dict[str, Evaluation], cites: dict[str, list[Cited]], wrong: int) -> list[Claim]:
    """Grounding against none, the reranker and both halves against their sum, and the citations."""
    f1 = {name: values(one, "f1") for name, one in done.items()}
    pairs = [(name, "closed-book") for name in cites]
    pairs += [("hybrid", "lexical"), ("hybrid", "dense"), ("hybrid, upr", "hybrid")]
    p_values = holm([permutation_test(f1[a] - f1[b]) for a, b in pairs])
    claims = []
    for (a, b), p in zip(pairs, p_values, strict=True):
        gain = paired_difference(f1[a], f1[b])
        measured: dict[str, Interval | float | int | str] = {"difference": gain, "p (Holm)": round(p, 4)}
        if b == "closed-book":
            claims.append(Claim(f"F1: {a} above closed-book", measured, gain.value > 0 and p <= 0.05))
        elif a == "hybrid":
            claims.append(Claim(f"F1: hybrid not below {b}", measured, not (gain.value < 0 and p <= 0.05)))
        else:
            claims.append(Claim(f"F1: {a} above {b}", measured, gain.value > 0 and p <= 0.05))
    for name, own in cites.items():
        over = paired_difference([float(one.cited) for one in own], [one.share for one in own])
        what = f"{name}: a passage cited holds the gold span more often than one shown, drawn by chance"
        claims.append(Claim(what, {"difference": over}, over.low > 0))
    count = sum(len(one.citations) for own in cites.values() for one in own)
    verbatim = {"citations": count, "misquoted": wrong}
    claims.append(
        Claim("every quote stands word by word at its place in the file", verbatim, count > 0 and not wrong)
    )
    return claims


def figures(done: dict[str, Evaluation], cites: dict[str, list[Cited]]) -> dict[str, dict[str, list[float]]]:
    """Every system's scores and shares, each as [value, low, high]."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, one in done.items():
        shares = {metric: values(one, metric) for metric in ("exact_match", "f1")}
        if name in cites:
            own = cites[name]
            shares["answers that cite"] = np.array([float(bool(c.citations)) for c in own])
            shares["a passage cited holds the gold span"] = np.array([float(c.cited) for c in own])
            shares["a passage shown holds the gold span"] = np.array([float(c.shown) for c in own])
        intervals = {what: mean_interval(values, bounds=(0.0, 1.0)) for what, values in shares.items()}
        found[name] = {what: [round(v, 4) for v in interval[:3]] for what, interval in intervals.items()}
    return found


if __name__ == "__main__":
    main()
