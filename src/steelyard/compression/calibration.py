"""Calibration texts: reading them from files or letting the model write them, and cutting them into windows."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contracts import LanguageModel, Sampling, Texts
from steelyard.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch

PLAIN_SUFFIXES = (".txt", ".md")
RECORD_SUFFIXES = (".jsonl", ".ndjson")
MAX_FILE_BYTES = 512 * 1024**2
CHARACTERS_PER_TOKEN = 8  # generous for every script, so that a span of text always fills its window


def read_calibration(path: str | Path) -> list[str]:
    """Calibration texts from a ``.txt`` or ``.md`` file, a ``.jsonl`` file, or a folder of such files.

    A plain file is one text; a JSONL file gives the field ``text`` of each line; a folder gives its files in
    the order of their relative paths. Blank texts are left out. Raises :class:`InputError`, naming file and
    line, for anything that cannot be read, and where nothing is left.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"{root}: there is no such file or folder of calibration texts")
    texts: list[str] = []
    for file in _files_of(root):
        texts.extend(_records_of(file) if file.suffix.lower() in RECORD_SUFFIXES else [_text_of(file)])
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(
            f"{root}: holds no calibration text; give a .txt or .md file, or a .jsonl with a text field"
        )
    return texts


def generated_texts(model: LanguageModel, *, count: int = 32, tokens: int = 256, seed: int = 0) -> list[str]:
    """Calibration texts that the model writes itself, where there are none like those it will read.

    ``count`` texts of at most ``tokens`` tokens, each sampled at temperature 1 from the beginning-of-sequence
    token on, with the seeds ``seed``, ``seed + 1`` ...; blank ones are left out. Raises :class:`InputError` where
    none is left.

    Source:
        LLM-QAT: Data-Free Quantization Aware Training for Large Language Models (2023), section 2.1, sampled
        throughout (there the first few tokens are the most probable ones behind a random first token).
    """
    samplings = [Sampling(max_tokens=tokens, temperature=1.0, seed=seed + n) for n in range(count)]
    written = [generation.text for generation in model.generate([""] * count, samplings)]
    texts = [text for text in written if text.strip()]
    if not texts:
        raise InputError(f"{model.card.name} writes nothing from its first token on; give calibration texts")
    return texts


def fingerprint_texts(texts: Texts) -> str:
    """A hash of the texts and their order.

    >>> fingerprint_texts(["ab", "c"]) == fingerprint_texts(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()[:16]


def token_windows(tokenizer: Any, texts: Texts, *, window: int, tokens: int, seed: int = 0) -> torch.Tensor:
    """Cut texts into windows of token ids: an integer tensor of shape (n, window).

    About ``tokens // window`` windows (at least one) are drawn by ``seed`` from places spread over all texts, so
    only what is needed is tokenised; windows do not overlap. Each starts with the beginning-of-sequence token
    where the tokenizer puts one there itself. Where the texts are shorter than asked for, all whole windows
    are used, or one shorter window if not even one can be filled.

    Raises :class:`UsageError` for a window under 8 tokens, :class:`InputError` where the texts have fewer
    than 8 tokens.
    """
    import torch

    if window < 8 or tokens < 8:
        raise UsageError(f"calibration needs windows of at least 8 tokens, not window={window}, tokens={tokens}")
    wanted = max(1, tokens // window)
    start = _start_tokens(tokenizer)
    room = window - len(start)
    joined = "\n\n".join(texts)
    size = CHARACTERS_PER_TOKEN * room
    if len(joined) > 2 * wanted * size:
        bodies = _drawn(tokenizer, joined, room, wanted, seed)
    else:
        ids = _encode(tokenizer, joined)
        whole = [ids[i : i + room] for i in range(0, len(ids) - room + 1, room)] or [ids]
        chosen = sorted(random.Random(seed).sample(range(len(whole)), min(wanted, len(whole))))
        bodies = [whole[i] for i in chosen]
    rows = [[*start, *body] for body in bodies]
    if len(rows[0]) < 8:
        raise InputError(f"the calibration texts have only {len(rows[0])} tokens; give at least a few paragraphs")
    return torch.tensor(rows, dtype=torch.long)


def _drawn(tokenizer: Any, text: str, room: int, wanted: int, seed: int) -> list[list[int]]:
    """Token lists of length ``room`` from ``wanted`` spans of the text, in the order of the text."""
    size = CHARACTERS_PER_TOKEN * room
    order = list(range(len(text) // size))
    random.Random(seed).shuffle(order)
    found: dict[int, list[int]] = {}
    for span in order:
        ids = _encode(tokenizer, _from_word(text[span * size : (span + 1) * size]))
        if len(ids) >= room:
            found[span] = ids[:room]
        if len(found) == wanted:
            break
    if not found:  # runs of blanks or of one symbol: long text, few tokens
        ids = _encode(tokenizer, text)
        found[0] = ids[:room]
    return [found[span] for span in sorted(found)]


def _from_word(span: str) -> str:
    """The span from its first whole word on (a script without spaces is kept as it is)."""
    head, space, tail = span.partition(" ")
    return tail if space and len(head) < 40 else span


def _encode(tokenizer: Any, text: str) -> list[int]:
    # verbose=False: a text longer than the model's context is no mistake here, it is cut into windows
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _start_tokens(tokenizer: Any) -> list[int]:
    """The beginning-of-sequence token, where the tokenizer itself puts it before a text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    marked = list(tokenizer("a")["input_ids"])
    return [bos] if bos is not None and marked[:1] == [bos] else []


def _files_of(root: Path) -> list[Path]:
    known = (*PLAIN_SUFFIXES, *RECORD_SUFFIXES)
    if root.is_dir():
        files = (f for f in root.rglob("*") if f.is_file() and f.suffix.lower() in known)
        return sorted(files, key=lambda f: f.relative_to(root).as_posix())
    if root.suffix.lower() not in known:
        raise InputError(f"{root}: calibration texts are read from {', '.join(known)} files or a folder of them")
    return [root]


def _text_of(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{file}: larger than {MAX_FILE_BYTES >> 20} MB; a sample of a few MB is plenty")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start}); convert it to UTF-8") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def _records_of(file: Path) -> Iterator[str]:
    for number, line in enumerate(_text_of(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).split(":")[0]
            raise InputError(
                f"{file}:{number}: not a JSON object ({reason}); put one object on each line"
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise InputError(f'{file}:{number}: has no text; each line must be an object like {{"text": "..."}}')
        yield record["text"]
