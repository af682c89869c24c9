"""Translation scores that cannot be had with an empty answer or one in the wrong language."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def language_aware(
    scores: Sequence[float], translations: Sequence[str], language: str, identify: Callable[[str], str]
) -> list[float]:
    """The scores, with 0 for translations that are empty or not in ``language``.

    A learned metric such as COMET gives copies of the source and empty answers far more than nothing.

    Args:
        scores: one for each translation, of any metric.
        translations: what the model wrote.
        language: code of the target language, as ``identify`` gives it.
        identify: language of a text; it is not asked about empty ones.

    Source: Zebaze, Sagot and Bawden, "In-Context Example Selection via Similarity Search Improves Low-Resource
    Machine Translation", section 4 (laCOMET).

    Example:
        >>> language_aware([0.8, 0.7], ["un chat", "a cat"], "fr", lambda text: "fr" if "un" in text else "en")
        [0.8, 0.0]
    """
    return [
        score if text.strip() and identify(text) == language else 0.0
        for score, text in zip(scores, translations, strict=True)
    ]
