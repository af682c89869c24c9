"""Do LoRA experts that were each taught a part of a task evolve into a model that is better at the whole?

The task is to tell from a headline whether the price of gold went up, went down, or is not spoken of. Each expert
is taught two of the three answers, on headlines of its own. What evolution finds is compared, on headlines that
neither training nor fitness has seen, with the best expert, the uniform average, and the best of as many random
averages as evolution asked for evaluations.

Adapters bear on the last blocks alone, so what goes into these is computed once for every headline.
"""

from __future__ import annotations

import csv
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from evidence_record import Claim, write_evidence
from steelyard.contracts import Interval, OpenWeights
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.statistics import paired_difference, wilson_interval
from steelyard.evaluation.task_files import load_task
from steelyard.merging.evolution import Evolution, Genes, crossed
from steelyard.merging.evolved_models import Nursery, open_nursery
from steelyard.merging.population_evolution import population_evolution
from steelyard.models.loading import load_model

CLASSES = ("up", "down", "none")
TAUGHT = (("up", "down"), ("down", "none"), ("up", "none"))
FIRST = 26  # of 30 blocks: those from here on have adapters
EPOCHS, RATE = 2, 2e-3
TRAINING, FITNESS, HELD_OUT = 96, 99, 270
BATCH = 8
SETTINGS: dict[str, Any] = {"population": 5, "generations": 3, "sigma": 0.001, "mutation_rate": 0.3, "seed": 0}


class Row(NamedTuple):
    """A headline and what it says of the price."""

    prompt: str
    answer: str

    @property
    def text(self) -> str:
        """As the plain prompt style asks."""
        return f"Question: {self.prompt}\nAnswer:"


class Prepared(NamedTuple):
    """Headlines of one length in tokens, and with what each block with an adapter is called; hidden (n, w, d)."""

    hidden: torch.Tensor
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    answers: torch.Tensor
    rows: list[Row]


