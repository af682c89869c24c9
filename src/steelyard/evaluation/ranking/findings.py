"""What a ranking shows, in sentences that claim no more than its tests and resamples support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.evaluation.ranking.records import Ranking
from steelyard.evaluation.statistics import interval_record, interval_text


def rank_findings(
    found: Ranking, judges: Sequence[Mapping[str, Any]], n: int, against_gold: Mapping[str, Any] | None = None
) -> list[str]:
    """The order, how firmly its top stands, and how far the judges are to be trusted."""
    leader = found.order[0]
    score = (
        interval_text(interval_record(found.intervals[leader]))
        if found.intervals
        else f"{found.scores[leader]:.3f}"
    )
    name = found.names[leader]
    leaders = [found.names[i] for i in found.order if found.place(i) == 1]
    first_place = f"{name} ranks first" if len(leaders) == 1 else f"{' and '.join(leaders)} share the first place"
    sentences = [f"{first_place} of {len(found.names)} by {found.method}: {found.score_name} {score}, n = {n}."]
    if found.method == "gold":
        sentences.append(_supported(found, name))
    first = ((found.details.get("stability") or {}).get("first") or {}).get(name)
    if first is not None:
        sentences.append(
            f"With the questions drawn again, {name} comes first in {100 * first:.0f} % of the draws."
        )
    if against_gold is not None:
        sentences.append(
            f"Against the order by the task's own metric: Kendall's tau {against_gold['kendall']:.3f}, "
            f"{against_gold['inversions']} inversions, RBO {against_gold['rbo']:.3f}."
        )
    for judge in judges:
        sentences += _of_judge(judge)
    return [*sentences, *found.notes]


def _supported(found: Ranking, leader: str) -> str:
    """Which systems the leader is shown to beat, after correction for all pairs."""
    own = [one for one in found.details["comparisons"] if leader in (one["first"], one["second"])]
    others = {one["second"] if one["first"] == leader else one["first"]: one for one in own}
    beaten = [name for name, one in others.items() if one["different"]]
    tied = [name for name, one in others.items() if not one["different"]]
    alpha = found.details["alpha"]
    how = f"paired tests, Holm-corrected at {alpha:g}"
    if not beaten:
        return f"No difference between {leader} and {' or '.join(tied)} is shown ({how})."
    rest = f"; none from {' or '.join(tied)} is shown" if tied else ""
    return f"{leader} is better than {' and '.join(beaten)}{rest} ({how})."


def _of_judge(judge: Mapping[str, Any]) -> list[str]:
    if not judge["n"]:
        return [f"Judge {judge['name']} was asked nothing: all answers to compare are equal, and count as ties."]
    sentences = []
    shares = {key: judge[key] for key in ("ties", "unreadable", "inconsistent", "first shown") if judge.get(key)}
    told = ", ".join(f"{name} {interval_text(share)}" for name, share in shares.items())
    if told:
        sentences.append(f"Judge {judge['name']}: {told}, n = {judge['n']} verdicts.")
    if "calibration" in judge:
        sentences += judge["calibration"]["notes"]
    else:
        sentences.append(f"Judge {judge['name']} was not calibrated on human preferences (--calibration).")
    return sentences
