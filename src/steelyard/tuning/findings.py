"""What a tune found, in three sentences that claim no more than their tests support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.evaluation.statistics import interval_text

if TYPE_CHECKING:
    from steelyard.tuning.record import Outcome
    from steelyard.tuning.search import Search

Records = Mapping[str, Mapping[str, Any]]


def findings(outcome: Outcome, records: Records, winner: str, leader: str) -> list[str]:
    """Three sentences: the winner and its price, how it stands to the best, and what the search cost."""
    return [_winner(outcome, records[winner]), _standing(outcome, records, winner, leader), _search(outcome)]


def _winner(outcome: Outcome, best: Mapping[str, Any]) -> str:
    settings = outcome.settings
    metric, quality, latency = outcome.task.metric, best["quality"], best["latency"]
    enough = f"within {settings.tolerance:g} of the best"
    missed = ""
    if settings.target is not None:
        enough = f"that reach {settings.target:g}"
        if outcome.sign * (quality["value"] - settings.target) < 0:
            missed = f"No system reaches {metric} {settings.target:g}. "
            enough = f"within {settings.tolerance:g} of the best"
    return (
        f"{missed}{best['label']} is the cheapest (by {settings.by}) of the systems {enough}: {metric} "
        f"{interval_text(quality)} on {quality['n']} samples, {latency['p50'] * 1000:.0f} ms an answer "
        f"(median of {latency['n']}) and {(best['memory_bytes'] or 0) / 1e6:.0f} MB of memory."
    )


def _standing(outcome: Outcome, records: Records, winner: str, leader: str) -> str:
    """The winner against the best, or where it is the best, against the next one measured in full."""
    if winner != leader:
        paired = records[winner]["against_leader"]
        return (
            f"The best measured is {records[leader]['label']} at {interval_text(records[leader]['quality'])}; "
            f"the winner's paired difference to it is {interval_text(paired['difference'])}, {_verdict(paired)}."
        )
    full = [records[name] for name in outcome.search.survivors if name != winner]
    if not full:
        return "It is also the best measured, and the only one that was measured on every sample."
    second = max(full, key=lambda record: outcome.sign * record["quality"]["value"])
    paired = second["against_leader"]
    return (
        f"It also has the best {outcome.task.metric} measured; the next is {second['label']}, whose paired "
        f"difference to it is {interval_text(paired['difference'])}, {_verdict(paired)}."
    )


def _search(outcome: Outcome) -> str:
    search = outcome.replay or outcome.search
    total = len(outcome.candidates) * len(outcome.order)
    verb = "would have measured" if outcome.replay else "measured"
    refused = f"; {len(outcome.refused)} were refused by the limits" if outcome.refused else ""
    return (
        f"The search {verb} {search.cells} of {total} (system, sample) cells ({search.cells / total:.0%}), "
        f"dropping {len(search.drops)} of {len(outcome.candidates)} systems early{refused}.{_risk(search)}"
    )


def _risk(search: Search) -> str:
    if search.risk is None:
        return ""
    return f" By its prediction, measuring all of them would choose another with a chance of {search.risk:.1%}."


def _verdict(paired: Mapping[str, Any]) -> str:
    if paired["p_value"] <= 0.05:
        return f"a difference that the test supports (p = {paired['p_value']:.2g})"
    return f"which is no difference that the test supports (p = {paired['p_value']:.2g})"
