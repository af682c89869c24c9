"""A corpus of sentences made into a benchmark: without duplicates, shuffled, in shards, with a vocabulary."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from steelyard.contracts import Texts
from steelyard.errors import InputError, UsageError
from steelyard.models.ngrams.words import UNKNOWN, Vocabulary, build_vocabulary, sentences

TRAINING = "training-monolingual.tokenized.shuffled"
HELDOUT = "heldout-monolingual.tokenized.shuffled"

Lines = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SentenceCorpus:
    """Shards of training sentences, parts of held-out ones, and the vocabulary of the former.

    Sentences are words one blank apart; their marks are added where they are read.
    """

    training: tuple[Lines, ...]
    heldout: tuple[Lines, ...]
    vocabulary: Vocabulary

    def with_unknown(self, lines: Iterable[str]) -> list[str]:
        """Lines with ``<unk>`` in the place of words outside the vocabulary."""
        return [" ".join(w if w in self.vocabulary else UNKNOWN for w in line.split()) for line in lines]


def prepare_corpus(
    texts: Texts, *, seed: int = 0, shards: int = 100, heldout_parts: int = 50, min_count: int = 3
) -> SentenceCorpus:
    """Make a benchmark of raw sentences, one a line.

    Of equal sentences the first is kept, the rest are shuffled by ``seed`` and cut into ``shards`` of nearly equal
    size. The last shard is held out and cut into ``heldout_parts``; the vocabulary holds the words seen at least
    ``min_count`` times in the others.

    Source: One Billion Word Benchmark (2013), section 2.
    """
    kept = list(dict.fromkeys(" ".join(words) for words in sentences(texts)))
    if len(kept) < shards or shards < 2 or len(kept) // shards < heldout_parts:
        raise UsageError(
            f"one-billion-word: {len(kept)} different sentences do not fill {shards} shards and {heldout_parts} "
            "held-out parts; give more text or lower the settings shards and heldout_parts"
        )
    random.Random(seed).shuffle(kept)
    *training, last = _cut(kept, shards)
    return SentenceCorpus(tuple(training), tuple(_cut(last, heldout_parts)), _vocabulary(training, min_count))


def _cut(lines: Sequence[str], count: int) -> list[Lines]:
    """Nearly equal runs.

    >>> _cut("abcde", 2)
    [('a', 'b'), ('c', 'd', 'e')]
    """
    bounds = [len(lines) * i // count for i in range(count + 1)]
    return [tuple(lines[a:b]) for a, b in pairwise(bounds)]


def _vocabulary(training: Sequence[Lines], min_count: int) -> Vocabulary:
    return build_vocabulary((line.split() for shard in training for line in shard), min_count)


def write_corpus(corpus: SentenceCorpus, folder: Path) -> Path:
    """Write the layout of the published benchmark: two folders of shards, one sentence a line, and
    ``vocab.txt``.
    """
    shards, parts = len(corpus.training) + 1, len(corpus.heldout)
    files = {f"{TRAINING}/news.en-{i:05d}-of-{shards:05d}": lines for i, lines in enumerate(corpus.training)} | {
        f"{HELDOUT}/news.en.heldout-{i:05d}-of-{parts:05d}": lines for i, lines in enumerate(corpus.heldout)
    }
    for name, lines in {**files, "vocab.txt": corpus.vocabulary.words}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def read_corpus(folder: Path, *, min_count: int = 3) -> SentenceCorpus:
    """Read the published layout; the vocabulary is counted anew from the training shards that are there."""
    training = _read_folder(folder, TRAINING)
    return SentenceCorpus(training, _read_folder(folder, HELDOUT), _vocabulary(training, min_count))


def _read_folder(folder: Path, name: str) -> tuple[Lines, ...]:
    files = sorted((folder / name).glob("news.en*-of-*"))
    if not files:
        raise InputError(
            f"{folder / name}: no shards; unpack 1-billion-word-language-modeling-benchmark-r13output.tar.gz "
            "(statmt.org/lm-benchmark) there, or give a text file"
        )
    try:
        return tuple(tuple(file.read_text(encoding="utf-8").splitlines()) for file in files)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / name}: a shard cannot be read as UTF-8 text ({error})") from error
