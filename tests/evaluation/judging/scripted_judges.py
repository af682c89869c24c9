"""Models with a known way to judge, for tests: the first shown, the longer answer, the right one at times."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from steelyard.models.scripted import ScriptedModel

_PAIR = re.compile(r"Answer A:\n(.*?)\n\nAnswer B:\n(.*?)\n\n(?:Reply|Compare|You are)", re.DOTALL)


def shown(prompt: str) -> tuple[str, str]:
    """The two answers of a comparison prompt, in the order shown."""
    found = _PAIR.search(prompt)
    assert found is not None, prompt
    return found[1], found[2]


def model(answer: Callable[[str], str], name: str = "scripted") -> ScriptedModel:
    return ScriptedModel(answer, name=name)


def always(word: str, name: str = "constant") -> ScriptedModel:
    return ScriptedModel(lambda prompt: word, name=f"{name}-{word}")


def _longer(prompt: str) -> str:
    first, second = shown(prompt)
    return "Tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def longer(name: str = "longer") -> ScriptedModel:
    return ScriptedModel(_longer, name=name)


def verifier(accuracy: float, seed: int, name: str) -> ScriptedModel:
    """Says True or False about an answer, rightly with this probability, independently of other seeds.

    An answer is right where it equals the reference; chance comes from a hash of seed and question.
    """

    def answer(prompt: str) -> str:
        found = re.search(
            r"Question:\n(.*?)\n\nCorrect answer:\n(.*?)\n\nAnswer to check:\n(.*?)\n\n", prompt, re.S
        )
        assert found is not None
        draw = int(hashlib.sha256(f"{seed}:{found[1]}".encode()).hexdigest()[:12], 16) / 16**12
        right = (found[2] == found[3]) == (draw < accuracy)
        return f"{right}. Because it is so."

    return ScriptedModel(answer, name=name)
