"""LMentry's items, generated from this project's own words: arguments that obey a task's rule by construction."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.lmentry.prompts import TEMPLATES, core_of

WORDS_FILE = Path(__file__).with_name("words.json")
Arguments = dict[str, Any]
RARE_ENDINGS = frozenset("jqv")
_ATTEMPTS = 5000


@dataclass(frozen=True)
class WordBank:
    """Words and what is known of them.

    Attributes:
        words: Common words.
        sentence_words: Words to write sentences with.
        categories: Kinds of things, each with words that name some.
        sentences: Simple sentences without punctuation.
        homophones: Pairs of words that sound alike, each with words related to the first.
        pronunciations: ARPAbet of words that are pronounced in one way only.
    """

    words: tuple[str, ...]
    sentence_words: tuple[str, ...]
    categories: Mapping[str, Sequence[str]]
    sentences: tuple[str, ...]
    homophones: tuple[Mapping[str, Any], ...]
    pronunciations: Mapping[str, str]

    @classmethod
    def read(cls, file: Path = WORDS_FILE) -> WordBank:
        """The bank that this package carries."""
        data = json.loads(file.read_text(encoding="utf-8"))
        lists = {name: tuple(data[name]) for name in ("words", "sentence_words", "sentences", "homophones")}
        return cls(categories=data["categories"], pronunciations=data["pronunciations"], **lists)

    @cached_property
    def rhymes(self) -> tuple[tuple[str, ...], ...]:
        """Groups of two or more words that rhyme."""
        groups: dict[str, list[str]] = {}
        for word in sorted(self.pronunciations):
            groups.setdefault(rhyming_part(self.pronunciations[word]), []).append(word)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def rhyming_part(pronunciation: str) -> str:
    """The sounds from the vowel with the main stress on, without stress marks.

    >>> rhyming_part("T AH0 G EH1 DH ER0")
    'EH DH ER'
    """
    sounds = pronunciation.split()
    start = max(place for place, sound in enumerate(sounds) if sound.endswith("1"))
    return " ".join(sound.rstrip("012") for sound in sounds[start:])


def draw_arguments(bank: WordBank, name: str, count: int, *, seed: int = 0) -> list[Arguments]:
    """Up to ``count`` different draws of arguments for a task or variant; fewer where there are no more.

    Where one of two arguments is the answer, it is the first and the second in turn.

    Raises:
        UsageError: No such task.
    """
    core = core_of(name)
    if core not in _DRAWS:
        raise UsageError(f"lmentry has no task {name!r}")
    variant = name.removeprefix(core).removeprefix("_")
    rng = random.Random(f"lmentry:{seed}:{name}")
    found: dict[str, Arguments] = {}
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            break
        drawn = _DRAWS[core](bank, rng, variant, len(found) % 2)
        if drawn is not None:
            found.setdefault(_key(drawn), drawn)
    return list(found.values())


def _key(arguments: Arguments) -> str:
    free = {name: value for name, value in arguments.items() if name not in ("answer_index", "word1", "word2")}
    return json.dumps(free, sort_keys=True)


def render(name: str, template: int, arguments: Arguments) -> str:
    """The prompt of one item."""
    shown = dict(arguments)
    if "words" in arguments:
        shown["options"] = quoted(arguments["words"])
    return TEMPLATES[core_of(name)][template].format(**shown)


def quoted(words: Sequence[str]) -> str:
    """``"a", "b" and "c"``."""
    marked = [f'"{word}"' for word in words]
    return f"{', '.join(marked[:-1])} and {marked[-1]}"


def _pair(answer: Any, distractor: Any, index: int, names: tuple[str, str] = ("word1", "word2")) -> Arguments:
    both = (answer, distractor) if index == 0 else (distractor, answer)
    return {
        "answer": answer,
        "distractor": distractor,
        "answer_index": index,
        **dict(zip(names, both, strict=True)),
    }


def _alphabetical(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
    answer, distractor = sorted(rng.sample(bank.words, 2))
    gap = ord(distractor[0]) - ord(answer[0])
    fits = {
        "": True,
        "far_first_letter": gap >= 13,
        "different_first_letter": gap >= 1,
        "consecutive_first_letter": gap == 1,
        "same_first_letter": gap == 0,
    }
    return _pair(answer, distractor, index) if fits[variant] else None


def _lengths(longer: bool) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        short, long = sorted(rng.sample(bank.words, 2), key=len)
        gap = len(long) - len(short)
        fits = {"": gap >= 1, "length_diff_3plus": gap >= 3, "length_diff_1": gap == 1}
        # Words that repeat a letter have fewer letters if those are counted once.
        if not fits[variant] or any(len(set(word)) < len(word) for word in (short, long)):
            return None
        return _pair(long, short, index) if longer else _pair(short, long, index)

    return draw


def _numbers(bigger: bool) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        low, high = sorted(rng.sample(range(10, 1000), 2))
        answer, distractor = (high, low) if bigger else (low, high)
        return _pair(answer, distractor, index, ("n1", "n2"))

    return draw


def _rhyme(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
    group = rng.choices(bank.rhymes, weights=[len(group) for group in bank.rhymes])[0]
    query, answer = rng.sample(group, 2)
    distractor = rng.choice(sorted(set(bank.pronunciations) - set(group)))
    sounds = bank.pronunciations
    if query.endswith(answer) or answer.endswith(query) or sounds[query] == sounds[answer]:
        return None
    if variant == "orthographically_similar" and (
        answer[-2:] != query[-2:] or set(distractor[-2:]) & set(query[-2:])
    ):
        return None
    if variant == "orthographically_different":
        if answer[-1] == query[-1] or answer[-2] == query[-2]:
            return None
        alike = [w for w in sorted(sounds) if w not in group and w[-2:] == query[-2:]]
        alike = [w for w in alike if not w.endswith(query) and not query.endswith(w)]
        if not alike:
            return None
        distractor = rng.choice(alike)
    return {"query": query, **_pair(answer, distractor, index)}


def _homophone(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
    entry = rng.choice(bank.homophones)
    turned = rng.random() < 0.5
    query, answer = reversed(entry["pair"]) if turned else entry["pair"]
    # A word related to the query tempts; it is known for the first of the pair only.
    related = not turned and rng.random() < 0.5
    distractor = rng.choice(entry["related"]) if related else rng.choice(bank.words)
    if distractor in entry["pair"] or bank.pronunciations.get(distractor) == entry["sound"]:
        return None
    kind = "semantic" if related else "easy"
    return {"query": query, "distractor_type": kind, **_pair(answer, distractor, index)}


def _association(most: bool) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        own, other = rng.sample(sorted(bank.categories), 2)
        single, many = (own, other) if most else (other, own)
        answer = rng.choice(list(bank.categories[single]))
        distractors = rng.sample(list(bank.categories[many]), 4)
        place = rng.randrange(5)
        words = [*distractors[:place], answer, *distractors[place:]]
        return {
            "category": own,
            "answer": answer,
            "distractors": distractors,
            "answer_index": place,
            "words": words,
        }

    return draw


def _category(all_of_them: bool) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        usual = (0, 1) if all_of_them else (4, 5)
        strangers = int(variant[0]) if variant else usual[index]
        category = rng.choice(sorted(bank.categories))
        others = [word for name, words in bank.categories.items() if name != category for word in words]
        words = rng.sample(list(bank.categories[category]), 5 - strangers) + rng.sample(sorted(others), strangers)
        rng.shuffle(words)
        return {"category": category, "words": words, "num_words": 5, "num_distractors": strangers}

    return draw


def _neighbour(step: int) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        sentence = rng.choice(bank.sentences)
        words = sentence.split()
        place = rng.randrange(len(words) - 1)
        query, answer = words[place : place + 2] if step > 0 else words[place : place + 2][::-1]
        lowered = sentence.lower().split()
        if lowered.count(query.lower()) > 1 or lowered.count(answer.lower()) > 1:
            return None
        return {"sentence": sentence, "query": query, "answer": answer}

    return draw


def _end_of(kind: str, place: int) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        if kind == "word":
            sentence = rng.choice(bank.sentences)
            return {"sentence": sentence, "answer": sentence.split()[place]}
        word = rng.choice(bank.words)
        return {"word": word, "answer": word[place]}

    return draw


def _word(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
    return {"word": rng.choice(bank.sentence_words)}


def _letter(without: frozenset[str]) -> Callable[[WordBank, random.Random, str, int], Arguments | None]:
    def draw(bank: WordBank, rng: random.Random, variant: str, index: int) -> Arguments | None:
        return {"letter": rng.choice([c for c in string.ascii_lowercase if c not in without])}

    return draw


_DRAWS: Mapping[str, Callable[[WordBank, random.Random, str, int], Arguments | None]] = {
    "sentence_containing": _word,
    "sentence_not_containing": _word,
    "word_containing": _letter(frozenset()),
    "word_not_containing": _letter(frozenset()),
    "most_associated_word": _association(True),
    "least_associated_word": _association(False),
    "any_words_from_category": _category(False),
    "all_words_from_category": _category(True),
    "first_alphabetically": _alphabetical,
    "more_letters": _lengths(True),
    "less_letters": _lengths(False),
    "bigger_number": _numbers(True),
    "smaller_number": _numbers(False),
    "rhyming_word": _rhyme,
    "homophones": _homophone,
    "word_after": _neighbour(1),
    "word_before": _neighbour(-1),
    "starts_with_word": _word,
    "ends_with_word": _word,
    "starts_with_letter": _letter(frozenset()),
    "ends_with_letter": _letter(RARE_ENDINGS),
    "first_word": _end_of("word", 0),
    "last_word": _end_of("word", -1),
    "first_letter": _end_of("letter", 0),
    "last_letter": _end_of("letter", -1),
}
