"""Evidence for the ranking of languages: are European ones closer to English in SmolLM2 than low-resource ones?

    python -m tests.evidence language-ranker        # some minutes

The first 25 sentences of SIB-200's dev split, parallel in all languages.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import FOLDER, Claim, write_evidence
from steelyard.contracts import Interval, OpenWeights
from steelyard.evaluation.benchmarks.language_ranker import language_ranker
from steelyard.models.loading import load_model
from tiny import tiny_llama

DATA = Path(os.environ.get("STEELYARD_DATA", FOLDER.parents[1] / "shared" / "data")) / "sib200"
MAJOR = ["deu_Latn", "fra_Latn", "spa_Latn", "por_Latn", "nld_Latn"]
LOW = ["kaz_Cyrl", "hin_Deva", "tam_Taml", "tha_Thai", "swh_Latn", "yor_Latn", "zul_Latn"]
COUNT = 25


def sentences(language: str) -> list[str]:
    with (DATA / language / "dev.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["text"] for row in rows[:COUNT]]


def untrained() -> dict[str, float]:
    """Scores of a model with random weights: what the measure shows without any training."""
    with tempfile.TemporaryDirectory() as folder:
        model = cast(OpenWeights, load_model(str(tiny_llama(Path(folder), max_position_embeddings=4096))))
        texts = {language: sentences(language) for language in ["eng_Latn", *MAJOR, *LOW]}
        found = language_ranker(model, texts, target="eng_Latn")
    return {name: round(value.value, 4) for name, value in found.values.items()}


def main() -> None:
    model = cast(OpenWeights, load_model("smollm2-135m"))
    found = language_ranker(
        model, {language: sentences(language) for language in ["eng_Latn", *MAJOR, *LOW]}, target="eng_Latn"
    )
    values = {row[1]: row[2] for row in found.tables[0].rows}
    gaps = {str(row[1]): cast(Interval, row[4]) for row in found.tables[0].rows}
    other_script = [name for name in LOW if not name.endswith("Latn")]
    lowest = min(values[name].value for name in MAJOR)
    highest = max(values[name].value for name in other_script)
    lowest_gap = min(gaps[name].value for name in MAJOR)
    highest_gap = max(gaps[name].value for name in other_script)
    write_evidence(
        "language-ranker",
        [
            Claim(
                "English with itself scores 1",
                {"eng_Latn": values["eng_Latn"]},
                values["eng_Latn"].value > 1 - 1e-6,
            ),
            Claim(
                "major European languages rank above low-resource ones in other scripts",
                {str(name): value for name, value in values.items()},
                lowest > highest,
            ),
            Claim(
                "shuffled pairs score lower for every major language",
                {name: gaps[name] for name in MAJOR},
                all(gaps[name].low > 0 for name in MAJOR),
            ),
            Claim(
                "the same order by the gap to shuffled pairs, which anisotropy does not inflate",
                {name: gaps[name] for name in [*MAJOR, *LOW]},
                lowest_gap > highest_gap,
            ),
        ],
        data={"name": "SIB-200, dev", "sentences": COUNT, "major": MAJOR, "low-resource": LOW},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        layers=found.details["layers"],
        notes=list(found.notes),
        same_measure_on_an_untrained_tiny_llama=untrained(),
        seeds={"control": 0, "bootstrap": 0},
    )


if __name__ == "__main__":
    main()
