from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steelyard import parts
from steelyard.compression import apply
from steelyard.compression import sleb as sleb_module
from steelyard.compression.apply import apply_parts, split_entry
from steelyard.compression.calibration import fingerprint_texts
from steelyard.contracts import AppliedPart, Continuation
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.scripted import ScriptedModel

SLEB = {"sleb": {"remove": 2, "tokens": 96, "window": 32}}


def test_parts_run_in_order_and_are_recorded(tiny: Any, texts: list[str]) -> None:
    model = apply_parts(tiny, [SLEB, "int8"], texts)
    assert [part.name for part in model.card.parts] == ["sleb", "int8"]
    assert len(model.module.model.layers) == 4
    assert apply_parts(tiny, []) is tiny


def test_the_fingerprint_is_of_the_parts_and_what_they_chose(tiny: Any, texts: list[str]) -> None:
    """A search and its recorded outcome are one model; other calibration that chooses otherwise is another."""
    searched = apply_parts(tiny, [SLEB], texts)
    named = apply_parts(tiny, [{"sleb": {"blocks": list(searched.card.parts[0].settings["blocks"])}}])
    assert searched.card.fingerprint == named.card.fingerprint
    assert (
        apply_parts(tiny, ["int8", SLEB], texts).card.fingerprint
        != apply_parts(tiny, [SLEB, "int8"], texts).card.fingerprint
    )


def test_a_repeated_search_is_remembered(tiny: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    inner = sleb_module._search

    def counted(*arguments: Any) -> list[int]:
        searches.append(1)
        return inner(*arguments)

    monkeypatch.setattr(sleb_module, "_search", counted)
    first = apply_parts(tiny, [SLEB], texts)
    second = apply_parts(tiny, [SLEB], texts)
    assert len(searches) == 1
    assert second.card == first.card
    apply_parts(tiny, [SLEB], texts[:3])
    assert len(searches) == 2  # other texts are another search
    apply_parts(tiny, [{"sleb": {**SLEB["sleb"], "seed": 1}}], texts)
    assert len(searches) == 3
    apply_parts(tiny, [SLEB], texts, cache=False)
    assert len(searches) == 4


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["slebb"], "unknown compressor 'slebb'; did you mean 'sleb'"),
        ([{"sleb": {"remov": 2}}], "no setting 'remov'; did you mean 'remove'"),
        ([{"sleb": {"remove": 0}}], "setting 'remove'"),
        ([{"sleb": {"remove": "many"}}], "setting 'remove'"),
        ([{"sleb": {}, "int8": {}}], "one name with its settings"),
        ([{"sleb": [1]}], "must be names with values"),
        (["sleb"], "needs calibration texts"),
    ],
)
def test_wrong_parts_are_refused(tiny: Any, entries: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply_parts(tiny, entries)


def test_later_mistakes_are_found_before_the_first_part_runs(
    tiny: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sleb_module, "_search", lambda *_: pytest.fail("ran"))
    with pytest.raises(UsageError, match="no setting 'haed'"):
        apply_parts(tiny, [SLEB, {"int8": {"haed": True}}], texts)


def test_models_without_weights_are_refused() -> None:
    with pytest.raises(CapabilityError, match="not in this process"):
        apply_parts(ScriptedModel({}), ["int8"])


def test_split_entry() -> None:
    assert split_entry({"sleb": None}) == ("sleb", {})
    assert split_entry({"sleb": {"remove": 1}}) == ("sleb", {"remove": 1})


# ------------------------------------------------------- a part whose weights themselves depend on the texts


def scale_head(model: Any, calibration: list[str], *, by: float = 2.0, record: bool = True) -> Any:
    from steelyard.compression.block_replay import share

    module = share(model.module)
    import torch

    module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.detach() * by / len(calibration))
    settings: dict[str, Any] = {"by": by}
    if record:
        settings["calibration"] = fingerprint_texts(calibration)
    scale_head.runs += 1  # type: ignore[attr-defined]
    return model.evolve(module, AppliedPart("scale-head", settings))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    scale_head.runs = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(parts, "load", lambda name, kind=None: scale_head)


@pytest.mark.usefixtures("registered")
def test_calibrated_weights_are_kept_as_a_checkpoint(tiny: Any, texts: list[str]) -> None:
    first = apply_parts(tiny, ["scale-head"], texts)
    second = apply_parts(tiny, ["scale-head"], texts)
    assert scale_head.runs == 1  # type: ignore[attr-defined]
    assert first.card.fingerprint == second.card.fingerprint
    request = [Continuation("A", " word")]
    direct = scale_head(tiny, texts).score(request)[0].logprob
    assert second.score(request)[0].logprob == pytest.approx(direct, abs=1e-5)
    other = apply_parts(tiny, ["scale-head"], texts[:1])
    assert other.card.fingerprint != first.card.fingerprint


@pytest.mark.usefixtures("registered")
def test_calibration_must_be_given_and_recorded(tiny: Any, texts: list[str]) -> None:
    with pytest.raises(UsageError, match="needs calibration texts"):
        apply_parts(tiny, ["scale-head"])
    with pytest.raises(ModelError, match="does not record its calibration"):
        apply_parts(tiny, [{"scale-head": {"record": False}}], texts)


def test_nothing_is_written_without_cache(tiny: Any, texts: list[str], tmp_path: Path) -> None:
    apply_parts(tiny, [SLEB], texts, cache=False)
    assert not (tmp_path / "cache").exists()
    apply_parts(tiny, [SLEB], texts)
    assert apply.model_cache.cache_root() == tmp_path / "cache"
    assert list((tmp_path / "cache" / "records").glob("part-sleb-*.json"))
