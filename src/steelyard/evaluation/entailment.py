"""Entailment: does a premise support a hypothesis? Asked of a language model, or of a classifier made for it.

judge = open_entailment("true:google/t5_xxl_true_nli_mixture")
judge.probabilities([Pair("Ulm lies on the Danube.", "Ulm lies on a river.")])     # [0.97]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from steelyard.contracts import Continuation, LanguageModel, Message, Prompt
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError

SUPPORTED = 0.5
"""From this probability on a premise is taken to support a hypothesis."""
CLASSIFIER = "nli:"
TRUE_PROMPT = "true:"
_BATCH = 16


class Pair(NamedTuple):
    """A text, and what may follow from it."""

    premise: str
    hypothesis: str


class Entailment(Protocol):
    """Whoever decides whether premises support hypotheses."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def probabilities(self, pairs: Sequence[Pair]) -> list[float]:
        """The probability that the premise supports the hypothesis, for each pair in order."""


@dataclass(frozen=True)
class Question:
    """How a language model is asked: a text with the places {premise} and {hypothesis}, and its two answers."""

    text: str
    yes: str
    no: str
    chat: bool = False

    def prompt(self, pair: Pair) -> Prompt:
        """The question about one pair; braces within its texts are left as they are."""
        before, between, after = _parts_of(self.text)
        filled = f"{before}{pair.premise}{between}{pair.hypothesis}{after}"
        return [Message("user", filled)] if self.chat else filled


_ASKED = (
    "Text:\n{premise}\n\nStatement: {hypothesis}\n\nDoes the text alone show that the whole statement is true? "
    "Answer Yes or No."
)
PLAIN_QUESTION = Question(_ASKED + "\nAnswer:", " Yes", " No")
CHAT_QUESTION = Question(_ASKED, "Yes", "No", chat=True)
TRUE_QUESTION = Question("premise: {premise} hypothesis: {hypothesis}", "1", "0")
"""The prompt that the TRUE model (T5 fine-tuned on six inference sets) was trained with."""


@dataclass(frozen=True)
class ModelEntailment:
    """A language model asked for one of two words: P(yes) / (P(yes) + P(no)), from their log-probabilities.

    Source:
        TRUE: Re-evaluating Factual Consistency Evaluation (2022), section 3, whose model writes 1 or 0; other
        models are asked in words.
    """

    model: LanguageModel
    question: Question

    @property
    def name(self) -> str:
        """The model, and the two answers it is asked for."""
        return f"{self.model.card.name}, asked for {self.question.yes.strip()} or {self.question.no.strip()}"

    def probabilities(self, pairs: Sequence[Pair]) -> list[float]:
        """One number a pair, all asked in one call.

        Raises:
            CapabilityError: The model scores no given text.
            InputError: A pair does not fit its context, which would cut off the premise.
            ModelError: It gives either answer no probability at all.
        """
        if not pairs:
            return []
        card = self.model.card
        if "score" not in card.capabilities:
            raise CapabilityError(f"entailment needs the capability 'score', which {card.name} lacks")
        words = (self.question.yes, self.question.no)
        prompts = [self.question.prompt(pair) for pair in pairs]
        scores = self.model.score([Continuation(prompt, word) for prompt in prompts for word in words])
        longest = max(score.context_tokens + len(score.token_logprobs) for score in scores)
        if card.context_length is not None and longest - 1 > card.context_length:
            raise InputError(
                f"entailment: a pair of {longest} tokens does not fit the context of {card.name}, "
                f"{card.context_length} tokens; take a judge with a longer one, or shorter passages"
            )
        return [yes_probability(scores[i].logprob, scores[i + 1].logprob) for i in range(0, len(scores), 2)]


