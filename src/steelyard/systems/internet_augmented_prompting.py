"""Open-book answers by few-shot prompting: candidates from many passages, reranked by the model's own scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from steelyard.contracts import (
    Continuation,
    Generation,
    LanguageModel,
    ModelCard,
    Prompt,
    Retriever,
    Sampling,
    Samplings,
    Score,
    Usage,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.requests import sampling_each
from steelyard.parts import part
from steelyard.systems.answer_scores import (
    EXPERTS,
    PairScores,
    Scoring,
    best_candidate,
    mixture_steps,
    tune_weights,
)
from steelyard.systems.asked_question import question_of
from steelyard.systems.evidence_passages import RankedPassages, rank_passages
from steelyard.systems.grounded_card import grounded_card

Count = Annotated[int, Field(ge=1)]
DOCUMENTS = 20
"""Search results that are read for a question."""


class EvidenceExample(NamedTuple):
    """A solved example as it is shown: a passage, a question, and its answer."""

    evidence: str
    question: str
    answer: str


@part(papers=[76])
def internet_augmented_prompting(
    model: LanguageModel,
    retriever: Retriever,
    examples: Sequence[EvidenceExample] = (),
    *,
    scoring: Scoring = "product",
    passages: Count = 50,
    samples: Count = 4,
    temperature: Annotated[float, Field(gt=0)] = 1.0,
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, -1.0, 1.0),
) -> LanguageModel:
    r"""Answer questions from search results: few-shot prompts over many passages, and the best of their answers.

    The 20 best documents for a question are cut into passages of six sentences and ranked by the cosine of TF-IDF
    vectors; of the first ``passages`` each gives ``samples`` answers to the prompt "Evidence: .. Question: ..
    Answer:" behind solved examples of the same form. The answer is the one of the best pair (a, p) by

        direct         log p(a | q, p)
        noisy-channel  log p(q | a, p) + log p(a | p) - log p(q | p)
        product        sum of w_i log of: p(a | q, p), p(q | a, p), p(a | p), p(q | p), p(p | q)

    or, with ``marginal``, by log sum_p p(p | q) p(a | q, p) over all passages. p(p | q) is the cosine over the sum
    of cosines; the other factors come from the same model, prompted with the fields in the order of the factor.
    :func:`product_weights` tunes the weights on development questions.

    A question is the last user message of a conversation, what follows the last "Question:" of a text, or the
    whole text. Answers are one line. Sampling brings ``seed``, ``max_tokens`` and stop strings, and its
    temperature where that is not 0; one sample at temperature 0 is greedy. Without any passage the model answers
    closed-book. As a language model it scores an answer by the marginal, token by token; a text without context
    goes to the model inside. Streams come whole.

    Args:
        model: answers and scores.
        retriever: gives documents, from the web or from a corpus; its ``fingerprint`` enters the card.
        examples: solved examples; the paper shows 15.
        scoring: how the answer is chosen.
        passages: how many passages are read.
        samples: answers drawn from each passage.
        temperature: of those answers, where the request has none.
        weights: of the product, in the order of its factors above.

    Raises:
        UsageError: ``weights`` are not five numbers, a grammar is asked for, scikit-learn is missing, or the
            retriever has no fingerprint.
        CapabilityError: Alternatives or ranks are asked for when scoring: a mixture over passages has none.

    Source: Lazaridou et al., "Internet-augmented language models through few-shot prompting for open-domain
    question answering", section 2 (retrieval, prompts, and the four ways to rerank).

    Relations: ``in-context-ralm`` grounds any text, with one passage at a time.

    Example:
        >>> answers = internet_augmented_prompting(load("smollm2-135m"), index, shown)  # doctest: +SKIP
        >>> answers.generate(["Who wrote Faust?"])[0].text                             # doctest: +SKIP
        ' Goethe'
    """
    if len(weights) != len(EXPERTS):
        raise UsageError(
            f"internet-augmented-prompting: weights must be {len(EXPERTS)} numbers, not {len(weights)}"
        )
    settings = AnswerSettings(scoring, passages, samples, temperature, tuple(weights))
    return InternetAugmentedModel(model, retriever, tuple(examples), settings)


class AnswerSettings(NamedTuple):
    """The settings of :func:`internet_augmented_prompting`."""

    scoring: Scoring
    passages: int
    samples: int
    temperature: float
    weights: tuple[float, ...]


class Candidates(NamedTuple):
    """The distinct answers to one question, the passages they come from, and for each answer its passages."""

    question: str
    ranked: RankedPassages
    answers: tuple[Generation, ...]
    origins: tuple[tuple[int, ...], ...]
    usage: Usage


class InternetAugmentedModel:
    """The language model that :func:`internet_augmented_prompting` makes."""

    def __init__(
        self,
        model: LanguageModel,
        retriever: Retriever,
        examples: Sequence[EvidenceExample],
        settings: AnswerSettings,
    ) -> None:
        self.model = model
        self.retriever = retriever
        self.examples = examples
        self.settings = settings

    @property
    def card(self) -> ModelCard:
        """The fingerprint covers the model, the retriever's content, the examples and the settings."""
        settings = {**self.settings._asdict(), "examples": [list(example) for example in self.examples]}
        return grounded_card(self.model.card, "internet-augmented-prompting", settings, retriever=self.retriever)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Answer each question with the best of its candidates; usage counts all that was read and written."""
        each = sampling_each(prompts, sampling)
        if any(chosen.grammar is not None for chosen in each):
            raise UsageError("internet-augmented-prompting samples plain answers, and takes no grammar")
        found = self.candidates([question_of(prompt) for prompt in prompts], each)
        scored = self.pair_scores([c for c in found if len(c.answers) > 1])
        pairs = iter(scored)
        answers = []
        for candidates in found:
            best = 0
            if len(candidates.answers) > 1:
                best = best_candidate(next(pairs), self.settings.scoring, self.settings.weights)
            answers.append(dataclasses.replace(candidates.answers[best], usage=candidates.usage))
        return answers

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """The answer in one piece: which it is is known only when all candidates are."""
        yield from self.generate([prompt], sampling)

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each continuation by log sum_p p(p | q) p(text | q, p), divided among its tokens."""
        if top or detail:
            raise CapabilityError(
                f"{self.card.name} mixes passages: it has no distributions of single tokens, so neither "
                "alternatives nor ranks"
            )
        questions = [question_of(request.context) if request.context else "" for request in requests]
        ranked = dict(zip(questions, self.ranked(questions), strict=True))
        asked: list[list[Continuation]] = []
        for question, request in zip(questions, requests, strict=True):
            text = request.text if request.text[:1].isspace() or not request.text else f" {request.text}"
            texts = ranked[question].texts or ("",)
            inner = [Continuation(self.prompt("answer", question=question, evidence=p), text) for p in texts]
            asked.append(inner if request.context else [request])
        scores = iter(self.model.score([continuation for inner in asked for continuation in inner]))
        return [
            _mixed(request, [next(scores) for _ in inner], ranked[question].probabilities)
            for question, request, inner in zip(questions, requests, asked, strict=True)
        ]

    def ranked(self, questions: Sequence[str]) -> list[RankedPassages]:
        """The passages for each question; none for an empty one."""
        distinct = list(dict.fromkeys(question for question in questions if question))
        hits = self.retriever.search(distinct, DOCUMENTS) if distinct else []
        count = self.settings.passages
        found = {q: rank_passages(q, [hit.text for hit in h], count) for q, h in zip(distinct, hits, strict=True)}
        return [found.get(question, RankedPassages((), np.zeros(0))) for question in questions]

    def candidates(self, questions: Sequence[str], samplings: Sequence[Sampling]) -> list[Candidates]:
        """Sample answers to each question from each of its passages."""
        ranked = self.ranked(questions)
        prompts: list[str] = []
        chosen: list[Sampling] = []
        for question, passages, sampling in zip(questions, ranked, samplings, strict=True):
            for passage in passages.texts or ("",):
                prompts += [self.prompt("answer", question=question, evidence=passage)] * self.settings.samples
                chosen += self._samplings(sampling)
        made = iter(self.model.generate(prompts, chosen) if prompts else [])
        found = []
        for question, passages in zip(questions, ranked, strict=True):
            drawn = [
                (place, next(made))
                for place in range(max(1, len(passages.texts)))
                for _ in range(self.settings.samples)
            ]
            found.append(_distinct(question, passages, drawn))
        return found

    def pair_scores(self, found: Sequence[Candidates], *, whole: bool = False) -> list[PairScores]:
        """Every factor of each pair; only those that the scoring needs, and -inf for others, unless ``whole``."""
        scoring = self.settings.scoring
        everywhere = whole or scoring == "marginal"  # each answer with each passage
        pairs = [
            [
                (candidate, place)
                for candidate, origins in enumerate(each.origins)
                for place in (range(max(1, len(each.ranked.texts))) if everywhere else origins)
            ]
            for each in found
        ]
        wanted = [
            name
            for name, weight in zip(EXPERTS[:4], self.settings.weights, strict=False)
            if whole
            or {"direct": name == "answer", "marginal": name == "answer", "noisy-channel": name != "answer"}.get(
                scoring, weight != 0
            )
        ]
        requests = {
            name: [self._request(name, each, pair) for each, own in zip(found, pairs, strict=True) for pair in own]
            for name in wanted
        }
        scores = iter(self.model.score([request for name in wanted for request in requests[name]]))
        values = {name: [next(scores).logprob for _ in requests[name]] for name in wanted}
        scored, begin = [], 0
        for each, own in zip(found, pairs, strict=True):
            end = begin + len(own)
            scored.append(_pair_scores(each, own, {name: v[begin:end] for name, v in values.items()}))
            begin = end
        return scored

    def prompt(self, factor: str, **known: str) -> str:
        """The prompt for one factor: solved examples, the known fields, and the label of the wanted one."""
        fields = _ORDERS[factor]
        if not known.get("evidence"):
            fields = tuple(field for field in fields if field != "evidence")
        blocks = [_block(fields, example._asdict()) for example in self.examples]
        shown = {field: known[field] for field in fields[:-1]}
        return "\n\n".join([*blocks, f"{_block(fields[:-1], shown)}\n{fields[-1].capitalize()}:".lstrip()])

    def _request(self, factor: str, each: Candidates, pair: tuple[int, int]) -> Continuation:
        candidate, place = pair
        known = {
            "question": each.question,
            "answer": each.answers[candidate].text.strip(),
            "evidence": each.ranked.texts[place] if each.ranked.texts else "",
        }
        return Continuation(self.prompt(factor, **known), f" {known[_ORDERS[factor][-1]]}")

    def _samplings(self, sampling: Sampling) -> list[Sampling]:
        count = self.settings.samples
        temperature = sampling.temperature or (self.settings.temperature if count > 1 else 0.0)
        stop = tuple(dict.fromkeys((*sampling.stop, "\n")))
        return [
            dataclasses.replace(sampling, temperature=temperature, stop=stop, seed=sampling.seed * count + i)
            for i in range(count)
        ]


