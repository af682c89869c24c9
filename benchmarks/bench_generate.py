"""Generating: Steelyard in float32 and int8 against transformers' generate and llama.cpp, batched and one by one.

python benchmarks/bench_generate.py --data ../shared/data

Prompts are questions of GSM8K and paragraphs of XQuAD in turn, as they come, so lengths differ several times
over. All sides get the same tokens and write the same number of new ones, greedily. No answer ends early: end
tokens are taken out of Steelyard's engine and of the generation configuration that transformers reads; llama.cpp
is driven by its batch interface, which knows no end. transformers gets the prompts sorted by length, padded on
the left, in batches of the best size. All sides take turns within one process; a ratio is taken within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
from tables import section
from timing import seconds

from steelyard.compression.apply import apply_parts
from steelyard.contracts import Sampling
from steelyard.models.loading import load_model
from steelyard.models.recorded_step import STEPS_BEFORE

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "transformers float32"
WARMING = 8
"""Prompts that every side answers before the first turn that counts."""
Sides: TypeAlias = dict[str, Callable[[Sequence[str]], list[str]]]


def natural_prompts(folder: Path, count: int) -> list[str]:
    """Questions and paragraphs in turn; says which file is missing."""
    questions_file, paragraphs_file = folder / "gsm8k/test_even.jsonl", folder / "xquad/xquad.en.json"
    for file in (questions_file, paragraphs_file):
        if not file.is_file():
            raise SystemExit(f"{file}: not there; name the folder that holds gsm8k and xquad with --data")
    lines = questions_file.read_text(encoding="utf-8").splitlines()
    questions = [f"Question: {json.loads(line)['question']}\nAnswer:" for line in lines[:count]]
    articles = json.loads(paragraphs_file.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph["context"] for article in articles for paragraph in article["paragraphs"][:2]]
    mixed = [text for pair in zip(questions, paragraphs, strict=False) for text in pair]
    if len(mixed) < count:
        raise SystemExit(f"{folder}: holds only {len(mixed)} prompts, not {count}")
    return mixed[:count]


def steelyard(model: Any, prompts: Sequence[str], new: int) -> list[str]:
    """The answers, none of which ends before ``new`` tokens."""
    vars(model.engine)["end_tokens"] = frozenset()
    answers = model.generate(prompts, Sampling(max_tokens=new))
    assert all(answer.usage.completion_tokens == new for answer in answers)
    return [answer.text for answer in answers]


def transformers(module: Any, tokenizer: Any, prompts: Sequence[str], new: int, batch: int) -> list[str]:
    """The same from ``generate``, in batches of neighbours in length."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(prompts)), key=lambda i: len(tokenizer(prompts[i]).input_ids))
    found = [""] * len(prompts)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = module.generate(**inputs, max_new_tokens=new, do_sample=False)
        written = output[:, inputs.input_ids.shape[1] :]
        assert written.shape[1] == new
        for row, text in zip(rows, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
            found[row] = text
    return found


def llama_cpp_models(folder: Path) -> dict[str, Any]:
    """llama.cpp in 8 bits and in the 4 bits it comes in; nothing where llama-cpp-python is not installed."""
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        print("llama-cpp-python is not installed: llama.cpp is left out\n")
        return {}
    from bench_load import fetched_gguf
    from llama_cpp_peer import LlamaCpp, quiet, requantized

    silence = quiet()
    small = fetched_gguf(folder)
    loaded = {
        "llama.cpp Q8_0": LlamaCpp(requantized(small, folder / "q8.gguf", 7), torch.get_num_threads()),
        "llama.cpp Q4_1": LlamaCpp(small, torch.get_num_threads()),
    }
    del silence  # each model keeps one of its own
    return loaded


def llama_cpp(peer: Any, tokenizer: Any, prompts: Sequence[str], new: int) -> list[str]:
    """The same from llama.cpp, all prompts in parallel."""
    written = peer.generate([tokenizer(prompt).input_ids for prompt in prompts], new)
    return [tokenizer.decode(answer) for answer in written]


def best_batch(module: Any, tokenizer: Any, prompts: Sequence[str], new: int, sizes: Sequence[int]) -> int:
    """The batch size with which transformers is fastest here."""
    if len(sizes) == 1:
        return sizes[0]
    taken = {size: seconds(partial(transformers, module, tokenizer, prompts, new, size)) for size in sizes}
    print(
        "transformers by batch size, seconds: " + ", ".join(f"{k}: {v:.1f}" for k, v in taken.items()), flush=True
    )
    return min(taken, key=taken.__getitem__)


def table(title: str, sides: Sides, prompts: Sequence[str], rounds: int, new: int) -> dict[str, list[str]]:
    """Let all sides take turns, print a Markdown table of medians and of ratios over transformers; the answers."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[str]] = {}
    for work in sides.values():
        work(prompts[:WARMING])
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(lambda name=name, work=work: answers.update({name: work(prompts)})))
    tokens = new * len(prompts)
    print(
        f"\n### {title}\n\n| system | tokens/s | over transformers | from | to |\n| --- | --- | --- | --- | --- |"
    )
    for name, own in times.items():
        ratios = [base / mine for base, mine in zip(times[BASELINE], own, strict=True)]
        rate = tokens / statistics.median(own)
        print(f"| {name} | {rate:.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")
    for ours, theirs in (("steelyard int8", "llama.cpp Q8_0"), ("steelyard int8", "llama.cpp Q4_1")):
        if theirs in times and ours in times:
            ratios = [b / a for a, b in zip(times[ours], times[theirs], strict=True)]
            spread = f"from {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"\n{ours} over {theirs}: {statistics.median(ratios):.2f} ({spread})")
    return answers


def main() -> None:
    """Sixty-four prompts together, then one alone."""
    arguments = parsed()
    with section("bench_generate", write=arguments.write):
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Print both tables."""
    prompts = natural_prompts(arguments.data, arguments.prompts)
    model: Any = load_model("smollm2-135m")
    small: Any = apply_parts(model, [{"int8": {"packed": True, "head": True}}])
    module, tokenizer, new = model.module, model.tokenizer, arguments.new
    module.generation_config.eos_token_id = None
    lengths = sorted(len(tokenizer(prompt).input_ids) for prompt in prompts)
    print(f"{len(prompts)} prompts of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}")
    print(f"{new} new tokens each; {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        peers = llama_cpp_models(Path(folder))
        for title, chosen in ((f"{len(prompts)} prompts", prompts), ("one prompt", prompts[:1])):
            sizes = [size for size in arguments.batches if size <= len(chosen)] or [len(chosen)]
            size = best_batch(module, tokenizer, chosen, new, sizes)
            sides: Sides = {
                BASELINE: partial(transformers, module, tokenizer, new=new, batch=size),
                "steelyard float32": partial(steelyard, model, new=new),
                "steelyard int8": partial(steelyard, small, new=new),
            } | {name: partial(llama_cpp, peer, tokenizer, new=new) for name, peer in peers.items()}
            for ours in (model, small):  # until the step is recorded, as in longer use
                ours.generate(chosen[:1], Sampling(max_tokens=STEPS_BEFORE + 8))
            named = f"{title}, transformers in batches of {size}"
            answers = table(named, sides, chosen, arguments.rounds, new)
            same = zip(answers[BASELINE], answers["steelyard float32"], strict=True)
            equal = sum(a == b for a, b in same)
            print(f"\nsteelyard float32 writes what transformers writes: {equal} of {len(chosen)}", flush=True)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of gsm8k, xquad"
    )
    parser.add_argument("--prompts", type=int, default=64, help="prompts that are answered together")
    parser.add_argument("--new", type=int, default=64, help="new tokens each")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each side takes")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64], help="sizes transformers tries")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
