"""Variants of one model share what their equal beginnings cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard import parts
from steelyard.compression.block_replay import share
from steelyard.compression.calibration import fingerprint_texts
from steelyard.compression.int8 import int8
from steelyard.contracts import AppliedPart, PromptStyle, Sample
from steelyard.evaluation.question_task import QuestionTask
from steelyard.systems.loading import assemble
from steelyard.tuning.candidates import Variant, grid
from steelyard.tuning.variants import Variants
from steelyard.tuning.winner import calibration_beside, system_of

TEXTS = ["The quick brown fox jumps over the lazy dog. " * 6]


class Calibrated:
    """A part whose weights depend on the texts, and that cannot do without them; counts its runs."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, float]] = []
        self.__name__ = "scale_head"

    def __call__(self, model: Any, calibration: Sequence[str], *, by: float = 2.0) -> Any:
        self.runs.append((model.card.fingerprint, by))
        module = share(model.module)
        module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.detach() * by / len(calibration))
        settings = {"by": by, "calibration": fingerprint_texts(calibration)}
        return model.evolve(module, AppliedPart("scale-head", settings))


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calibrated:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    found = Calibrated()

    def load(name: str, kind: str | None = None) -> Any:
        return int8 if name == "int8" else found

    monkeypatch.setattr(parts, "load", load)
    return found


def variants_of(folder: Path, *weights: Any) -> list[Variant]:
    return [Variant(str(folder), tuple(entry)) for entry in weights]


def test_equal_beginnings_are_calibrated_once(part: Calibrated, tiny_folder: Path) -> None:
    scaled = {"scale-head": {"by": 3.0}}
    wanted = variants_of(tiny_folder, [], [scaled], [scaled, {"int8": {}}], [scaled, {"scale-head": {"by": 0.5}}])
    variants = Variants(TEXTS)
    models = [variants.get(variant) for variant in wanted]
    dense, first = models[0].card.fingerprint, models[1].card.fingerprint
    assert part.runs == [(dense, 3.0), (first, 0.5)]
    assert [applied.name for applied in models[2].card.parts] == ["scale-head", "int8"]
    again = Variants(TEXTS)  # another process, or a tune that was cut off
    assert [again.get(variant).card.fingerprint for variant in wanted] == [
        model.card.fingerprint for model in models
    ]
    assert len(part.runs) == 2
    Variants(TEXTS * 2).get(wanted[1])
    assert len(part.runs) == 3  # other texts are another calibration


@pytest.mark.parametrize("given", [False, True])
def test_a_winner_that_was_calibrated_is_rebuilt_from_its_file(
    part: Calibrated, tiny_folder: Path, tmp_path: Path, given: bool
) -> None:
    (tmp_path / "texts.txt").write_text(TEXTS[0])
    (tmp_path / "out").mkdir()
    (candidate,) = grid([str(tiny_folder)], [({"scale-head": {"by": 3.0}}, {"int8": {}})], [PromptStyle("raw")])
    model = Variants(TEXTS).get(candidate.variant)
    place = calibration_beside(tmp_path / "out", tmp_path / "texts.txt" if given else None, TEXTS)
    task = QuestionTask("t", (Sample("1", {"text": "x"}),), "bits_per_byte")
    system = system_of(candidate, model, task, tmp_path / "out", place)
    assert system.weights[0] == {"scale-head": {"by": 3.0}}  # without the fingerprint of its texts
    again = assemble(system, tmp_path / "out" / "best.yaml")
    assert again.model.card.fingerprint == model.card.fingerprint  # type: ignore[attr-defined]
    assert len(part.runs) == 1
