"""A corpus large enough to estimate discounts, drawn from a small grammar."""

from __future__ import annotations

import random

import pytest

NOUNS = [
    "cat",
    "dog",
    "bird",
    "fox",
    "hen",
    "mouse",
    "king",
    "ship",
    "house",
    "tree",
    "stone",
    "river",
    "cook",
    "mayor",
    "lamp",
]
VERBS = ["sees", "likes", "follows", "paints", "finds", "hears", "lifts"]
ADJECTIVES = ["old", "red", "small", "quick", "sad", "blue", "odd"]


def sentence(draw: random.Random) -> str:
    def noun() -> str:
        words = ["the" if draw.random() < 0.7 else "a"]
        if draw.random() < 0.5:
            words.append(draw.choice(ADJECTIVES))
        if draw.random() < 0.35:  # a long tail of rare words
            return " ".join([*words, f"thing{min(int(draw.paretovariate(0.6)), 10**6)}"])
        return " ".join([*words, NOUNS[min(int(draw.expovariate(0.25)), len(NOUNS) - 1)]])

    tail = f" near {noun()}" if draw.random() < 0.4 else ""
    return f"{noun()} {draw.choice(VERBS)} {noun()}{tail}"


def corpus(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [sentence(draw) for _ in range(count)]


@pytest.fixture(scope="session")
def training() -> list[str]:
    return corpus(400, seed=1)


@pytest.fixture(scope="session")
def heldout() -> list[str]:
    return [*corpus(40, seed=2), "the zebra sees a cat"]
