"""Measure the score matrix that ``bench_budget.py`` replays: SmolLM2-135M-Instruct on PIQA, a grid of systems.

python benchmarks/measure_score_matrix.py --questions 160 --seconds 480

Systems are weights (none, three blocks removed as SLEB chooses them) x prompt style (plain, chat, raw) x
instruction (none, one sentence), and one with two solved examples. What is written, ``score_matrix_piqa.json``,
holds for every system which questions it got right, by the questions' numbers and without their text. A system
that the time does not allow is left out whole; called again, the script goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from pathlib import Path

from requests_from_data import DATA, records

from steelyard.compression.apply import apply_parts
from steelyard.contracts import PromptStyle
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.task_files import load_task
from steelyard.systems.loading import load
from steelyard.tuning.candidates import Candidate, grid, parse_weights

FILE = Path(__file__).with_name("score_matrix_piqa.json")
WEIGHTS = ("none", "sleb:blocks=[3,4,5]")
INSTRUCTION = "Choose the way that works better."
EXAMPLES = 16  # rows kept apart, from which solved examples are drawn


def main() -> None:
    """Measure system by system, and write what there is after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--data", type=Path, default=DATA)
    chosen = parser.parse_args()
    task = piqa(chosen.data, chosen.questions)
    weights = [parse_weights(text) for text in WEIGHTS]
    styles = [
        PromptStyle(style, instruction=text) for text in ("", INSTRUCTION) for style in ("plain", "chat", "raw")
    ]
    candidates = grid(["smollm2-135m"], weights, styles)
    candidates += grid(["smollm2-135m"], weights[:1], [PromptStyle("plain", shots=2)])
    texts = [str(row["question"]) for row in records(chosen.data, "piqa/test.jsonl")[-400:]]
    candidates.sort(key=lambda candidate: -len(candidate.variant.weights))  # those that differ most first
    began, rows = time.monotonic(), known(task)
    models = {"": load("smollm2-135m")}
    for candidate in candidates:
        label = candidate.label + (", instructed" if candidate.style.instruction else "")
        if label in rows:
            continue
        key = candidate.variant.key if candidate.variant.weights else ""
        if key not in models:
            models[key] = apply_parts(models[""], candidate.variant.weights, texts)
        rows[label] = marks(task, models[key], candidate)
        print(f"{time.monotonic() - began:.0f} s: {label}", flush=True)
        FILE.write_text(json.dumps(record(task, rows), indent=1) + "\n", encoding="utf-8")
        if time.monotonic() - began > chosen.seconds:
            break


def known(task: QuestionTask) -> dict[str, str]:
    """What an earlier call measured on the same questions."""
    if not FILE.is_file():
        return {}
    past = json.loads(FILE.read_text(encoding="utf-8"))
    same = past["questions"] == [sample.id for sample in task.samples()]
    return dict(past["systems"]) if same else {}


def piqa(data: Path, count: int) -> QuestionTask:
    """The first ``count`` questions, and the rows after them as the source of solved examples."""
    rows = records(data, "piqa/test.jsonl")[: count + EXAMPLES]
    folder = Path(tempfile.mkdtemp())
    with (folder / "piqa.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            line = {"id": row["id"], "prompt": row["question"], "choices": row["choices"], "answer": row["label"]}
            file.write(json.dumps(line | ({"split": "train"} if number >= count else {})) + "\n")
    return load_task(folder / "piqa.jsonl", metric="accuracy_norm")


def marks(task: QuestionTask, model: object, candidate: Candidate) -> str:
    """1 where the question was answered rightly, 0 where not, in the order of the questions."""
    done = evaluate(model, task, style=candidate.style)  # type: ignore[arg-type]
    return "".join(str(int(result.marks.values[task.metric])) for result in done.results)


def record(task: QuestionTask, rows: dict[str, str]) -> dict[str, object]:
    """What is written."""
    return {
        "model": "SmolLM2-135M-Instruct",
        "data": "PIQA, the first questions of the file piqa/test.jsonl",
        "metric": "accuracy_norm (log-probability by length of the answer)",
        "date": datetime.date.today().isoformat(),
        "questions": [sample.id for sample in task.samples()],
        "systems": rows,
    }


if __name__ == "__main__":
    main()
