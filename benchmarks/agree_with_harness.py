"""Accuracies of Steelyard and lm-evaluation-harness, sample by sample, on the same model and requests.

    python benchmarks/agree_with_harness.py --questions 60

A choice is the one of highest log-likelihood (accuracy) or of highest log-likelihood per character (normalised,
as the harness's acc_norm); an answer to a sum is the last number of what is generated. Samples on which the two
differ are listed with the margin between the two best choices.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bench_score import answers, harness
from requests_from_data import DATA, questions, records
from tables import section

from steelyard.contracts import Continuation, Sampling
from steelyard.models.loading import load_model

FORMS = ("arc cloze", "arc letters, 5 shots", "stem completion", "piqa", "boolq")


def best(question: Sequence[Continuation], values: Sequence[float], *, normalised: bool) -> int:
    """The choice of highest value."""
    lengths = [len(request.text.strip()) if normalised else 1 for request in question]
    return max(range(len(question)), key=lambda i: values[i] / lengths[i])


def choices(form: str, model: Any, data: Path, count: int) -> list[str]:
    """Rows of the table for one form, and a line for each difference."""
    asked = questions(form, data, count)
    flat = [request for question in asked for request in question]
    mine = [score.logprob for score in model.score(flat)]
    theirs = answers(harness(model, 8), flat)
    lines, at, differing = [], 0, {False: 0, True: 0}
    for number, question in enumerate(asked):
        ours, other = mine[at : at + len(question)], theirs[at : at + len(question)]
        at += len(question)
        for normalised in (False, True):
            if best(question, ours, normalised=normalised) != best(question, other, normalised=normalised):
                differing[normalised] += 1
                first, second = sorted(other, reverse=True)[:2]
                lines.append(f"- {form}, question {number}: margin {first - second:.1e}")
    worst = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    row = f"| {form} | {len(asked)} | {differing[False]} | {differing[True]} | {worst:.1e} |"
    return [row, *lines]


def sums(model: Any, data: Path, count: int) -> str:
    """The row of generated answers: texts and the numbers they end in."""
    from lm_eval.api.instance import Instance

    rows = records(data, "gsm8k/test_even.jsonl")[:count]
    prompts = [f"Question: {row['question']}\nAnswer:" for row in rows]
    until = {"until": ["\n\n", "Question:"], "max_gen_toks": 48, "do_sample": False}
    asked = [Instance("generate_until", {}, (prompt, until), i) for i, prompt in enumerate(prompts)]
    theirs = harness(model, 8).generate_until(asked, disable_tqdm=True)
    sampling = Sampling(max_tokens=48, stop=("\n\n", "Question:"))
    mine = [answer.text for answer in model.generate(prompts, sampling)]
    texts = sum(a != b for a, b in zip(mine, theirs, strict=True))
    numbers = sum(last_number(a) != last_number(b) for a, b in zip(mine, theirs, strict=True))
    return f"| gsm8k, generated | {len(rows)} | {numbers} | ({texts} texts) | |"


def last_number(text: str) -> str:
    """The last number of a text, without thousands separators."""
    return (re.findall(r"-?\d[\d,]*\.?\d*", text) or [""])[-1].replace(",", "").rstrip(".")


def main() -> None:
    """Print one row a form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the public data sets")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    model = load_model("smollm2-135m")
    with section("agree_with_harness", write=chosen.write):
        print(
            "| form | samples | accuracy differs | normalised differs | largest difference of a log-likelihood |"
        )
        print("| --- | --- | --- | --- | --- |")
        listed: list[str] = []
        for form in FORMS:
            row, *lines = choices(form, model, chosen.data, chosen.questions)
            print(row, flush=True)
            listed += lines
        print(sums(model, chosen.data, chosen.questions // 4))
        print("\n" + "\n".join(listed or ["No sample differs."]))


if __name__ == "__main__":
    main()
