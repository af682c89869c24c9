"""Pairs of answers with human preferences: the official layouts of PandaLM and LLMBar, and the project's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import Answers
from steelyard.errors import InputError


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair with what people say: 1 the first answer is better, 0 the second, 0.5 neither.

    ``votes`` are the single annotators' where there are several.
    """

    id: str
    pair: Answers
    label: float
    votes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """A calibration set: its name, the pairs, and how many were left out because annotators all disagreed."""

    name: str
    pairs: tuple[LabelledPair, ...]
    without_majority: int = 0


def pandalm(path: Path) -> LabelledPairs:
    """PandaLM's human-annotated test set: three annotators each say 0 (tie), 1 or 2; the majority counts.

    Where all three differ there is no majority and the pair is left out, counted.

    Source: PandaLM: An Automatic Evaluation Benchmark for LLM Instruction Tuning Optimization (2023), the
        file ``data/testset-v1.json`` of its repository.
    """
    values = {0: 0.5, 1: 1.0, 2: 0.0}
    pairs, undecided = [], 0
    for number, row in enumerate(_rows(path)):
        with _reading(path, number):
            votes = tuple(values[row[f"annotator{i}"]] for i in (1, 2, 3))
            label, count = Counter(votes).most_common(1)[0]
            if count < 2:
                undecided += 1
                continue
            prompt = "\n\n".join(filter(None, [row["instruction"], row["input"]]))
            pair = Answers(prompt, row["response1"], row["response2"])
            pairs.append(LabelledPair(f"{row['idx']}-{row['cmp_key']}", pair, label, votes))
    return LabelledPairs("PandaLM", tuple(pairs), undecided)


def llmbar(path: Path) -> LabelledPairs:
    """LLMBar: instruction following where one of two answers is objectively better (label 1 or 2), never a tie.

    Source: Evaluating Large Language Models at Evaluating Instruction Following (2023), its repository,
        ``Dataset/LLMBar/*/dataset.json``.
    """
    values = {1: 1.0, 2: 0.0}
    pairs = []
    for number, row in enumerate(_rows(path)):
        with _reading(path, number):
            pair = Answers(row["input"], row["output_1"], row["output_2"])
            pairs.append(LabelledPair(f"{path.stem}-{number}", pair, values[row["label"]]))
    return LabelledPairs(f"LLMBar {path.stem}", tuple(pairs))


LAYOUTS: Mapping[str, Callable[[Path], LabelledPairs]] = {"pandalm": pandalm, "llmbar": llmbar}


def labelled_pairs(path: Path) -> LabelledPairs:
    """A calibration set in whichever known layout its first record has.

    Raises:
        InputError: the file cannot be read, or is in neither layout.
    """
    first = _rows(path)[0]
    for key, layout in (("annotator1", pandalm), ("output_1", llmbar)):
        if isinstance(first, dict) and key in first:
            return layout(path)
    raise InputError(f"{path}: is in the layout neither of PandaLM nor of LLMBar; use one of these")


def _rows(path: Path) -> Sequence[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({str(error).splitlines()[0]}); use the official file") from error
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: is not a list of records; use the official file")
    return rows


class _reading:
    """Turns whatever a malformed record raises into one line that names it."""

    def __init__(self, path: Path, number: int) -> None:
        self.place = f"{path}: record {number}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | AttributeError):
            raise InputError(f"{self.place}: lacks or misstates {error}; use the official file") from error
