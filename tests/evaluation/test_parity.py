"""Numbers of ``evaluate`` against a short, independent computation with transformers.

Prompts are written out here, not taken from the code under test.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import PromptStyle
from steelyard.evaluation.evaluate import evaluate

pytestmark = pytest.mark.real_model

QUESTIONS: list[tuple[str, list[str], int]] = [
    ("What colour is fresh grass?", ["green", "purple", "silver", "pink"], 0),
    ("Which animal barks?", ["a trout", "a dog", "a spider", "a swan"], 1),
    ("What do bees make?", ["cheese", "paper boats", "honey", "candles of steel"], 2),
    ("Where do fish live?", ["in trees", "in ovens", "in clouds", "in water"], 3),
    ("Which season is the coldest in Norway?", ["winter", "summer", "spring", "early autumn"], 0),
    ("What falls from clouds when it rains?", ["sand", "water", "glass", "bread"], 1),
    ("Which tool drives a nail?", ["a spoon", "a mirror", "a hammer", "a pillow"], 2),
    ("What is the opposite of hot?", ["loud", "tall", "square", "cold"], 3),
    ("Which of these is a fruit?", ["an apple", "a brick", "a shoe", "a lamp"], 0),
    ("What does a clock show?", ["the weather", "the time", "the price of tea", "a dream"], 1),
    ("How many legs does a cat have?", ["two", "seven", "four", "nine"], 2),
    ("What do we use to see?", ["knees", "elbows", "hair", "eyes"], 3),
]
WORDS = [
    ("What is the capital of France? Reply with the name only.", "Paris"),
    ("What is 2 plus 2? Reply with the number only.", "4"),
    ("Which planet do we live on? Reply with the name only.", "Earth"),
    ("What is the first letter of the alphabet? Reply with the letter only.", "A"),
    ("What is the chemical symbol of water? Reply with the symbol only.", "H2O"),
    ("Which colour do you get from blue and yellow? Reply with one word.", "Green"),
]


def logprobs(model: Any, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    """Sum of log P(continuation | context) for each pair, from one forward pass padded on the right."""
    import torch

    longest = max(len(context) + len(continuation) for context, continuation in pairs)
    padded = [(context + continuation + [0] * longest)[:longest] for context, continuation in pairs]
    with torch.inference_mode():
        table = torch.log_softmax(model.module(torch.tensor(padded)).logits.float(), dim=-1)
    return [
        sum(float(table[row, len(context) - 1 + i, token]) for i, token in enumerate(continuation))
        for row, (context, continuation) in enumerate(pairs)
    ]


def ids(model: Any, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def right(model: Any, context: str, choices: list[str], answer: int) -> tuple[bool, bool]:
    """Whether the right choice wins, by log-likelihood and per character."""
    start = len(ids(model, context))
    whole = [ids(model, f"{context} {choice}") for choice in choices]
    found = logprobs(model, [(tokens[:start], tokens[start:]) for tokens in whole])
    best = max(range(len(choices)), key=lambda i: found[i])
    best_norm = max(range(len(choices)), key=lambda i: found[i] / len(choices[i]))
    return best == answer, best_norm == answer


def choice_rows(rows: list[tuple[str, list[str], int]]) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "prompt": q, "choices": c, "answer": a} for i, (q, c, a) in enumerate(rows)]


def test_choices_without_examples(smollm2: Any, make_task: Any) -> None:
    outcome = evaluate(smollm2, make_task(choice_rows(QUESTIONS)), chunk=5)
    expected = [right(smollm2, f"Question: {q}\nAnswer:", c, a) for q, c, a in QUESTIONS]
    assert [r.marks.values["accuracy"] for r in outcome.results] == [e[0] for e in expected]
    assert [r.marks.values["accuracy_norm"] for r in outcome.results] == [e[1] for e in expected]
    assert outcome.summary["accuracy"].value == pytest.approx(sum(e[0] for e in expected) / len(expected))


def test_choices_with_two_examples(smollm2: Any, make_task: Any) -> None:
    train = [row | {"split": "train"} for row in choice_rows(QUESTIONS)[:2]]
    task = make_task(train + choice_rows(QUESTIONS)[2:8])
    outcome = evaluate(smollm2, task, style=PromptStyle(shots=2))
    first, second = (example.id for example in outcome.style.examples)
    shown = {f"q{i}": f"Question: {q}\nAnswer: {c[a]}\n\n" for i, (q, c, a) in enumerate(QUESTIONS[:2])}
    head = shown[first] + shown[second]
    expected = [right(smollm2, f"{head}Question: {q}\nAnswer:", c, a)[0] for q, c, a in QUESTIONS[2:8]]
    assert [r.marks.values["accuracy"] for r in outcome.results] == expected


def test_arc_challenge(smollm2: Any, make_task: Any, data: Path) -> None:
    lines = (data / "arc_challenge" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    rows = [(r["question"], r["choices"], r["label"]) for r in map(json.loads, lines)]
    outcome = evaluate(smollm2, make_task(choice_rows(rows)))
    expected = [right(smollm2, f"Question: {q}\nAnswer:", c, a)[0] for q, c, a in rows]
    assert [r.marks.values["accuracy"] for r in outcome.results] == expected


def bits_and_bytes(model: Any, text: str) -> tuple[float, int]:
    tokens = ids(model, text)
    start = model.tokenizer.bos_token_id
    return -logprobs(model, [([start], tokens)])[0] / math.log(2), len(text.encode("utf-8"))


def test_bits_per_byte(smollm2: Any, make_task: Any) -> None:
    texts = [f"{q} The answer is {c[a]}." for q, c, a in QUESTIONS[:6]] + ["Ça fait déjà longtemps."]
    outcome = evaluate(smollm2, make_task([{"text": text} for text in texts]))
    counted = [bits_and_bytes(smollm2, text) for text in texts]
    expected = sum(bits for bits, _ in counted) / sum(size for _, size in counted)
    assert outcome.summary["bits_per_byte"].value == pytest.approx(expected, rel=1e-4)
    assert outcome.summary["byte_perplexity"].value == pytest.approx(2**expected, rel=1e-4)


def test_bits_per_byte_of_wikitext(smollm2: Any, make_task: Any, data: Path) -> None:
    lines = (data / "wikitext2" / "valid.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if len(line) > 200][:4]
    outcome = evaluate(smollm2, make_task([{"text": text} for text in texts]))
    counted = [bits_and_bytes(smollm2, text) for text in texts]
    expected = sum(bits for bits, _ in counted) / sum(size for _, size in counted)
    assert outcome.summary["bits_per_byte"].value == pytest.approx(expected, rel=1e-4)


def test_chat_answers(smollm2: Any, make_task: Any) -> None:
    import torch

    rows = [{"prompt": question, "answers": [answer]} for question, answer in WORDS]
    outcome = evaluate(smollm2, make_task(rows, max_tokens=8), style=PromptStyle("chat"))
    for (question, answer), result in zip(WORDS, outcome.results, strict=True):
        text = smollm2.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        tokens = torch.tensor([ids(smollm2, text)])
        made = smollm2.module.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=8, do_sample=False
        )
        output = smollm2.tokenizer.decode(made[0, tokens.shape[1] :], skip_special_tokens=True)
        said = (output.strip().splitlines() or [""])[0].strip().rstrip(".").strip('"').lower()
        assert result.marks.values["exact_match"] == float(said == answer.lower()), (output, result.marks)
    assert 0 <= outcome.summary["accuracy"].value <= 1
