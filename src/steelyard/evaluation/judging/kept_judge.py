"""A judge whose verdicts are kept: a killed run goes on where it stopped, and nothing is judged twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

from steelyard.contracts import Answers, Judge, Marks, ModelCard, Progress, Result, ResultKey, Verdict
from steelyard.evaluation.evaluate import ResultStore

CHUNK = 32
"""Pairs judged, and then kept, at a time."""


@dataclass(frozen=True)
class KeptJudge:
    """``judge`` with its verdicts kept in ``store``, under its fingerprint and the content of what was judged."""

    judge: Judge
    store: ResultStore
    progress: Progress | None = None
    chunk: int = CHUNK

    @property
    def card(self) -> ModelCard:
        """The judge's own: where verdicts are kept changes none."""
        return self.judge.card

    def compare(self, pairs: Sequence[Answers]) -> list[Verdict]:
        """The judge's verdicts; only those not kept yet are asked for, ``chunk`` pairs to a transaction."""
        return self._kept("compare", self.judge.compare, pairs)

    def grade(self, answers: Sequence[Answers]) -> list[Verdict]:
        """The same for single answers."""
        return self._kept("grade", self.judge.grade, answers)

    def _kept(
        self,
        verb: Literal["compare", "grade"],
        judged: Callable[[Sequence[Answers]], list[Verdict]],
        asked: Sequence[Answers],
    ) -> list[Verdict]:
        key = ResultKey(self.card.fingerprint, "verdicts/1", verb)
        ids = [content_id(answers) for answers in asked]
        found = {i: verdict_of(result) for i, result in self.store.get(key, list(dict.fromkeys(ids))).items()}
        missing = {i: answers for i, answers in zip(ids, asked, strict=True) if i not in found}
        label = f"judge {self.card.name}"
        if self.progress is not None:
            self.progress.start(label, len(set(ids)), len(set(ids)) - len(missing))
        waiting = list(missing.items())
        for start in range(0, len(waiting), self.chunk):
            batch = waiting[start : start + self.chunk]
            verdicts = judged([answers for _, answers in batch])
            new = {i: verdict for (i, _), verdict in zip(batch, verdicts, strict=True)}
            self.store.put(key, [result_of(i, missing[i], verdict) for i, verdict in new.items()])
            found |= new
            if self.progress is not None:
                self.progress.advance(label, len(batch))
        return [found[i] for i in ids]


def content_id(answers: Answers) -> str:
    """A name for what is judged: equal for equal prompt, answers and reference."""
    return hashlib.sha256(json.dumps(astuple(answers)).encode()).hexdigest()[:32]


def result_of(sample_id: str, answers: Answers, verdict: Verdict) -> Result:
    """A verdict as a result that the run store keeps."""
    values = {"readable": 0.0} if verdict.value is None else {"readable": 1.0, "value": verdict.value}
    request = {
        "kind": "judge",
        **dict(zip(("prompt", "first", "second", "reference"), astuple(answers), strict=True)),
    }
    response: dict[str, Any] = {"kind": "verdict", "orders": list(verdict.orders), "words": list(verdict.words)}
    return Result(sample_id, Marks(values), requests=(request,), responses=(response,))


def verdict_of(result: Result) -> Verdict:
    """The verdict that :func:`result_of` kept."""
    response = result.responses[0]
    return Verdict(result.marks.values.get("value"), tuple(response["orders"]), tuple(response["words"]))
