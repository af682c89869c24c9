"""ALCE: answers with citations, scored for what they say, for how they say it, and for what they cite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import PositiveInt

from steelyard.contracts import LanguageModel, Sampling
from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.alce.answering import Answered, Respondent, best_of
from steelyard.evaluation.benchmarks.alce.citations import MARK
from steelyard.evaluation.benchmarks.alce.document_search import TFIDF, open_search
from steelyard.evaluation.benchmarks.alce.prompts import Way, head, own_prompt, read_prompt, shorter_of
from steelyard.evaluation.benchmarks.alce.records import LAYOUTS, Item, Subset, read_items
from steelyard.evaluation.benchmarks.alce.scoring import citations_of, fluency, marks_of, means, statement_tables
from steelyard.evaluation.entailment import ClassifierEntailment, Entailment, open_entailment
from steelyard.evaluation.evaluate import unwrapped
from steelyard.evaluation.measurement import MeasuredItem, Measurement
from steelyard.parts import part
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.loading import load

NAME = "alce"
TEMPERATURE = 0.5
"""Of the answers that ``rerank`` chooses from, as in the paper."""
ENOUGH = 1000
"""Fewer texts than this make MAUVE rough."""


@part(papers=[263], kind="measure")
def alce(
    model: LanguageModel,
    *,
    judge: str,
    subset: Subset = "asqa",
    data: str | None = None,
    way: Way = "vanilla",
    documents: PositiveInt = 5,
    rerank: PositiveInt = 1,
    post_hoc: str = "",
    prompts: str = "",
    features: str = "",
    samples: PositiveInt | None = None,
    seed: int = 42,
) -> Measurement:
    """Long answers with citations such as [1][3]: are they right, and do the cited documents support them?

    With s a sentence of an answer (for ``qampari`` a list entry after its question), C(s) the documents it cites
    and "=>" the judge's verdict that they entail it:

        citation_recall      share of the sentences with C(s) => s
        citation_precision   share of the citations c with C(s) => s and not (c =/> s and C(s) - c => s)
        str_em, str_hit      ``asqa``: share of sub-questions with a short answer in the answer; 1 for all
        list_precision, list_recall, list_recall_5, list_f1, list_f1_5
                             ``qampari``: entries against gold answers; with _5, five of them are all
        claim_recall         ``eli5``: share of the gold claims that the answer, without marks, entails
        mauve                fluency: :func:`steelyard.evaluation.mauve.mauve` of answers and people's answers
        length               words of the answer

    Each is a mean over questions with its interval, but ``mauve``. An answer is its first line; marks are removed
    for all but citations. Empty answers of sentences are left out of the citation means, as in the authors'
    program, and counted in a note. Two runs on the same questions can be compared (``steelyard compare``).

    Ways to answer: ``vanilla`` shows the first documents in full; ``summary`` and ``snippet`` show shorter forms,
    which the file has or the model writes first, and skip documents that do not help; ``interact`` shows snippets
    and lets the model open up to three documents at a step; ``inline-search`` opens the one closest to key words;
    ``closed-book`` shows none; ``own`` asks the bare question of a system with documents of its own, whose
    citations count as its marks. A system with a chat style is asked in a conversation; answers are greedy unless
    ``rerank`` draws several.

    Args:
        model: Anything that generates.
        judge: Who decides entailment: ``true:NAME`` for the TRUE model (the paper's is
            google/t5_xxl_true_nli_mixture), ``nli:FOLDER`` for a classifier, another name for a model asked for
            Yes or No, ``self`` for the measured model. Scores of different judges cannot be compared.
        subset: ``asqa``, ``qampari`` or ``eli5``.
        data: The authors' file, or the folder with the three.
        way: How it is answered.
        documents: How many documents are shown.
        rerank: So many answers are drawn at temperature 0.5, and the one with the best citation recall counts.
        post_hoc: Afterwards, give a sentence without a mark that of the closest of all the question's documents
            (of those shown, where any are): ``tfidf`` or an embedder's name. It also searches for
            ``inline-search``.
        prompts: A prompt file of the authors, two of whose solved examples are shown; by default an instruction in
            this package's words.
        features: The model whose last hidden states ``mauve`` compares (gpt2-large in the paper); left out
            without.
        samples: The first so many questions.
        seed: Of the solved examples, of ``rerank`` and of the clusters of ``mauve``.

    Raises:
        UsageError: The data are not here, or settings that contradict each other.
        InputError: Data or prompts that are not in the authors' layout.
        CapabilityError: The judge scores no texts, or ``features`` names a model without hidden states.

    Source:
        Enabling Large Language Models to Generate Text with Citations (2023), sections 3 to 5, and the authors'
        program (github.com/princeton-nlp/ALCE, commit 246c476) for what the paper leaves open. Unlike there,
        sentences are found by rules and not by NLTK's model, marks after a full stop belong to the sentence
        before, a number below 1 names no document, ``rerank`` judges by the cited documents (as the paper says;
        the program takes all), and answers are greedy where nothing is drawn. ROUGE and the RoBERTa-based QA
        scores are not computed.

    Relations:
        ``retrieval-metrics`` measures what is retrieved; ``quick`` and others measure answers without documents.
        Rerankers such as ``rankgpt-listwise`` change which documents come first.

    Example:
        >>> found = alce(model, judge="true:google/t5_xxl_true_nli_mixture", data="ALCE-data")  # doctest: +SKIP
        >>> found.values["citation_recall"]                                                    # doctest: +SKIP
    """
    items = read_items(subset, data)[:samples]
    asked, style = unwrapped(model)
    _check_way(asked, way, prompts)
    deciding = open_entailment(judge, asked)
    prompt = read_prompt(Path(prompts)) if prompts else own_prompt(way, LAYOUTS[subset])
    respondent = Respondent(
        asked,
        way,
        prompt,
        head(prompt, documents, shorter_of(way), seed),
        documents,
        style,
        open_search(post_hoc or TFIDF),
        LAYOUTS[subset],
        bool(post_hoc),
    )
    answers = _answers(respondent, items, deciding, rerank, seed)
    citations = citations_of(items, answers, LAYOUTS[subset], deciding)
    marks = marks_of(subset, items, answers, citations, deciding)
    values = means(marks)
    if features:
        values["mauve"] = fluency(items, answers, asked if features == "self" else load(features), seed)
    return Measurement(
        NAME,
        values,
        statement_tables(citations),
        tuple(_notes(answers, deciding, features, respondent)),
        {"subset": subset, "way": way, "judge": deciding.name, "questions": len(items)},
        items=tuple(
            MeasuredItem(item.id, own, item.question, item.answer, answer.text)
            for item, answer, own in zip(items, answers, marks, strict=True)
        ),
    )


def _check_way(model: LanguageModel, way: Way, prompts: str) -> None:
    if way == "own" and prompts:
        raise UsageError("alce: way=own asks the bare question; leave prompts out")
    if isinstance(model, GroundedModel) != (way == "own"):
        has = "has" if way != "own" else "has no"
        remedy = (
            "ask it with way=own" if way != "own" else "give its file a section `ground`, or choose another way"
        )
        raise UsageError(f"alce: {model.card.name} {has} documents of its own; {remedy}")


def _answers(
    respondent: Respondent, items: Sequence[Item], judge: Entailment, draws: int, seed: int
) -> list[Answered]:
    if draws == 1:
        return respondent.answers(items, Sampling(max_tokens=respondent.longest))

    def recall(answers: Sequence[Answered]) -> list[float]:
        found = citations_of(items, answers, respondent.layout, judge)
        return [0.0 if one is None else one.recall for one in found]

    samplings = [
        Sampling(max_tokens=respondent.longest, temperature=TEMPERATURE, seed=seed + i) for i in range(draws)
    ]
    return best_of(respondent, items, samplings, recall)


def _notes(answers: Sequence[Answered], judge: Entailment, features: str, respondent: Respondent) -> Iterator[str]:
    yield f"Entailment was judged by {judge.name}; scores by other judges are other scores."
    empty = sum(not answer.text for answer in answers)
    if empty:
        yield f"{empty} of {len(answers)} answers are empty."
    bare = sum(bool(answer.text) and not MARK.search(answer.text) for answer in answers)
    if bare:
        yield f"{bare} of {len(answers)} answers cite nothing."
    if isinstance(judge, ClassifierEntailment) and judge.cut[0]:
        yield f"{judge.cut[0]} pairs were too long for the judge and lost the end of their documents."
    if not features:
        yield "Fluency was not measured: name the model whose features MAUVE compares as features=NAME."
    elif len(answers) < ENOUGH:
        yield f"MAUVE is meant for thousands of texts; of {len(answers)} it is rough and too high."
    fewer = sum(len(answer.documents) < respondent.documents for answer in answers)
    if fewer and respondent.way not in ("closed-book", "own"):
        yield f"{fewer} of {len(answers)} questions were shown fewer than {respondent.documents} documents."