_ORDERS: Mapping[str, tuple[str, ...]] = {
    "answer": ("evidence", "question", "answer"),
    "question_given_answer": ("evidence", "answer", "question"),
    "answer_alone": ("evidence", "answer"),
    "question_alone": ("evidence", "question"),
}
"""The fields of the prompt for each factor; the last is what it is the probability of."""


def product_weights(
    grounded: InternetAugmentedModel,
    questions: Sequence[str],
    is_right: Callable[[int, str], bool],
    *,
    sampling: Sampling = Sampling(max_tokens=16),
    draws: int = 500,
) -> tuple[float, ...]:
    """Weights of the product that answer the most development questions rightly, for the setting ``weights``.

    Args:
        grounded: what :func:`internet_augmented_prompting` made; its own weights are not read.
        questions: development questions.
        is_right: whether an answer to the question of a number is right.
        sampling: of the candidates; its seed is also that of the search.
        draws: weight vectors to try (:func:`~steelyard.systems.answer_scores.tune_weights`).
    """
    found = grounded.candidates(questions, [sampling] * len(questions))
    pairs = grounded.pair_scores(found, whole=True)
    right = [
        np.array([is_right(number, answer.text.strip()) for answer in each.answers])
        for number, each in enumerate(found)
    ]
    return tune_weights(pairs, right, draws=draws, seed=sampling.seed)


