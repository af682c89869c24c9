from typing import Any

import pytest

from steelyard.reporting import views
from steelyard.reporting.methods import statistics_text


def view(record: dict[str, Any], name: str) -> views.CandidateView:
    measure = views.measure_for(record)
    return next(v for v in views.candidate_views(record, measure) if v.id == name)


def test_candidates_come_best_first(record: dict[str, Any]) -> None:
    found = views.candidate_views(record, views.measure_for(record))
    statuses = [v.status for v in found]
    assert statuses == sorted(statuses, key=views.STATUSES.index)
    assert found[0].id == record["winner"]
    assert found[-1].status == "refused"
    kept = [v.quality.value for v in found if v.status == "dropped" and v.quality]
    assert kept == sorted(kept, reverse=True)


def test_labels_drop_what_all_share() -> None:
    assert views.short_labels(["m, plain", "m, int8, plain", "m, int8, chat"]) == [
        "plain",
        "int8, plain",
        "int8, chat",
    ]
    assert views.short_labels(["m", "m, int8"]) == ["m", "m, int8"]  # one would be left without a name
    assert views.short_labels(["m, plain"]) == ["m, plain"]


def test_what_is_missing_says_why(record: dict[str, Any]) -> None:
    refused = view(record, "c13")
    assert refused.quality_cell.text == "–"
    assert "limit is 600 MB" in refused.quality_cell.reason
    assert "limit is 600 MB" in refused.latency.reason
    assert not refused.memory.missing


def test_the_winner_is_only_as_sure_as_its_test(record: dict[str, Any]) -> None:
    measure = views.measure_for(record)
    found = views.candidate_views(record, measure)
    winner = found[0]
    statement, numbers = views.certainty(winner, found, measure)
    assert statement == "No difference to the best is shown"
    assert "points against plain, 2 shots" in numbers
    winner.record["against_leader"]["p_value"] = 0.001
    assert views.certainty(winner, found, measure)[0] == "It differs from the best measured"
    assert views.certainty(found[1], found, measure)[0] == "Best measured"


def test_the_rule_names_limits_and_a_missed_target(record: dict[str, Any]) -> None:
    measure = views.measure_for(record)
    assert views.rule_text(record, measure) == (
        "The fastest system within 2 points of the best measured, "
        "with memory up to 600 MB and latency up to 150 ms."
    )
    record["limits"] = {}
    record["target"] = 0.6
    assert views.rule_text(record, measure) == (
        "The fastest system whose accuracy is at least 60.0%, without limits on memory or latency."
    )
    record["target"] = 0.99
    assert views.rule_text(record, measure).startswith(
        "No system reaches the target, accuracy at least 99.0%. The"
    )


def test_group_shades_run_from_lowest_to_highest(record: dict[str, Any]) -> None:
    measure = views.measure_for(record)
    found = views.candidate_views(record, measure)
    rows, (low, high) = views.group_rows(found, record["task"]["groups"], measure)
    cells = [(c.sort, s) for row in rows for c, s in zip(row.cells, row.shades, strict=True) if c.sort is not None]
    assert min(cells)[1] == 0
    assert max(cells)[1] == 9
    assert (low, high) == (min(cells)[0], max(cells)[0])
    assert all(row.candidate.status != "refused" for row in rows)


def test_rounds_name_the_dropped_and_why(record: dict[str, Any]) -> None:
    measure = views.measure_for(record)
    rounds = views.round_views(record, views.candidate_views(record, measure))
    assert [r.samples for r in rounds] == ["16", "32", "64", "120"]
    assert rounds[1].dropped[0][0] == "int8, chat, zero-shot"
    assert "no dearer" in rounds[1].dropped[0][1]


@pytest.mark.parametrize(
    ("value", "text"),
    [("2026-11-23T09:14:05Z", "2026-11-23 09:14:05 UTC"), ("yesterday", "yesterday"), (None, "")],
)
def test_times(value: str | None, text: str) -> None:
    assert views.time_text(value) == text


def test_facts_flatten_the_environment() -> None:
    assert views.facts({"python": "3.11", "packages": {"torch": "2.13"}, "gpu": None, "flags": ["a", "b"]}) == [
        ("python", "3.11"),
        ("packages · torch", "2.13"),
        ("gpu", "–"),
        ("flags", "a, b"),
    ]


def test_ratios_name_their_reference(record: dict[str, Any]) -> None:
    found = views.candidate_views(record, views.measure_for(record))
    reference = views.reference_of(record, found)
    assert reference is not None
    assert reference.id == "c01"
    assert "(plain, zero-shot)" in statistics_text("tune", reference.short)[-1]
    named = views.reference_of({**record, "reference": "c09"}, found)
    assert named is not None
    assert named.id == "c09"
    for candidate in record["candidates"]:
        candidate["latency"] = None
    assert views.reference_of(record, found) is None