def read_rows(seed: int = 0) -> dict[str, list[Row]]:
    """Headlines by what they are for, each answer equally often: for fitness, held out, and for each expert."""
    file = Path(os.environ["STEELYARD_DATA"]) / "frugalgpt_headlines" / "train.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        found = [Row(text.split("\n")[0].removeprefix("Q: "), label) for text, label, _ in csv.reader(stream)]
    rows = list({row.prompt.lower(): row for row in found if row.answer in CLASSES}.values())
    random.Random(seed).shuffle(rows)
    sets: dict[str, list[Row]] = {}
    sizes = {"fitness": FITNESS // 3, "held_out": HELD_OUT // 3}
    wanted = [(name, size, answer) for name, size in sizes.items() for answer in CLASSES]
    wanted += [("-".join(pair), TRAINING // 2, answer) for pair in TAUGHT for answer in pair]
    for name, size, answer in wanted:
        chosen = [row for row in rows if row.answer == answer][:size]
        sets[name] = sets.get(name, []) + chosen
        taken = set(chosen)
        rows = [row for row in rows if row not in taken]
    return sets


@torch.no_grad()
def prepare(model: OpenWeights, rows: Sequence[Row]) -> list[Prepared]:
    """Batches of headlines of one length, run through the blocks that no adapter changes."""
    coded: dict[int, list[tuple[list[int], Row]]] = {}
    for row in rows:
        ids = model.tokenizer(row.text)["input_ids"]
        coded.setdefault(len(ids), []).append((ids, row))
    groups = [group[start : start + BATCH] for group in coded.values() for start in range(0, len(group), BATCH)]
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))

    body: Any = model.module.model
    hooks = [
        block.register_forward_pre_hook(keep, with_kwargs=True)
        for block in model.family.layers(model.module)[FIRST:]
    ]
    prepared = []
    for group in groups:
        seen.clear()
        body(input_ids=torch.tensor([ids for ids, _ in group]), use_cache=False)
        calls = [(args[1:], kwargs) for args, kwargs in seen]
        answers = torch.tensor([CLASSES.index(row.answer) for _, row in group])
        prepared.append(Prepared(seen[0][0][0], calls, answers, [row for _, row in group]))
    for hook in hooks:
        hook.remove()
    return prepared


def last_logits(module: Any, family: Any, of: Prepared) -> torch.Tensor:
    """Logits (n, vocabulary) of the token behind each prompt."""
    blocks = family.layers(module)
    hidden = of.hidden
    for block, (args, kwargs) in zip(blocks[FIRST:], of.calls, strict=True):
        output = block(hidden, *args, **kwargs)
        hidden = output[0] if isinstance(output, tuple) else output
    logits: torch.Tensor = family.head(module)(family.final_norm(module)(hidden[:, -1]))
    return logits


def answer_tokens(tokenizer: Any) -> torch.Tensor:
    """The token of each answer; one each."""
    ids = [tokenizer(f" {answer}")["input_ids"] for answer in CLASSES]
    assert all(len(one) == 1 for one in ids)
    return torch.tensor([one[0] for one in ids])


@torch.no_grad()
def correct(model: OpenWeights, prepared: Sequence[Prepared]) -> np.ndarray:
    """Whether the right answer is the most probable of the three, for each headline."""
    tokens = answer_tokens(model.tokenizer)
    found = [last_logits(model.module, model.family, one)[:, tokens].argmax(1) == one.answers for one in prepared]
    return torch.cat(found).numpy().astype(float)


def teach(folder: Path, prepared: Sequence[Prepared], seed: int) -> float:
    """Train a LoRA adapter with peft on the answers, and save it; returns the last epoch's mean loss."""
    import peft

    torch.manual_seed(seed)
    model = cast(OpenWeights, load_model("smollm2-135m"))
    tokens = answer_tokens(model.tokenizer)
    config = peft.LoraConfig(
        r=8,
        lora_alpha=16,
        target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
        layers_to_transform=list(range(FIRST, 30)),
        task_type="CAUSAL_LM",
    )
    module: Any = peft.get_peft_model(cast(Any, model.module), config)
    inner = module.base_model.model
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    losses: list[float] = []
    for epoch in range(EPOCHS):
        losses = []
        for one in random.Random(seed + epoch).sample(list(prepared), len(prepared)):
            loss = torch.nn.functional.cross_entropy(last_logits(inner, model.family, one), tokens[one.answers])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
    module.save_pretrained(folder)
    return float(np.mean(losses))


def peft_difference(nursery: Nursery, folder: str) -> float:
    """Largest difference between logits of an adapter folded in by Steelyard and by peft."""
    import peft

    ids = torch.arange(100, 130)[None]
    base = cast(Any, cast(OpenWeights, load_model("smollm2-135m")).module)
    theirs: Any = peft.PeftModel.from_pretrained(base, folder).merge_and_unload()
    with torch.no_grad():
        mine = nursery.grow(nursery.experts[0]).module(input_ids=ids).logits
        return float((mine - theirs(input_ids=ids).logits).abs().max())


def agreement(model: OpenWeights, prepared: Sequence[Prepared], root: Path, most: int = 32) -> float:
    """Share of headlines on which the workbench's own evaluation marks as the shortened computation does."""
    some = [row for one in prepared for row in one.rows][:most]
    lines = [
        {"id": str(number), "prompt": row.prompt, "choices": list(CLASSES), "answer": row.answer}
        for number, row in enumerate(some)
    ]
    file = root / "some.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    marks = [result.marks.values["accuracy"] for result in evaluate(model, load_task(file)).results]
    return float(np.mean(np.array(marks) == correct(model, prepared)[: len(some)]))


def random_averages(nursery: Nursery, prepared: Sequence[Prepared], number: int) -> tuple[Genes, float]:
    """The best of ``number`` averages with random weights, by the same fitness."""
    draws = np.random.default_rng(1)
    best: tuple[Genes, float] | None = None
    for _ in range(number):
        genes = crossed(nursery.experts, [float(w) for w in draws.dirichlet(np.ones(len(nursery.experts)))])
        value = float(correct(nursery.grow(genes), prepared).mean())
        if best is None or value > best[1]:
            best = (genes, value)
    assert best is not None
    return best


class Measured(NamedTuple):
    """What was found and how it did."""

    evolution: Evolution
    marks: dict[str, np.ndarray]
    random_fitness: float
    losses: list[float]
    peft: float
    agreement: float


def measure(base: OpenWeights, sets: dict[str, list[Row]], root: Path) -> Measured:
    """Teach the experts, evolve them, and try everything on the held-out headlines."""
    folders, losses = [], []
    for number, pair in enumerate(TAUGHT):
        folders.append(str(root / "-".join(pair)))
        losses.append(teach(Path(folders[-1]), prepare(base, sets["-".join(pair)]), seed=number))
    nursery = open_nursery(folders, base)
    fitness = prepare(base, sets["fitness"])
    evolution = population_evolution(
        nursery.experts, lambda genes: float(correct(nursery.grow(genes), fitness).mean()), **SETTINGS
    )
    searched, value = random_averages(nursery, fitness, evolution.history[-1].evaluations)
    genes = {"-".join(pair): expert for pair, expert in zip(TAUGHT, nursery.experts, strict=True)}
    genes["uniform"] = crossed(nursery.experts, [1.0] * len(nursery.experts))
    genes |= {"evolved": evolution.best.genes, "random": searched}
    held_out = prepare(base, sets["held_out"])
    marks = {name: correct(nursery.grow(of), held_out) for name, of in genes.items()}
    marks["base"] = correct(base, held_out)
    agreed = agreement(nursery.grow(evolution.best.genes), held_out, root)
    return Measured(evolution, marks, value, losses, peft_difference(nursery, folders[0]), agreed)


def claims_of(found: Measured, accuracy: dict[str, Interval], parent: str) -> list[Claim]:
    """What the paper says, and whether it was seen."""
    best = [generation.best for generation in found.evolution.history]
    claims = [
        Claim(
            "fitness of the best never falls",
            {"generations": len(best) - 1, "first": best[0], "last": best[-1]},
            best == sorted(best),
        ),
        Claim("an adapter folded in gives peft's logits", {"largest difference": found.peft}, found.peft < 1e-3),
    ]
    rivals = {
        parent: "the parent that is best there",
        "uniform": "the uniform average",
        "random": "the best of as many random averages as evolution had evaluations",
    }
    for name, words in rivals.items():
        gain = paired_difference(found.marks["evolved"], found.marks[name])
        figures = {"evolved": accuracy["evolved"], name: accuracy[name], "difference": gain}
        claims.append(Claim(f"more accurate on held-out headlines than {words}", figures, gain.low > 0))
    return claims


def main() -> None:
    """Write ``evidence/population-evolution.json``."""
    began = time.monotonic()
    base = cast(OpenWeights, load_model("smollm2-135m"))
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(base, read_rows(), Path(temporary))
    accuracy = {
        name: Interval(float(marks.mean()), *wilson_interval(marks.sum(), len(marks)), len(marks))
        for name, marks in found.marks.items()
    }
    parent = max(("-".join(pair) for pair in TAUGHT), key=lambda name: accuracy[name].value)
    write_evidence(
        "population-evolution",
        claims_of(found, accuracy, parent),
        model={"name": base.card.name, "fingerprint": base.card.fingerprint},
        experts={
            "adapters": f"LoRA by peft, rank 8, on q, v, up and down projections of blocks {FIRST} to 29",
            "taught": ["-".join(pair) for pair in TAUGHT],
            "training": {"headlines": TRAINING, "epochs": EPOCHS, "rate": RATE, "last_loss": found.losses},
        },
        data={"name": "FrugalGPT, gold headlines", "fitness": FITNESS, "held_out": HELD_OUT, "answers": CLASSES},
        accuracy={name: value._asdict() for name, value in accuracy.items()},
        agreement_with_evaluate=found.agreement,
        settings=SETTINGS,
        history=[generation._asdict() for generation in found.evolution.history],
        random_fitness=found.random_fitness,
        seeds={"evolution": SETTINGS["seed"], "split": 0, "adapters": [0, 1, 2], "random": 1},
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
