"""RelEntLess: ranking entity pairs by how strongly they satisfy a graded relation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from steelyard.contracts import Continuation, Interval, LanguageModel, OpenWeights, Score
from steelyard.errors import ModelError, UsageError
from steelyard.evaluation.benchmarks.relations.graded_relations import (
    GradedRelation,
    Pair,
    Template,
    read_relations,
    render,
    spearman_interval,
)
from steelyard.evaluation.benchmarks.relations.word_vectors import Vector, cosine, vectors_of
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.suite import mean_of_tasks
from steelyard.evaluation.task_header import TaskHeader
from steelyard.parts import part

HEADER = TaskHeader(
    paper="A RelEntLess Benchmark for Modelling Graded Relations between Named Entities",
    data_set="RelEntLess",
    licence="other (see its page)",
    metric="Spearman's rank correlation with the mean human score",
    folder="relentless",
    layout="data_processed.new.validation.jsonl and data_processed.new.test.jsonl",
    hub="cardiffnlp/relentless",
)
Scorer = Callable[[GradedRelation], list[float]]


@part(papers=[96], kind="measure")
def relentless(
    model: LanguageModel,
    *,
    data: str | None = None,
    split: Literal["validation", "test"] = "test",
    templates: tuple[Template, ...] = ("qa", "list"),
    vectors: str | None = None,
    prototypes: int = 5,
) -> Measurement:
    """Rank entity pairs by a graded relation; Spearman's correlation with people's mean scores, five relations.

    A pair's score is, for each template, the negative perplexity of the text that shows the relation's
    description, its prototypes and the pair,

        - exp(- mean over tokens of log p(token | before))

    (``qa``: a question answered with yes; ``list``: a list that the pair ends). Beside the model stand

        relation embedding   max over prototypes of cos(r(pair), r(prototype)), r being the mean last hidden
                             state of "HEAD is to TAIL"; shown for models with weights
        word vectors, pair   max over prototypes of cos(tail - head, prototype's tail - head)
        word vectors, word   cos(head, tail), without prototypes

    Args:
        model: What is measured.
        data: Folder (or file) in the official layout: a relation a line with ``relation_type``, ``pairs``,
            ``scores_mean`` and ``prototypical_examples``.
        split: The relations' pairs of the validation or the test split.
        templates: The prompts.
        vectors: Word vectors in word2vec's text form (GloVe and fastText write it too); the model's own input
            embeddings by default.
        prototypes: How many of the prototypes are shown.

    Returns:
        The mean correlation of each method over the relations, and a table of all. Intervals are Bonett and
        Wright's; the mean's takes the relations as fixed.

    Raises:
        UsageError: The data are not here and the hub is out of reach.
        ModelError: A text to which the model gives no probability.

    Source:
        "A RelEntLess Benchmark for Modelling Graded Relations between Named Entities", section 4. Prompts are
        worded anew after its descriptions. Its relation embeddings are RelBERT's and its word vectors fastText's:
        the model's own states stand for the first, any vectors in text form may be given for the second.

    Relations:
        ``in-context-regression`` also looks for order in numbers; perplexities are the engine's ``score``.

    Example:
        >>> from steelyard.evaluation.benchmarks.relations.graded_relations import spearman
        >>> spearman([-3.0, -2.0, -1.0], [1.0, 2.0, 3.0])
        1.0
    """
    if not 0 <= prototypes <= 5:
        raise UsageError(f"relentless: prototypes must be 0 to 5, not {prototypes}")
    relations = [
        GradedRelation(one.name, one.pairs, one.human, one.prototypes[:prototypes])
        for one in read_relations(HEADER, data, split)
    ]
    methods: dict[str, Scorer | None] = {
        f"perplexity, {template}": _perplexity_scorer(model, template) for template in templates
    }
    methods |= _embedding_methods(model, vectors, relations)
    table: list[tuple[Cell, ...]] = []
    values: dict[str, Interval] = {}
    raw: dict[str, dict[str, list[float]]] = {}
    for name, scorer in methods.items():
        if scorer is None:
            table.append((name, *[None] * len(relations), None))
            continue
        scores = {relation.name: scorer(relation) for relation in relations}
        found = [spearman_interval(scores[relation.name], relation.human) for relation in relations]
        values[f"spearman, {name}"] = mean_of_tasks(found)
        table.append((name, *found, values[f"spearman, {name}"]))
        raw[name] = scores
    note = f"Spearman's correlation with the mean human score; {prototypes} prototypes; split {split}"
    columns = ("method", *(relation.name for relation in relations), "mean")
    return Measurement(
        "relentless",
        values,
        (Table("Correlation by method and relation", columns, tuple(table), note),),
        notes=_notes(values),
        details={"scores": raw},
    )


def perplexities(model: LanguageModel, texts: Sequence[str]) -> list[float]:
    """Each text's perplexity: exp of the mean of -log p over its tokens, from the beginning of the sequence."""
    return [_perplexity(score) for score in model.score([Continuation("", text) for text in texts])]


def _perplexity(score: Score) -> float:
    if not math.isfinite(score.logprob) or not score.token_logprobs:
        raise ModelError(f"relentless: the model's log-likelihood of a prompt is {score.logprob}")
    return math.exp(-score.logprob / len(score.token_logprobs))


def relation_scores(
    relation: GradedRelation, pairs: Sequence[Vector], prototypes: Sequence[Vector]
) -> list[float]:
    """For each pair's relation vector the highest cosine with a prototype's; 0 without prototypes."""
    return [max((cosine(pair, prototype) for prototype in prototypes), default=0.0) for pair in pairs]


def _perplexity_scorer(model: LanguageModel, template: Template) -> Scorer:
    def scorer(relation: GradedRelation) -> list[float]:
        texts = [render(relation, pair, template) for pair in relation.pairs]
        return [-perplexity for perplexity in perplexities(model, texts)]

    return scorer


def _embedding_methods(
    model: LanguageModel, file: str | None, relations: Sequence[GradedRelation]
) -> dict[str, Scorer | None]:
    phrases = [name for one in relations for pair in (*one.pairs, *one.prototypes) for name in pair]
    vectors = vectors_of(model, file, phrases)
    found: dict[str, Scorer | None] = {"relation embedding": _hidden_scorer(model)}
    if vectors is None:
        return found | {"word vectors, pair": None, "word vectors, word": None}
    known = vectors

    def difference(pair: Pair) -> Vector:
        return known.vector(pair.tail) - known.vector(pair.head)

    def by_pair(relation: GradedRelation) -> list[float]:
        pairs = [difference(pair) for pair in relation.pairs]
        return relation_scores(relation, pairs, [difference(pair) for pair in relation.prototypes])

    def by_word(relation: GradedRelation) -> list[float]:
        return [cosine(known.vector(pair.head), known.vector(pair.tail)) for pair in relation.pairs]

    return found | {"word vectors, pair": by_pair, "word vectors, word": by_word}


def _hidden_scorer(model: LanguageModel) -> Scorer | None:
    if not isinstance(model, OpenWeights) or "hidden" not in model.card.capabilities:
        return None
    weights = model

    def scorer(relation: GradedRelation) -> list[float]:
        both = [*relation.pairs, *relation.prototypes]
        states = weights.hidden([f"{head} is to {tail}" for head, tail in both], [-1])
        vectors = [state[0].mean(axis=0).astype("float64") for state in states]
        return relation_scores(relation, vectors[: len(relation.pairs)], vectors[len(relation.pairs) :])

    return scorer


def _notes(values: dict[str, Interval]) -> tuple[str, ...]:
    perplexity = [(v, name) for name, v in values.items() if "perplexity" in name]
    words = [(v, name) for name, v in values.items() if "word vectors" in name]
    if not perplexity or not words:
        return ()
    (own, own_name), (other, other_name) = max(perplexity), max(words)
    verb = "above" if own.low > other.high else "below" if own.high < other.low else "not told apart from"
    return (f"{own_name} ({own.value:.3f}) is {verb} {other_name} ({other.value:.3f}) by their intervals",)
