"""What an evidence check writes: claims with measured figures, and a verdict that follows from them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import Interval
from steelyard.evaluation.statistics import interval_record
from steelyard.runs.environment import environment

FOLDER = Path(__file__).resolve().parents[1] / "evidence"


class Claim(NamedTuple):
    """One claim of a part's source: what was claimed, what was measured, whether it holds."""

    what: str
    measured: Mapping[str, Interval | float | int | str]
    holds: bool


def write_evidence(part: str, claims: Sequence[Claim], **facts: Any) -> Path:
    """Write ``evidence/<part>.json``: "shown" where every claim holds, otherwise "null result".

    ``facts`` say the rest, JSON-ready: data, model, seeds, seconds.
    """
    record = {
        "part": part,
        "verdict": "shown" if all(claim.holds for claim in claims) else "null result",
        "date": datetime.date.today().isoformat(),
        "claims": [
            {
                "what": claim.what,
                "holds": bool(claim.holds),
                "measured": {
                    name: interval_record(value) if isinstance(value, Interval) else value
                    for name, value in claim.measured.items()
                },
            }
            for claim in claims
        ],
        **facts,
        "environment": environment(),
    }
    file = FOLDER / f"{part}.json"
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file
