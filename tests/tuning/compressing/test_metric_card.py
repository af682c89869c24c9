from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard.compression.sizes import Sizes
from steelyard.tuning.compressing.metric_card import MetricCard

DENSE = Sizes(1000, 1000, 4000, 4000, 32.0, 2000.0, 0)


def test_a_dense_model_has_ratio_one() -> None:
    card = MetricCard(DENSE, DENSE)
    assert card.compression_ratio == card.memory_ratio == card.parameter_ratio == 1.0
    assert card.to_record()["quality"] is None


def test_ratios_follow_from_the_sizes() -> None:
    card = MetricCard(
        DENSE, replace(DENSE, nonzero=250, stored_bytes=1000, memory_bytes=2000, bits_per_weight=8.0)
    )
    assert card.compression_ratio == 4.0
    assert card.memory_ratio == 0.5
    rows = {row[0]: row for row in card.table().rows}
    assert rows["not zero"][3] == "75.0% are zero"
    assert rows["bits a weight"][1:3] == ("32.00", "8.00")
    assert rows["quality"][3] == rows["speed"][3] == "not measured"


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_json_form_has_both_sides(side: str) -> None:
    assert MetricCard(DENSE, DENSE).to_record()[side]["parameters"] == 1000
