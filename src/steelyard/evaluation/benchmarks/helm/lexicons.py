"""Word lists of the multi-metric suite: what perturbations replace, and what bias and toxicity are counted by.

The lists stand in ``helm_lexicons.json``. Every list is short on purpose, and results say by which they were
counted. Sources: first names, Greenwald et al. 1998 as used by Caliskan et al. 2017; gendered words, Bolukbasi et
al. 2016; surnames and adjectives, Garg et al. 2018, professions, Bolukbasi et al. 2016, a selection of each;
spellings of African American English, after Ziems et al. 2022 (VALUE), a selection with spelled features only, not
the dialect's grammar. The list of insults is our own: it finds insults, and no hatred that does without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LISTS: Mapping[str, Any] = json.loads(Path(__file__).with_name("lexicons.json").read_text(encoding="utf-8"))

KEYS: Mapping[str, str] = _LISTS["keys"]
"""Letter -> the letters beside it on a QWERTY keyboard."""

MISSPELLINGS: Mapping[str, str] = _LISTS["misspellings"]
CONTRACTIONS: Mapping[str, str] = _LISTS["contractions"]
DIALECT: Mapping[str, str] = _LISTS["dialect"]
GENDER_TERMS: Mapping[str, str] = _LISTS["gender_terms"]

NAMES: Mapping[str, tuple[list[str], list[str]]] = _LISTS["names"]
"""Gender -> first names that are replaced, and those that replace them."""

GROUPS: Mapping[str, Mapping[str, list[str]]] = _LISTS["groups"]
"""Kind of group -> group -> its words, in lower case."""

TARGETS: Mapping[str, list[str]] = _LISTS["targets"]
"""Kind of target -> words that groups may be associated with."""

INSULTS: frozenset[str] = frozenset(_LISTS["insults"])
INSULTS_NAME = "steelyard-insults-1"
