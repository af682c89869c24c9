"""``ngram:FILE``: an n-gram model from a text to train on or from a saved one.

ngram:corpus.txt                          trained with the part's defaults; one sentence a line
ngram:corpus.txt?order=5&backoff=left     with settings of generalized-skip-ngram-lm
ngram:model.npz                           saved before
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.errors import InputError, UsageError
from steelyard.models.loading import NGRAM
from steelyard.models.ngrams.model import NgramModel
from steelyard.parts import parse_setting, validate


def load_ngram(name: str, options: Mapping[str, Any]) -> NgramModel:
    """The model that ``name``, which starts with ``ngram:``, stands for; ``options`` go before those in the name.

    Raises :class:`UsageError` for a missing file or unknown settings, :class:`InputError` for a file that is
    neither.
    """
    place, separator, query = name.removeprefix(NGRAM).partition("?")
    stated = dict(parse_setting(text) for text in query.split("&")) if separator else {}
    settings = {**stated, **options}
    file = Path(place).expanduser()
    if not place or not file.is_file():
        raise UsageError(
            f"{name}: no such file; give {NGRAM}FILE: a text, a sentence a line, or a .npz or .arpa file"
        )
    if file.suffix in (".npz", ".arpa"):
        if settings:
            raise UsageError(f"{name}: a saved model takes no settings; leave {sorted(settings)[0]!r} out")
        if file.suffix == ".arpa":
            from steelyard.models.ngrams.arpa import read_arpa

            return NgramModel(*read_arpa(file), name=file.stem, source=str(file))
        from steelyard.models.ngrams.files import load

        return load(file)
    from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm

    checked = validate(generalized_skip_ngram_lm, settings)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: not UTF-8 text (byte {error.start}); convert it, or give a saved .npz"
        ) from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    model = generalized_skip_ngram_lm([text], **checked)
    return NgramModel(model.vocabulary, model.smoothed, f"{file.stem}-{model.name}", model.part, str(file))
