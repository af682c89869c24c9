"""Perturbations of questions that leave the right answer right: for robustness and for fairness.

    perturbed(row, "typos", seed=0)         # the same row, written by a hurried hand

Each is drawn from seed, name and the row's id, so that it is the same everywhere. Perturbations for robustness
change passage and question; those for fairness also the choices and answers, one text like the other. A row whose
choices would become equal is left as it is.

Source: Liang et al. 2023, "Holistic Evaluation of Language Models", sections 4.5 and 4.6 and appendix D.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from steelyard.contracts import Sample
from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.helm.lexicons import (
    CONTRACTIONS,
    DIALECT,
    GENDER_TERMS,
    KEYS,
    MISSPELLINGS,
    NAMES,
)
from steelyard.parts import nearest

TYPO_RATE, MISSPELLING_RATE = 0.05, 0.5

Change = Callable[[str, Random], str]


def typos(text: str, rng: Random) -> str:
    """Each letter becomes one beside it on the keyboard with probability 0.05."""
    return "".join(_typo(c, rng) if c.lower() in KEYS and rng.random() < TYPO_RATE else c for c in text)


def misspellings(text: str, rng: Random) -> str:
    """Words of the list are misspelled in the usual way with probability 0.5."""
    return _replaced(text, MISSPELLINGS, lambda: rng.random() < MISSPELLING_RATE)


def lowercase(text: str, rng: Random) -> str:
    """Everything in lower case."""
    return text.lower()


def spaces(text: str, rng: Random) -> str:
    """Each space becomes one to three."""
    return re.sub(" ", lambda match: " " * rng.randint(1, 3), text)


def contractions(text: str, rng: Random) -> str:
    """Pairs of words such as "do not" become "don't"."""
    return _replaced(text, CONTRACTIONS)


def mild_mix(text: str, rng: Random) -> str:
    """Lower case, contractions, misspellings and spaces together: HELM's standard for robustness."""
    return spaces(misspellings(contractions(lowercase(text, rng), rng), rng), rng)


def dialect(text: str, rng: Random) -> str:
    """Words as African American English is often spelled."""
    return _replaced(text, DIALECT)


def gender(text: str, rng: Random) -> str:
    """Male pronouns and words for people become female ones."""
    return _replaced(text, GENDER_TERMS)


def names(text: str, rng: Random) -> str:
    """First names common among White Americans become ones common among Black Americans, of the same gender."""
    table: dict[str, str] = {}
    for given, replacing in NAMES.values():
        drawn = rng.sample(replacing, len(replacing))
        table.update(zip(given, drawn, strict=False))
    pattern = re.compile(r"\b(" + "|".join(table) + r")\b")
    return pattern.sub(lambda match: table[match[1]], text)


ROBUSTNESS: Mapping[str, Change] = {
    "mild-mix": mild_mix,
    "typos": typos,
    "misspellings": misspellings,
    "lowercase": lowercase,
    "spaces": spaces,
    "contractions": contractions,
}
FAIRNESS: Mapping[str, Change] = {"dialect": dialect, "gender": gender, "names": names}
DEFAULT = ("mild-mix", "typos", "contractions", "dialect", "gender", "names")


def check_perturbation(name: str) -> str:
    """The perturbation's name, or a UsageError with the nearest one."""
    known = {**ROBUSTNESS, **FAIRNESS}
    if name not in known:
        raise UsageError(f"unknown perturbation {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return name


def perturbed(row: Sample, name: str, *, seed: int) -> Sample | None:
    """The row with its texts changed, or None where nothing changes or two choices would become equal.

    The same id, right choice, group and weight.
    """
    change = {**ROBUSTNESS, **FAIRNESS}[check_perturbation(name)]

    def changed(text: str) -> str:
        return change(text, Random(f"{seed}:{name}:{row.id}"))

    data: dict[str, Any] = dict(row.data)
    for column in ("context", "prompt"):
        if column in data:
            data[column] = changed(data[column])
    if "messages" in data:
        data["messages"] = [{**turn, "content": changed(turn["content"])} for turn in data["messages"]]
    if name in FAIRNESS:
        for column in ("choices", "answers"):
            if column in data:
                data[column] = [changed(text) for text in data[column]]
    if "choices" in data and len(set(data["choices"])) < len(data["choices"]):
        return None
    return None if data == dict(row.data) else replace(row, data=data)


def _typo(character: str, rng: Random) -> str:
    near = rng.choice(KEYS[character.lower()])
    return near.upper() if character.isupper() else near


def _replaced(text: str, table: Mapping[str, str], when: Callable[[], bool] = lambda: True) -> str:
    """Whole words (or pairs of words) of a table replaced, their capitals kept; longer entries first."""
    lower = {key.lower(): value for key, value in table.items()}
    entries = "|".join(re.escape(key) for key in sorted(lower, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w'-])({entries})(?![\w'-])", re.IGNORECASE)
    return pattern.sub(lambda match: _cased(match[1], lower[match[1].lower()]) if when() else match[1], text)


def _cased(word: str, replacement: str) -> str:
    if word.isupper() and len(word) > 1:
        return replacement.upper()
    return replacement[0].upper() + replacement[1:] if word[0].isupper() else replacement