@dataclass(frozen=True)
class ClassifierEntailment:
    """A sequence classifier trained on natural language inference, as transformers loads it.

    Premises that are too long are cut at their end, and ``cut`` counts them.
    """

    name: str
    module: Any
    tokenizer: Any
    label: int
    cut: list[int] = field(default_factory=lambda: [0])

    def probabilities(self, pairs: Sequence[Pair]) -> list[float]:
        """The softmax probability of the label that means entailment."""
        import torch

        found: list[float] = []
        longest = min(int(self.tokenizer.model_max_length), 1 << 16)
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            texts = ([pair.premise for pair in batch], [pair.hypothesis for pair in batch])
            self.cut[0] += sum(len(ids) > longest for ids in self.tokenizer(*texts, verbose=False)["input_ids"])
            inputs = self.tokenizer(
                *texts, truncation="only_first", max_length=longest, padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self.module(**inputs).logits.float()
            found += torch.softmax(logits, dim=-1)[:, self.label].tolist()
        return found


def yes_probability(yes: float, no: float) -> float:
    """Two log-probabilities as the probability of the first among the two.

    >>> yes_probability(-1.0, -1.0)
    0.5
    """
    if math.isnan(yes) or math.isnan(no) or max(yes, no) == -math.inf:
        raise ModelError("entailment: the judge gives neither answer any probability; its weights are damaged")
    return 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))


def supported(judge: Entailment, pairs: Sequence[Pair]) -> dict[Pair, bool]:
    """Whether the judge takes each pair to be supported; equal pairs are asked once.

    Raises:
        ModelError: The judge did not answer every pair with a probability.
    """
    asked = list(dict.fromkeys(pairs))
    found = judge.probabilities(asked)
    if len(found) != len(asked) or not all(0.0 <= p <= 1.0 for p in found):
        raise ModelError(f"entailment: {judge.name} did not answer every pair with a probability")
    return {pair: p >= SUPPORTED for pair, p in zip(asked, found, strict=True)}


def open_entailment(name: str, measured: LanguageModel | None = None) -> Entailment:
    """A judge by name.

    Args:
        name: ``nli:FOLDER`` is a classifier; ``true:NAME`` a model asked in the TRUE model's words for 1 or 0;
            any other name a model asked for Yes or No; ``self`` is the measured model.
        measured: the model that ``self`` means.

    Raises:
        UsageError: ``self`` without a model.
        InputError: A folder that holds no classifier, or one without a label for entailment.
    """
    if name == "self":
        if measured is None:
            raise UsageError("entailment: there is no measured model to judge itself; name another")
        return asked_in_words(measured)
    if name.startswith(CLASSIFIER):
        return load_classifier(Path(name.removeprefix(CLASSIFIER)).expanduser())
    from steelyard.evaluation.evaluate import unwrapped
    from steelyard.systems.loading import load

    if name.startswith(TRUE_PROMPT):
        return ModelEntailment(unwrapped(load(name.removeprefix(TRUE_PROMPT)))[0], TRUE_QUESTION)
    return asked_in_words(unwrapped(load(name))[0])


def asked_in_words(model: LanguageModel) -> ModelEntailment:
    """A model asked for Yes or No, in a conversation where it has them."""
    return ModelEntailment(model, CHAT_QUESTION if "chat" in model.card.capabilities else PLAIN_QUESTION)


def load_classifier(folder: Path) -> ClassifierEntailment:
    """A classifier's folder; safetensors only, and no code of its own is run."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: no config.json; give a folder with a sequence classifier in safetensors")
    try:
        module = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:160]
        raise InputError(f"{folder}: cannot be loaded as a sequence classifier ({reason})") from None
    return ClassifierEntailment(folder.name, module.eval(), tokenizer, entailment_label(module.config.id2label))


def entailment_label(labels: Mapping[int, str]) -> int:
    """The number of the label that means entailment.

    >>> entailment_label({0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    2
    """
    named = [int(number) for number, label in labels.items() if str(label).lower() in ("entailment", "entailed")]
    if len(named) != 1:
        known = ", ".join(map(str, labels.values()))
        raise InputError(f"the classifier's labels are {known}; exactly one must be called entailment")
    return named[0]


def _parts_of(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition("{premise}")
    between, _, after = rest.partition("{hypothesis}")
    return before, between, after
