"""Documents cut into passages of a few sentences, ranked by TF-IDF against a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UsageError

SENTENCES = 6
_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-ÞА-Я])|\n{2,}")


class RankedPassages(NamedTuple):
    """Passages, best first, with the probability of each given the question: shape (passages,)."""

    texts: tuple[str, ...]
    probabilities: NDArray[np.float64]


def sentence_passages(text: str, sentences: int = SENTENCES) -> list[str]:
    """Runs of ``sentences`` sentences, which overlap nowhere; the last one may be shorter.

    >>> sentence_passages("It rained. It poured! Did it? Yes.", 3)
    ['It rained. It poured! Did it?', 'Yes.']
    """
    found = []
    begin = 0
    for match in _END.finditer(text):
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    found = [sentence for sentence in [*found, text[begin:].strip()] if sentence]
    return [" ".join(found[i : i + sentences]) for i in range(0, len(found), sentences)]


def tfidf_cosines(question: str, passages: Sequence[str]) -> NDArray[np.float64]:
    """Cosine of the TF-IDF vectors of the question and each passage: shape (passages,).

    Document frequencies are those of the passages at hand.

    >>> tfidf_cosines("red fox", ["A red fox.", "A blue whale."]).round(2).tolist()
    [1.0, 0.0]
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise UsageError(
            "ranking passages by TF-IDF needs scikit-learn: pip install 'steelyard[evaluation]'"
        ) from error
    vectors = TfidfVectorizer()
    if not any(map(vectors.build_analyzer(), passages)):
        return np.zeros(len(passages))
    known = vectors.fit_transform(passages)
    return np.asarray((known @ vectors.transform([question]).T).todense(), dtype=np.float64).ravel()


def rank_passages(question: str, documents: Sequence[str], count: int) -> RankedPassages:
    """The ``count`` passages of the documents that are nearest to the question.

    Their probabilities are their cosines over the sum of them; equal ones where no passage shares a word with it.
    """
    passages = list(dict.fromkeys(p for document in documents for p in sentence_passages(document)))
    if not passages:
        return RankedPassages((), np.zeros(0))
    cosines = tfidf_cosines(question, passages)
    best = np.argsort(-cosines, kind="stable")[:count]
    chosen = cosines[best]
    total = float(chosen.sum())
    shares = chosen / total if total > 0 else np.full(len(best), 1 / len(best))
    return RankedPassages(tuple(passages[i] for i in best), shares)
