"""What ``hybrid`` must show: on judged collections it ranks at least as well as the better of its two halves.

make evidence PART=hybrid
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import Claim, write_evidence
from retrieval.judged import Collection, collection, ndcg
from steelyard.contracts import Hit, Interval
from steelyard.evaluation.significance import permutation_test
from steelyard.evaluation.statistics import mean_interval
from steelyard.models.loading import load_model
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
COLLECTIONS = ("cranfield", "cisi")
HALVES = {"lexical": SearchOptions("lexical", phrases=False), "dense": SearchOptions("dense")}
HYBRID = {
    "rrf": SearchOptions("hybrid", phrases=False),
    "weighted": SearchOptions("hybrid", fusion="weighted", phrases=False),
}


def per_query(judged: Collection, folder: Path) -> dict[str, list[float]]:
    """nDCG@10 of every query, by way of searching."""
    embedder = load_model("minilm")
    index = DocumentIndex(folder, IndexSettings(embedder="minilm"), embedder)
    index.add([Hit(name, 0.0, text) for name, text in judged.documents.items()])
    found = {}
    for name, options in (HALVES | HYBRID).items():
        index.options = options
        results = index.search(list(judged.queries.values()), k=10)
        found[name] = [
            ndcg([hit.id for hit in hits], judged.grades[key])
            for key, hits in zip(judged.queries, results, strict=True)
        ]
    return found


def main() -> None:
    """Measure both collections, compare the default fusion with the better half, pair by pair."""
    claims = []
    for name in COLLECTIONS:
        judged = collection(DATA / name)
        with tempfile.TemporaryDirectory() as folder:
            found = per_query(judged, Path(folder) / "index")
        better = max(HALVES, key=lambda half: float(np.mean(found[half])))
        differences = [h - b for h, b in zip(found["rrf"], found[better], strict=True)]
        difference = mean_interval(differences)
        measured: dict[str, Interval | float | int | str] = {
            f"nDCG@10 {way}": mean_interval(values) for way, values in found.items()
        }
        measured |= {
            f"rrf minus {better}": difference,
            "p of no difference": permutation_test(differences),
            "queries": len(differences),
        }
        claims.append(Claim(f"{name}: hybrid (rrf) at least as good as {better}", measured, difference.value >= 0))
    write_evidence(
        "hybrid",
        claims,
        data="Cranfield (1,398 abstracts with text) and CISI (1,460); whole abstracts as passages",
        model="minilm (all-MiniLM-L6-v2; abstracts over 256 tokens are embedded by their first 256)",
        seeds="0 (bootstrap and permutations); nothing else is random",
    )


if __name__ == "__main__":
    main()
