"""Graders: pure functions from an answer and its references to a value.

:data:`RULES` names the version of every rule here; it is part of a task's fingerprint, so a change of rules
never meets results graded by the old ones.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

import regex  # type: ignore[import-untyped]

from steelyard.errors import InputError

RULES = "grading/2"

PATTERN_SECONDS = 2.0
"""How long one pattern may search one output."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+(?![\w]))?"
    r"|(?<![\w.])[-+]?\.[0-9]+"
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "«": "»", "**": "**"}


def normalise_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles (a, an, the), single spaces.

    Source: Rajpurkar et al. 2016, the official evaluation script of SQuAD 1.1.

    >>> normalise_answer("The  Eiffel Tower!")
    'eiffel tower'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def extract_answer(output: str) -> str:
    """The answer in a model's output, by the first-line rule.

    The first line that is not blank; a leading "Answer:" or "A:", then surrounding quotes and one closing
    full stop are removed. Numeric and pattern grading read the whole output instead.

    >>> extract_answer('Answer: "Paris".')
    'Paris'
    """
    line = next((line.strip() for line in output.splitlines() if line.strip()), "")
    line = re.sub(r"^(?:answer|a)\s*:\s*", "", line, flags=re.IGNORECASE)
    for _ in range(2):  # a full stop may stand inside or outside the quotes
        line = _unquote(line.strip())
        if line.endswith(".") and not line.endswith(".."):
            line = line[:-1].rstrip()
    return line


def exact_match(prediction: str, accepted: Sequence[str]) -> float:
    """1 if the prediction equals an accepted answer after :func:`normalise_answer`.

    An accepted answer that normalises to nothing ("The", "?") is compared as written, ignoring case.

    >>> exact_match("the Seine", ["Seine", "River Seine"])
    1.0
    """
    said = normalise_answer(prediction)
    for answer in accepted:
        wanted = normalise_answer(answer)
        if said == wanted if wanted else prediction.strip().casefold() == answer.strip().casefold():
            return 1.0
    return 0.0


def contains(output: str, accepted: Sequence[str]) -> float:
    """1 if an accepted answer occurs in the output as whole words, after :func:`normalise_answer`.

    >>> contains("It is the River Seine, of course.", ["seine"])
    1.0
    """
    said = f" {normalise_answer(output)} "
    for answer in accepted:
        wanted = normalise_answer(answer)
        if f" {wanted} " in said if wanted else answer.strip().casefold() in output.casefold():
            return 1.0
    return 0.0


def token_f1(prediction: str, accepted: Sequence[str]) -> float:
    """The best F1 over accepted answers between the bags of normalised words.

    Source: Rajpurkar et al. 2016, SQuAD; both empty counts 1 and one empty 0, as in SQuAD 2.0.

    >>> token_f1("in Paris France", ["Paris"])
    0.5
    """
    return max((_f1(prediction, answer) for answer in accepted), default=0.0)


def last_number(text: str) -> float | None:
    """The last number in a text; thousands separators, signs, decimals, exponents and units are understood.

    A hyphen between digits or after a letter is not a sign. Returns None without a (finite) number.

    >>> last_number("It costs $1,234.50 in all.")
    1234.5
    """
    found = None
    for match in NUMBER.finditer(text.replace("−", "-")):
        found = match.group()
    if found is None:
        return None
    value = float(found.replace(",", ""))
    return value if math.isfinite(value) else None


def numeric_match(output: str, accepted: Sequence[str]) -> float:
    """1 if the last number of the output equals (to 1e-9, relatively) that of an accepted answer."""
    said = last_number(output)
    if said is None:
        return 0.0
    wanted = (last_number(answer) for answer in accepted)
    return float(any(w is not None and math.isclose(said, w, rel_tol=1e-9, abs_tol=1e-12) for w in wanted))


def check_pattern(pattern: str) -> str | None:
    """Why a pattern is not a valid regular expression, or None if it is."""
    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def pattern_match(
    output: str, pattern: str, accepted: Sequence[str] = (), *, seconds: float = PATTERN_SECONDS
) -> float:
    r"""1 if the pattern is found in the output; with a group, if the first group's text is an accepted answer.

    A pattern with a group extracts the answer, which must then equal one of ``accepted`` as in
    :func:`exact_match`; without ``accepted`` finding it is enough. The search runs in the ``regex`` engine
    under a time limit, because no cheap check tells which patterns backtrack without end.

    Raises :class:`InputError` when the limit is reached.

    >>> pattern_match("The answer is (B).", r"answer is \(?([A-D])", ["B"])
    1.0
    """
    try:
        found = regex.search(pattern, output, timeout=seconds)
    except TimeoutError:
        raise InputError(
            f"the pattern {pattern!r} took longer than {seconds:g} s on one output; "
            "rewrite it without nested repetition such as (a+)+"
        ) from None
    if found is None:
        return 0.0
    if found.re.groups and accepted:
        return exact_match(found.group(1) or "", accepted)
    return 1.0


def choice_marks(
    choices: Sequence[str], answer: int, logprobs: Sequence[float], token_counts: Sequence[int]
) -> tuple[dict[str, float], int]:
    """Whether the right choice has the highest log-likelihood, under four normalisations.

    ``accuracy`` raw, ``accuracy_norm`` per character (lm-evaluation-harness's acc_norm), ``accuracy_token``
    per token (absent where a model does not say how many there were), ``accuracy_byte`` per UTF-8 byte. Ties
    go to the earlier choice.

    Args:
        choices: The continuations as scored, without the delimiter before them.
        answer: Index of the right choice.
        logprobs: Natural log-likelihood of each choice.
        token_counts: Tokens of each choice, 0 where unknown.

    ``confidence`` is the share of the predicted choice in the total probability of all, exp(l_best) / sum exp(l):
    what calibration compares with accuracy.

    Returns:
        The values, and the index of the choice with the highest raw log-likelihood.
    """
    lengths: Mapping[str, Sequence[float]] = {
        "accuracy": [1.0] * len(choices),
        "accuracy_norm": [len(choice) for choice in choices],
        "accuracy_token": token_counts,
        "accuracy_byte": [len(choice.encode("utf-8")) for choice in choices],
    }
    values: dict[str, float] = {}
    for name, length in lengths.items():
        if all(length):
            values[name] = float(_best([p / n for p, n in zip(logprobs, length, strict=True)]) == answer)
    best = _best(logprobs)
    if math.isfinite(logprobs[best]):
        values["confidence"] = 1.0 / math.fsum(math.exp(p - logprobs[best]) for p in logprobs)
    return values, best


def bits_per_byte(logprob: float, text: str) -> tuple[float, int]:
    """-log2 P(text) per UTF-8 byte, and the number of bytes.

    >>> bits_per_byte(-8 * math.log(2), "abcd")
    (2.0, 4)
    """
    size = len(text.encode("utf-8"))
    return -logprob / math.log(2) / size, size


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: values[i])


def _f1(prediction: str, answer: str) -> float:
    said, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _unquote(line: str) -> str:
    for opening, closing in _QUOTES.items():
        inside = line[len(opening) : len(line) - len(closing)]
        if len(line) > len(opening + closing) and line.startswith(opening) and line.endswith(closing):
            return line if opening in inside else inside.strip()
    return line
