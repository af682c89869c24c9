"""pfgen-bench: open-ended answers scored by the n-grams of many reference answers, without a judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from steelyard.contracts import (
    Ask,
    Interval,
    Marks,
    Message,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
)
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.open_ended.keyword_rules import check_rules, helpfulness
from steelyard.evaluation.benchmarks.open_ended.ngram_distribution import LONGEST, NgramDistribution
from steelyard.evaluation.responses import checked_text
from steelyard.evaluation.statistics import mean_interval
from steelyard.evaluation.task_header import TaskHeader, records_of, required_folder
from steelyard.parts import part

Mode = Literal["auto", "completion", "qa", "chat"]

HEADER = TaskHeader(
    paper="A Judge-free LLM Open-ended Generation Benchmark Based on the Distributional Hypothesis",
    data_set="pfgen-bench",
    licence="Apache-2.0",
    metric="mean of fluency, truthfulness and helpfulness",
    folder="pfgen_bench",
    layout="Q*.json and questions.jsonl",
    url="https://github.com/pfnet-research/pfgen-bench (its folder data)",
)
RULES = "judge-free-ngram-benchmark/1"
INSTRUCTION = "回答例にならい、同じくらいの長さと文体で、1行で質問に答えてください。"
EXAMPLES = "## 回答例"
QUESTION = "## 質問"


@dataclass(frozen=True)
class AnswerScorer:
    """Scores answers to one question.

    Attributes:
        distributions: One for each set of references, whose scores are averaged.
        rules: The question's keyword rules.
    """

    distributions: tuple[NgramDistribution, ...]
    rules: tuple[Mapping[str, Any], ...]

    def score(self, answer: str) -> dict[str, float]:
        """Fluency, truthfulness, helpfulness and their mean, rounded as the reference implementation rounds."""
        sets = len(self.distributions)
        fluency = sum(round(one.fluency(answer).score / sets, 6) for one in self.distributions)
        truth = sum(round(one.truthfulness(answer) / sets, 6) for one in self.distributions)
        helpful = round(helpfulness(answer[:LONGEST], self.rules), 5)
        mean = round((fluency + truth + helpful) / 3, 5)
        return {"score": mean, "fluency": fluency, "truthfulness": truth, "helpfulness": helpful}


@part(papers=[70], kind="task")
def judge_free_ngram_benchmark(
    *,
    data: str | None = None,
    mode: Mode = "auto",
    shots: NonNegativeInt = 20,
    trials: PositiveInt = 1,
    temperature: float = 1.0,
    top_p: float = 0.98,
    seed: str = "",
) -> BenchmarkTask:
    """Open-ended answers compared with the n-grams of many reference answers (Japanese, no judge).

    For every question there are many references R (1,000 in the official data). With df(g) the number of
    references that have the character n-gram g, d(n) = 1 - max(n - 100, 0) / 50 the discount of a prefix of n
    characters and answers cut at 200 characters:

        fluency       max over n of d(n) * sum of df over the distinct n-grams (1 to 10) of the first n characters,
                      over the references' own mean of the same, so that their mean is 1
        truthfulness  mean over characters of min(1, 200 max df(3-grams covering it) / |R|), with the same discount
        helpfulness   max over n of d(n) * product of (1 - importance) over the keyword rules not met by then
        score         mean of the three

    The prompt shows ``shots`` other questions with model answers, in an order drawn by SHA-1 of seed, trial and
    question, then asks; answers are sampled. Every question is one sample whose marks are the means over
    ``trials``. Scores can exceed 1.

    Args:
        data: Folder in the official layout: ``Q*.json`` (question_id, question, keywords, answers: set name to
            texts) and ``questions.jsonl`` (question, answer: the model answers shown as examples).
        mode: ``completion`` continues text, ``qa`` asks in one user message, ``chat`` puts the examples into the
            system message; ``auto`` is ``chat`` where the prompt style is chat, otherwise ``completion``.
        shots: Examples shown.
        trials: Answers sampled for each question.
        temperature: Of sampling.
        top_p: Of sampling.
        seed: Word that varies the order of examples and the samples.

    Source:
        "A Judge-free LLM Open-ended Generation Benchmark Based on the Distributional Hypothesis", section 3, and
        its published scorer for what the paper leaves open (cut at 200 characters, best prefix, rounding). The
        instruction of the modes ``qa`` and ``chat`` is worded anew; a style's ``instruction`` replaces it.

    Relations:
        ``lmentry`` also scores free text by rules; the judges of :mod:`steelyard.evaluation.judging` ask a model
        where no references are known.

    Example:
        >>> from steelyard.evaluation.benchmarks.open_ended.ngram_distribution import NgramDistribution
        >>> made = NgramDistribution.of(["空は青い。", "空はとても青い。"])
        >>> round(sum(made.fluency(text).score for text in ["空は青い。", "空はとても青い。"]) / 2, 9)
        1.0
    """
    folder = required_folder(HEADER, data)
    questions = [_question(file) for file in sorted(folder.glob("Q*.json"))]
    if not questions:
        raise InputError(f"{folder}: no Q*.json; the folder must hold {HEADER.layout}")
    examples = _examples(folder / "questions.jsonl")
    settings = {"mode": mode, "shots": shots, "trials": trials, "temperature": temperature, "top_p": top_p}
    ask = _asker(examples, mode=mode, shots=shots, trials=trials, seed=seed, sampling=(temperature, top_p))
    return BenchmarkTask(
        "judge-free-ngram-benchmark",
        tuple(_row(question) for question in questions),
        ask=ask,
        mark=_marker({question["question_id"]: question for question in questions}),
        metric="score",
        rules=RULES,
        header=HEADER,
        settings={**settings, "seed": seed, "examples": [list(example) for example in examples]},
        summary=summarise,
    )


def many_shot(
    examples: Sequence[tuple[str, str]], question: str, trial: int, shots: int = 20, seed: str = ""
) -> str:
    """``shots`` questions other than ``question`` with their answers, ordered by SHA-1 of seed, trial and text."""
    others = [example for example in examples if example[0] != question]
    others.sort(key=lambda example: hashlib.sha1(f"{seed}::{trial}::{example[0]}".encode()).hexdigest())
    return "\n\n".join(f"Q: {asked}\nA: {answer}" for asked, answer in others[:shots])


def trial_seed(trial: int, seed: str = "") -> int:
    """The sampling seed of a trial, as the reference implementation derives it."""
    return int(hashlib.sha1(f"{seed}::{trial}".encode()).hexdigest(), 16) % 2**31


def summarise(marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
    """Means over questions with bootstrap intervals; they may exceed 1."""
    return {
        name: mean_interval([mark.values[name] for mark in marks], weights, bounds=(0.0, float("inf")))
        for name in marks[0].values
    }


def _asker(
    examples: Sequence[tuple[str, str]],
    *,
    mode: Mode,
    shots: int,
    trials: int,
    seed: str,
    sampling: tuple[float, float],
) -> Callable[[Sample, PromptStyle], list[Request]]:
    temperature, top_p = sampling

    def ask(sample: Sample, style: PromptStyle) -> list[Request]:
        chosen = mode if mode != "auto" else "chat" if style.style == "chat" else "completion"
        if style.instruction and chosen == "completion":
            raise UsageError("judge-free-ngram-benchmark: the mode completion has no instruction; use qa or chat")
        question = sample.data["question"]
        stop = ("Q:", "\n\n") if chosen == "completion" else ("Q:",)
        requests: list[Request] = []
        for trial in range(1, trials + 1):
            shown = f"{EXAMPLES}\n{many_shot(examples, question, trial, shots, seed)}".strip()
            how = Sampling(300, temperature, top_p, stop=stop, seed=trial_seed(trial, seed))
            told = f"{style.instruction or INSTRUCTION}\n\n{shown}"
            if chosen == "completion":
                requests.append(Ask(f"{shown}\n\nQ: {question}\nA:", how))
            elif chosen == "qa":
                requests.append(Ask([Message("user", f"{told}\n\n{QUESTION}\nQ: {question}")], how))
            else:
                requests.append(Ask([Message("system", told), Message("user", f"Q: {question}")], how))
        return requests

    return ask


def _marker(questions: Mapping[str, Mapping[str, Any]]) -> Callable[[Sample, Sequence[Response]], Marks]:
    @lru_cache(maxsize=2)  # a distribution of 1,000 references takes some 100 MB: samples come in order
    def scorer(question_id: str) -> AnswerScorer:
        question = questions[question_id]
        sets = question["answers"].values()
        return AnswerScorer(tuple(NgramDistribution.of(texts) for texts in sets), tuple(question["keywords"]))

    def mark(sample: Sample, responses: Sequence[Response]) -> Marks:
        answers = [clean_answer(checked_text(response, sample)) for response in responses]
        scores = [scorer(sample.id).score(answer) for answer in answers]
        values = {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
        values["length"] = sum(map(len, answers)) / len(answers)
        return Marks(values, prediction=answers[0])

    return mark


def clean_answer(output: str) -> str:
    """The answer in an output: what follows "A:" where a model repeats that mark, without outer white space."""
    return output.split("A:", 1)[-1].strip()


def _question(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not a JSON file: {error}") from None
    for name, kind in {"question_id": str, "question": str, "answers": dict, "keywords": list}.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise InputError(f"{file}: '{name}' is missing or not a {kind.__name__}; see {HEADER.url}")
    sets = found["answers"]
    if not sets or not all(texts and all(isinstance(text, str) for text in texts) for texts in sets.values()):
        raise InputError(f"{file}: 'answers' must hold lists of reference texts")
    if not all(any(text.strip() for text in texts) for texts in sets.values()):
        raise InputError(f"{file}: the reference texts are empty")
    if found["keywords"]:
        check_rules(found["keywords"], str(file))
    return found


def _row(question: Mapping[str, Any]) -> Sample:
    content = json.dumps([question["answers"], question["keywords"]], sort_keys=True, ensure_ascii=False)
    first = next(iter(question["answers"].values()))[0]
    return Sample(
        question["question_id"],
        {
            "prompt": question["question"],
            "question": question["question"],
            "reference": first,
            "references": hashlib.sha256(content.encode()).hexdigest(),
        },
        group=str(question.get("category", "")),
    )


def _examples(file: Path) -> list[tuple[str, str]]:
    if not file.exists():
        raise InputError(f"{file}: no such file; the folder must hold {HEADER.layout}")
    found = []
    for place, record in records_of(file):
        if not isinstance(record.get("question"), str) or not isinstance(record.get("answer"), str):
            raise InputError(f"{place}: an example needs 'question' and 'answer'")
        found.append((record["question"], record["answer"]))
    return found
