"""LameR: a query made longer by answers that a model writes after it has seen what the retriever finds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from steelyard.contracts import Hit, LanguageModel, Prompt, Retriever, Sampling
from steelyard.errors import UsageError
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import RerankCost, generate
from steelyard.retrieval.rerankers.template import Form, Template, first_words

NAME = "lamer"
TEMPLATE = (
    "A search for a query has found the passages below. Some may answer it, some may be wrong.\n\n{passages}\n\n"
    "Query: {query}\n\nWrite a passage that answers the query correctly, in the style of those above."
)
WITHOUT_CANDIDATES = "Query: {query}\n\nWrite a passage that answers the query correctly."
_QUOTATION_MARKS = str.maketrans(dict.fromkeys('"“”„«»', " "))
_log = logging.getLogger(__name__)


class Expansion(NamedTuple):
    """The long queries, the answers they were made of (empty ones too), and what it cost to write them."""

    queries: list[str]
    answers: list[list[str]]
    cost: RerankCost


@part(kind="retriever", papers=[143])
def lamer(
    retriever: Retriever,
    model: LanguageModel,
    *,
    candidates: NonNegativeInt = 10,
    answers: PositiveInt = 5,
    temperature: NonNegativeFloat = 0.7,
    max_tokens: PositiveInt = 128,
    form: Form = "chat",
    seed: int = 0,
) -> LamerRetriever:
    """Search with the query and passages that a model wrote to answer it.

    1. The retriever finds ``candidates`` passages for the query q.
    2. The model, shown them and q, writes answers a_1 ... a_N, by sampling.
    3. The retriever searches for "q a_1 q a_2 ... q a_N".

    Right or wrong, candidates tell the model which words the collection uses. Empty answers are left out; where
    all are empty the search is for q itself, which the log says. Double quotation marks in answers become spaces,
    since a retriever may take what stands between them for a phrase that must occur. The retriever should be a
    lexical one, such as BM25: a long query then is a weighting of words.

    Cost: N generations a query, from one reading of its prompt; two searches. :meth:`LamerRetriever.expand` says
    what it was.

    Args:
        retriever: what to search with; documents are added and deleted through it.
        model: anything that generates (and chats, by default).
        candidates: passages shown; 0 for none, which is HyDE's question to a lexical retriever.
        answers: passages written for each query.
        temperature: of the sampling.
        max_tokens: longest answer.
        form: ``chat`` puts the question as a user's message; ``plain`` continues the text.
        seed: of the sampling; answer i is drawn with ``seed + i``.

    Raises:
        CapabilityError: the model does not generate, or has no chat template.
        InputError: the candidates do not fit the model's context.
        UsageError: a query is empty (when searched).

    Source:
        Large Language Models are Strong Zero-Shot Retriever (2023), section 3. The wording is Steelyard's own; the
        paper words its question for each data set.

    Relations:
        ``lexical`` is the retriever to put underneath. Rerankers reorder what was found; this part changes what is
        found, and they may follow it.

    Example:
        >>> longer = lamer(index, model, answers=3)  # doctest: +SKIP
        >>> longer.search(["who wrote it"], k=10)[0][0].id  # doctest: +SKIP
        'd3'
    """
    asked = Template(TEMPLATE if candidates else WITHOUT_CANDIDATES, form)
    samplings = tuple(
        Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed + i) for i in range(answers)
    )
    return LamerRetriever(retriever, model, asked, samplings, candidates)


@dataclass(frozen=True)
class LamerRetriever:
    """A retriever that makes queries longer before it hands them on; ``replace`` it to ask in other words.

    Attributes:
        retriever: what is searched.
        model: who writes answers.
        template: the question, with the places ``{passages}`` and ``{query}``.
        samplings: how each answer is drawn.
        candidates: how many passages are shown.
        passage_words: how many words of each.
    """

    retriever: Retriever
    model: LanguageModel
    template: Template
    samplings: tuple[Sampling, ...]
    candidates: int
    passage_words: int = 100

    def add(self, documents: Sequence[Hit]) -> None:
        """Add to the retriever underneath."""
        self.retriever.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete from the retriever underneath."""
        self.retriever.delete(ids)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """``k`` hits for each query, found by its long form."""
        return self.retriever.search(self.expand(queries).queries, k) if queries else []

    def expand(self, queries: Sequence[str]) -> Expansion:
        """The long form of each query; all prompts and samples are generated together."""
        queries = [query.strip() for query in queries]
        if "" in queries:
            raise UsageError(f"{NAME}: query {queries.index('')} is empty")
        found = self.retriever.search(queries, self.candidates) if self.candidates else [[] for _ in queries]
        prompts = [self._prompt(query, hits) for query, hits in zip(queries, found, strict=True)]
        each = len(self.samplings)
        generations, cost = generate(
            self.model,
            [prompt for prompt in prompts for _ in range(each)],
            [sampling for _ in prompts for sampling in self.samplings],
            NAME,
        )
        texts = [one.text.translate(_QUOTATION_MARKS).strip() for one in generations]
        answers = [texts[i * each : (i + 1) * each] for i in range(len(queries))]
        empty = sum(not any(some) for some in answers)
        if empty:
            _log.warning("%s: nothing was written for %d of %d queries", NAME, empty, len(queries))
        cost += RerankCost(unread=sum(not text for text in texts))
        return Expansion([interleaved(q, some) for q, some in zip(queries, answers, strict=True)], answers, cost)

    def _prompt(self, query: str, hits: Sequence[Hit]) -> Prompt:
        texts = [" ".join(first_words(hit.text, self.passage_words).split()) for hit in hits]
        passages = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))
        return self.template.prompt(passages=passages, query=query)


def interleaved(query: str, answers: Sequence[str]) -> str:
    """``query answer query answer ...``, empty answers left out; the query itself where all are.

    >>> interleaved("q", ["a", "", "b"]), interleaved("q", [""])
    ('q a q b', 'q')
    """
    return " ".join(f"{query} {answer}" for answer in answers if answer) or query
