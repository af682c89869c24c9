"""RelEntLess: SmolLM2-135M beside word vectors on the fixture's pairs (the official data are on the hub)."""

from __future__ import annotations

import os
from pathlib import Path

from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.relations.graded_relations import read_relations, spearman_interval
from steelyard.evaluation.benchmarks.relations.relentless import HEADER, relentless
from steelyard.models.loading import load_model

FIXTURE = Path(__file__).parent / "fixtures" / "relentless"


def main() -> None:
    """Measure and write ``evidence/relentless.json``; STEELYARD_RELENTLESS names the official data's folder."""
    given = os.environ.get("STEELYARD_RELENTLESS")
    data = given or str(FIXTURE)
    relations = read_relations(HEADER, data, "test")
    planted = [spearman_interval(one.human, one.human).value for one in relations]
    reverse = [spearman_interval([-v for v in one.human], one.human).value for one in relations]
    found = relentless(load_model("smollm2-135m"), data=data)
    perplexity = {name: value for name, value in found.values.items() if "perplexity" in name}
    claims = [
        Claim(
            "a planted order scores 1 and its reverse -1",
            {"planted": min(planted), "reverse": max(reverse)},
            min(planted) > 1 - 1e-9 and max(reverse) < -1 + 1e-9,
        ),
        Claim(
            "every method is reported beside the word-vector baseline, which a small model may not beat",
            dict(found.values),
            "spearman, word vectors, word" in found.values,
        ),
        Claim(
            "perplexity ranks pairs better than chance under both templates",
            perplexity,
            all(value.low > 0 for value in perplexity.values()),
        ),
    ]
    write_evidence(
        "relentless",
        claims,
        model="SmolLM2-135M-Instruct",
        data="the official test split"
        if given
        else "42 own pairs of five relations with own scores (test fixture)",
        notes=list(found.notes),
        seeds=[],
    )


if __name__ == "__main__":
    main()
