"""Compressing as a whole, on a tiny model: checked before it is handed over, and whole or not at all."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard as HubCard
from transformers import AutoModelForCausalLM

from steelyard.compression.calibration import fingerprint_texts
from steelyard.compression.sizes import sizes_of
from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError, InputError, LossError, ModelError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.reporting.report import report
from steelyard.runs.store import RunStore
from steelyard.tuning.candidates import parse_weights
from steelyard.tuning.compressing import quality, verb
from steelyard.tuning.compressing.verb import METRIC_CARD, compress

SLEB = {"sleb": {"blocks": [1, 2]}}
SEARCHED = {"sleb": {"remove": 1, "tokens": 64, "window": 32}}
TEXTS = [" ".join(f"cart {number} went over the scales of hall {number % 7}" for number in range(80))]
LONG = ["\n".join(f"line {number} of the ledger" for number in range(2500))]
FAST: Any = {"quick": 0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("steelyard.tuning.compressing.speed.WRITTEN", 3)


@pytest.fixture
def model(tiny_folder: Path) -> Any:
    return load_model(str(tiny_folder))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with_store = RunStore.open(tmp_path / "runs.db")
    yield with_store
    with_store.close()


def test_a_compression_is_measured_recorded_and_saved_with_its_cards(
    model: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skills = quality.quick_skills()[:6]
    monkeypatch.setattr(quality, "quick_skills", lambda: skills)
    done = compress(model, [SLEB, "int8"], out=tmp_path / "small", held_out=TEXTS, quick=1, store=store)
    again = load_model(str(tmp_path / "small"))
    request = [Continuation("A merchant", " of wool")]
    assert again.score(request)[0].logprob == pytest.approx(done.model.score(request)[0].logprob, abs=1e-4)
    assert sizes_of(again) == done.card.after
    written = json.loads((tmp_path / "small" / METRIC_CARD).read_text())
    assert written == done.card.to_record()
    assert written["compression_ratio"] > 2
    assert written["quality"]["quick-suite accuracy"]["loss"]["n"] == 5
    record = report(done.run_id, store=store, out=tmp_path / "page.html")
    assert record["folder"] == str(tmp_path / "small")
    assert [part["name"] for part in record["parts"]] == ["sleb", "int8"]
    assert set(record["tasks"][2]["samples"][0]["answers"]) == {"before", "after"}
    hub = HubCard.load(tmp_path / "small" / "README.md")
    assert {"steelyard", "sleb", "int8"} <= set(hub.data.tags or [])
    for said in ("sleb: blocks=[1, 2]", "other texts that were handed over", "plain transformers cannot load it"):
        assert said in hub.text
    assert record["measurement"]["tables"][0]["rows"][0][0] == "parameters"


def test_what_costs_too_much_is_measured_and_not_saved(model: Any, store: Any, tmp_path: Path) -> None:
    strict: Any = {"quick": 0, "max_loss": 0.0, "held_out": TEXTS}
    with pytest.raises(LossError, match=r"not saved: bits per byte: a rise of .* is not shown") as refused:
        compress(model, [SLEB], out=tmp_path / "small", **strict, store=store)
    assert list(tmp_path.glob("*small*")) == []
    record = report(refused.value.run_id, store=store)
    assert record["folder"] is None
    assert record["limit"]["problems"]
    assert "It was not saved." in record["findings"]
    done = compress(model, [SLEB], out=tmp_path / "small", force=True, **strict, store=store)
    assert done.folder == tmp_path / "small"
    assert "is not shown to be at most 0.0%" in (tmp_path / "small" / "README.md").read_text()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()  # as its model card says
    ids = torch.tensor([[5, 9, 42, 7]])
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, done.model.module(ids).logits, atol=1e-5)


def test_a_repeated_check_asks_nothing_again(model: Any, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compress(model, [SLEB], held_out=TEXTS, **FAST, store=store)
    reused: list[int] = []
    original = verb.measure_quality

    def counted(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        reused.extend(done.reused for side in found.evaluations.values() for done in side)
        return found

    monkeypatch.setattr(verb, "measure_quality", counted)
    compress(model, [SLEB], held_out=TEXTS, **FAST, store=store)
    assert len(reused) == 2
    assert min(reused) > 2


def test_without_held_out_text_a_stated_source_is_measured(model: Any, store: Any) -> None:
    record = report(compress(model, [SLEB], **FAST, store=store).run_id, store=store)
    assert record["held_out"]["source"] == "the six texts of the quick suite"
    assert record["calibration"] is None  # blocks were named, no text was looked at
    done = compress(model, [SEARCHED], calibration=LONG, **FAST, store=store)
    record = report(done.run_id, store=store)
    assert "last tenth of texts that were handed over, which was kept from" in record["held_out"]["source"]
    assert record["calibration"]["characters"] + record["held_out"]["characters"] == pytest.approx(
        len(LONG[0]), abs=2
    )
    assert record["calibration"]["fingerprint"] != record["held_out"]["fingerprint"]
    done = compress(model, [SEARCHED], calibration=LONG, check=False, store=store)
    record = report(done.run_id, store=store)
    assert record["held_out"] is None
    assert record["calibration"]["fingerprint"] == fingerprint_texts(LONG)


def test_the_command_that_is_told_does_the_same(model: Any, store: Any, tiny_folder: Path) -> None:
    parts = parse_weights("sleb:blocks=[1,2]+int8:head=false,skip=[o_proj]")
    done = compress(str(tiny_folder), parts, check=False, store=store)
    words = shlex.split(report(done.run_id, store=store)["commands"][0])
    told = [word for before, word in pairwise(words) if before == "--with"]
    assert words[:3] == ["steelyard", "compress", str(tiny_folder)]
    assert words[-1] == "--no-check"
    assert tuple(entry for text in told for entry in parse_weights(text)) == parts


def test_no_check_measures_nothing_and_says_so(model: Any, store: Any, tmp_path: Path) -> None:
    done = compress(model, ["int8"], out=tmp_path / "small", check=False, store=store)
    assert done.card.quality is done.card.speed is None
    text = (tmp_path / "small" / "README.md").read_text()
    assert "Quality was not measured: the check was switched off." in text
    assert "| quality |  |  | not measured |" in text


@pytest.mark.parametrize("name", ["README.md", METRIC_CARD])
def test_a_full_disk_leaves_nothing(
    model: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    original = Path.write_text

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        if self.name == name:
            raise OSError(28, "No space left on device")
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ModelError, match="No space left on device"):
        compress(model, [SLEB], out=tmp_path / "small", check=False, store=store)
    assert not [path for path in tmp_path.iterdir() if "small" in path.name]
    assert store.latest("compress").status == "failed"


def test_wrong_use(model: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not an empty folder"):
        compress(model, ["int8"], out=tmp_path / "mine")
    with pytest.raises(UsageError, match="at least one part"):
        compress(model, [])
    with pytest.raises(InputError, match="no such file"):
        compress(model, ["int8"], held_out=tmp_path / "nothing.txt")
    with pytest.raises(CapabilityError, match="cannot score text"):
        compress(ScriptedModel({}), ["int8"])
    wrong: list[Any] = [{"max_loss": 1.0}, {"max_loss": -0.1}, {"quick": -1}, {"max_loss": 0.1, "check": False}]
    for options in [*wrong, {"max_los": 0.1}]:
        with pytest.raises(UsageError, match=r"max_loss|quick"):
            compress(model, ["int8"], **options)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
