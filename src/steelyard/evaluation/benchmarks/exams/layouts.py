"""The three exams of ``mcq-exam-benchmark`` as data: where they come from, their subjects, how they are put."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from steelyard.evaluation.benchmarks.letter_questions import Layout
from steelyard.evaluation.task_header import TaskHeader

SUBJECTS_FILE = Path(__file__).with_name("subjects.json")


@dataclass(frozen=True, slots=True)
class Exam:
    """One exam.

    Attributes:
        header: Where its questions come from.
        shots: Solved examples in a prompt, unless the user says otherwise.
        layouts: How a question is put, by the template's name; the first is the default.
        examples_split: The split that examples are taken from, first ones first.
        test_splits: Names under which the questions are found.
        group_columns: Columns that name a question's subfield.
        max_tokens: Longest generated answer, without and with reasoning.
        subjects: Subject -> its title and category.
    """

    header: TaskHeader
    shots: int
    layouts: Mapping[str, Layout]
    examples_split: str
    test_splits: tuple[str, ...]
    group_columns: tuple[str, ...] = ()
    max_tokens: tuple[int, int] = (128, 512)
    subjects: Mapping[str, tuple[str, str]] = field(default_factory=dict)


CHINESE_THINK = "\n讓我們一步一步思考。\n"
HARNESS = Layout(
    head="以下為{subject}的單選題，請提供正確答案的選項。\n\n",
    body="{prompt}",
    choice="\n{letter}. {choice}",
    cue="\nAnswer:",
    answer=" {letter}",
    think=CHINESE_THINK,
    concluded="\nAnswer: ",
    request="\n請只回答正確選項的英文字母。",
    stated="\n請用一行寫「答案：英文字母」，再用一行寫「信心：百分比%」。",
    rule="letter-zh",
)
TMMLU_PAPER = Layout(
    head="以下是關於{subject}考試單選題，請選出正確的答案。\n\n",
    body="問題：{prompt}",
    choice="\n{letter}. {choice}",
    cue="\n答案：",
    answer="{letter}",
    think="\n答案：讓我們一步一步思考，\n",
    concluded="\n所以答案是",
    close="",
    request=HARNESS.request,
    stated=HARNESS.stated,
    rule="letter-zh",
)
TMLU_PAPER = Layout(
    head="以下選擇題為出自臺灣的考題，答案為其中一個選項。\n\n",
    body="問題：{prompt}",
    choice="\n({letter}) {choice}",
    cue="\n正確答案：(",
    answer="{letter}",
    close=")",
    think=CHINESE_THINK,
    concluded="\n正確答案：(",
    request=HARNESS.request,
    stated=HARNESS.stated,
    rule="letter-zh",
)
ASTRONOMY = Layout(
    head="The following are multiple choice questions about astronomy and astrophysics.\n\n",
    body="Question: {prompt}",
    choice="\n{letter}: {choice}",
    cue="\nAnswer:",
    answer=" {letter}",
)


@cache
def exams() -> Mapping[str, Exam]:
    """Every exam by name."""
    listed = json.loads(SUBJECTS_FILE.read_text(encoding="utf-8"))
    subjects = {
        exam: {name: (title, category) for name, (title, category) in table.items()}
        for exam, table in listed.items()
    }
    return {
        "tmmlu-plus": Exam(
            TaskHeader(
                paper="An Improved Traditional Chinese Evaluation Suite for Foundation Model",
                data_set="TMMLU+",
                licence="CC BY-NC",
                metric="accuracy per subject, averaged by category",
                folder="tmmluplus",
                layout="data/SUBJECT_test.csv and data/SUBJECT_train.csv (question, A, B, C, D, answer)",
                hub="ikala/tmmluplus",
            ),
            5,
            {"harness": HARNESS, "paper": TMMLU_PAPER},
            "train",
            ("test",),
            subjects=subjects["tmmlu-plus"],
        ),
        "tmlu": Exam(
            TaskHeader(
                paper="Measuring Taiwanese Mandarin Language Understanding",
                data_set="TMLU",
                licence="not stated in its repository",
                metric="accuracy per subject, averaged by category",
                folder="tmlu",
                layout="SUBJECT_test.jsonl and SUBJECT_dev.jsonl (question, A to F, answer, explanation)",
                hub="miulab/tmlu",
                url="https://github.com/MiuLab/TMLU",
            ),
            5,
            {"paper": TMLU_PAPER, "harness": HARNESS},
            "dev",
            ("test",),
            subjects=subjects["tmlu"],
        ),
        "astromlab-1": Exam(
            TaskHeader(
                paper="AstroMLab 1: Who Wins Astronomy Jeopardy!?",
                data_set="Astrobench MCQ v1",
                licence="as its card says; the answers are withheld from the public release",
                metric="accuracy, and its calibration",
                folder="astromlab",
                layout="test.csv, test.jsonl or train-*.parquet (question, A, B, C, D, answer; subfield if known)",
                hub="AstroMLab/Astrobench_MCQ_v1_Public",
                url="https://astromlab.org/benchmarking.html",
            ),
            0,
            {"paper": ASTRONOMY},
            "dev",
            ("test", "train"),
            group_columns=("subfield", "topic", "category"),
            subjects={"astronomy": ("astronomy", "astronomy")},
        ),
    }
