from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard as HubCard

from steelyard.compression.sizes import Sizes
from steelyard.contracts import AppliedPart, ModelCard
from steelyard.tuning.compressing.metric_card import MetricCard
from steelyard.tuning.compressing.model_card import model_card

DENSE = Sizes(1000, 1000, 4000, 4000, 32.0, 2000.0, 0)
FACTS: dict[str, Any] = {"calibration": None, "held_out": None, "command": "steelyard compress x --with sleb"}
PARTS = (AppliedPart("sleb", {"blocks": [1]}),)


def written(**changes: Any) -> HubCard:
    before = ModelCard(**({"name": "x", "fingerprint": "a" * 32} | changes))
    after = ModelCard("x", "b" * 32, parts=PARTS, capabilities=frozenset({"generate"}))
    return HubCard(model_card(before, after, MetricCard(DENSE, DENSE), FACTS, ["It is <b>small</b>."]))


@pytest.mark.parametrize(
    ("licence", "known", "named"),
    [("Apache-2.0", "apache-2.0", None), ("gemma", "gemma", None), ("My own terms", "other", "My own terms")],
)
def test_a_licence_is_named_as_the_hub_knows_it(licence: str, known: str, named: str | None) -> None:
    data = written(licence=licence).data.to_dict()
    assert data["license"] == known
    assert data.get("license_name") == named


@pytest.mark.parametrize(
    ("source", "base"), [("someone/model-1b", "someone/model-1b"), ("/home/me/models/x", "x"), (None, "x")]
)
def test_a_path_of_this_machine_is_no_base_model(source: str | None, base: str) -> None:
    assert written(source=source).data.base_model == base


def test_hostile_names_stay_data() -> None:
    text = written(name="x\n---\nlicense: mit <script> | `y`").text
    assert "<script>" not in text
    assert "&lt;b>small" in text
    assert written(name="a: b\n# c").data.base_model == "a: b\n# c"


def test_a_plain_checkpoint_says_how_transformers_loads_it() -> None:
    text = written().text
    assert 'AutoModelForCausalLM.from_pretrained("path/to/this/folder")' in text
    assert "1. `sleb: blocks=[1]`" in text
