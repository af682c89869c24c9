"""How finely tokenizers cut a text, and whether that goes with benchmark scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from steelyard.contracts import Interval, OpenWeights
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.calibration import correlation
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import ratio_interval
from steelyard.parts import part

_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[\p{L}\p{M}\p{N}]+(?:['’][\p{L}]+)*"
)
FIGURES = ("fertility", "continued words", "characters per token", "bytes per token")


class Cuts(NamedTuple):
    """What a tokenizer made of one text: numbers of tokens, words, words of several tokens, characters, bytes."""

    tokens: int
    words: int
    continued: int
    word_tokens: int
    characters: int
    utf8_bytes: int


@part(papers=[3], kind="measure")
def tokenizer_fertility(models: Sequence[OpenWeights], *, texts: str, scores: str | None = None) -> Measurement:
    """Tokens per word and per character of models' tokenizers, and their correlation with benchmark scores.

    Fertility is the mean number of tokens that a word becomes when it is tokenized by itself, continued words the
    share that becomes more than one. Compression is given as characters and UTF-8 bytes of running text per token.
    A word is a run of letters, digits and marks; in scripts written without spaces (Han, Kana, Thai, Lao, Khmer,
    Burmese) it is one character, as a segmentation into words would be a model of its own. Intervals take the
    lines of the text as drawn.

    Args:
        models: Models with a tokenizer.
        texts: A UTF-8 text file; each line that is not blank is one text.
        scores: A JSON file, model name -> benchmark score. With three models or more, the correlation of each
            figure with the scores is given.

    Raises:
        InputError: A file cannot be read, has no words, or has no score for a model.
        UsageError: Scores for fewer than three models.

    Source:
        Rust et al. 2021, "How Good is Your Tokenizer?", section 3.3 (fertility, continued words); "An Improved
        Traditional Chinese Evaluation Suite for Foundation Model" (2024), section 5 (correlation with scores).

    Relations:
        ``mcq-exam-benchmark`` gives the scores that the paper correlates with.

    Example:
        >>> tokenizer_fertility([model], texts="lines.txt").values["fertility"]  # doctest: +SKIP
    """
    lines = _lines(Path(texts))
    known = _scores(Path(scores), [model.card.name for model in models]) if scores is not None else None
    figures = {model.card.name: summarised([cuts(line, _encoder(model)) for line in lines]) for model in models}
    rows: list[tuple[Cell, ...]] = [(name, *(figure[key] for key in FIGURES)) for name, figure in figures.items()]
    tables = [
        Table("Tokenizers", ("model", *FIGURES), tuple(rows), "words of scripts without spaces are characters")
    ]
    values = dict(next(iter(figures.values()))) if len(figures) == 1 else {}
    if known is not None:
        correlations = {
            key: correlation([figures[name][key].value for name in figures], [known[name] for name in figures])
            for key in FIGURES
        }
        values.update(
            {
                f"correlation of {key} and score": found.pearson
                for key, found in correlations.items()
                if math.isfinite(found.pearson.value)  # undefined where all tokenizers or scores are alike
            }
        )
        tables.append(
            Table(
                "Correlation with scores",
                ("figure", "Pearson", "Spearman", "p of Pearson", "p of Spearman"),
                tuple((key, c.pearson, c.spearman, c.pearson_p, c.spearman_p) for key, c in correlations.items()),
            )
        )
    return Measurement("tokenizer-fertility", values, tuple(tables))


def words_of(text: str) -> list[str]:
    """The words of a text; characters where a script has no spaces.

    >>> words_of("It's 台灣 tea.")
    ["It's", '台', '灣', 'tea']
    """
    return [str(word) for word in _WORD.findall(text)]


def cuts(text: str, encode: Callable[[str], int]) -> Cuts:
    """The counts of one text; ``encode`` says how many tokens a text becomes."""
    words = words_of(text)
    pieces = [encode(word) for word in words]
    return Cuts(
        tokens=encode(text),
        words=len(words),
        continued=sum(count > 1 for count in pieces),
        word_tokens=sum(pieces),
        characters=len(text),
        utf8_bytes=len(text.encode("utf-8")),
    )


def summarised(found: Sequence[Cuts]) -> dict[str, Interval]:
    """The figures of a tokenizer over texts, as ratios of sums with intervals over texts."""
    worded = [c for c in found if c.words]
    return {
        "fertility": ratio_interval([c.word_tokens for c in worded], [c.words for c in worded]),
        "continued words": ratio_interval([c.continued for c in worded], [c.words for c in worded]),
        "characters per token": ratio_interval([c.characters for c in found], [c.tokens for c in found]),
        "bytes per token": ratio_interval([c.utf8_bytes for c in found], [c.tokens for c in found]),
    }


def _encoder(model: OpenWeights) -> Callable[[str], int]:
    tokenizer = model.tokenizer
    known: dict[str, int] = {}

    def encode(text: str) -> int:
        if text not in known:
            known[text] = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return known[text]

    return encode


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({str(error)[:80]}); give a text file") from None
    if not any(words_of(line) for line in lines):
        raise InputError(f"{file}: has no words to tokenize; give a text file with one text a line")
    return lines


def _scores(file: Path, names: Sequence[str]) -> dict[str, float]:
    if len(set(names)) < 3:
        raise UsageError(f"a correlation needs three models or more, not {len(set(names))}; leave scores out")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        known = {name: float(record[name]) for name in names}
    except KeyError as error:
        raise InputError(f"{file}: no score for the model {error}; add it") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        problem = str(error).splitlines()[0][:80]
        raise InputError(f'{file}: is not a JSON object of numbers ({problem}); write {{"model": 0.5}}') from None
    return known