def _block(fields: Sequence[str], values: Mapping[str, str]) -> str:
    return "\n".join(f"{field.capitalize()}: {values[field]}" for field in fields)


def _distinct(question: str, ranked: RankedPassages, drawn: Sequence[tuple[int, Generation]]) -> Candidates:
    """Equal answers once, with all passages they came from; empty ones only where there is no other."""
    answers: dict[str, Generation] = {}
    origins: dict[str, list[int]] = {}
    filled = [(place, made) for place, made in drawn if made.text.strip()]
    for place, made in filled or drawn[:1]:
        key = made.text.strip()
        answers.setdefault(key, made)
        if place not in origins.setdefault(key, []):
            origins[key].append(place)
    usage = Usage(
        sum(made.usage.prompt_tokens for _, made in drawn), sum(made.usage.completion_tokens for _, made in drawn)
    )
    return Candidates(question, ranked, tuple(answers.values()), tuple(map(tuple, origins.values())), usage)


def _pair_scores(
    each: Candidates, pairs: Sequence[tuple[int, int]], values: Mapping[str, Sequence[float]]
) -> PairScores:
    places = np.array([place for _, place in pairs], dtype=np.int64)
    shares = each.ranked.probabilities if len(each.ranked.texts) else np.ones(1)
    with np.errstate(divide="ignore"):
        prior = np.log(shares)[places]
    unknown = [-np.inf] * len(pairs)
    known = {name: np.asarray(values.get(name, unknown), dtype=np.float64) for name in EXPERTS[:4]}
    return PairScores(
        candidate=np.array([candidate for candidate, _ in pairs], dtype=np.int64),
        place=places,
        passage=prior,
        sampled=np.array([place in each.origins[candidate] for candidate, place in pairs]),
        **known,
    )


def _mixed(request: Continuation, scores: Sequence[Score], shares: np.ndarray) -> Score:
    if len(scores) == 1:
        return dataclasses.replace(scores[0], utf8_bytes=len(request.text.encode()))
    with np.errstate(divide="ignore"):
        steps = mixture_steps(np.log(shares), np.array([score.token_logprobs for score in scores]))
    return dataclasses.replace(
        scores[0],
        logprob=float(steps.sum()),
        token_logprobs=tuple(map(float, steps)),
        utf8_bytes=len(request.text.encode()),
        greedy=all(score.greedy for score in scores),
    )
