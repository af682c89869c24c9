from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.compression.calibration import (
    fingerprint_texts,
    generated_texts,
    read_calibration,
    token_windows,
)
from steelyard.errors import InputError, UsageError
from tiny import tiny_tokenizer

LONG = ["".join(f"Sentence number {i} tells of weights and measures. " for i in range(400))]


def test_a_plain_file_is_one_text_and_jsonl_gives_its_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n\n{"text": "four", "id": 4}\n')
    assert read_calibration(tmp_path / "a.txt") == ["one\n\ntwo\n"]
    assert read_calibration(tmp_path / "b.jsonl") == ["three", "four"]


def test_a_folder_is_read_in_path_order(tmp_path: Path) -> None:
    for name in ("z.md", "b/c.txt", "a.txt", "ignored.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    assert read_calibration(tmp_path) == ["text of a.txt", "text of b/c.txt", "text of z.md"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "a.jsonl:2: not a JSON object"),
        ("a.jsonl", b'{"prompt": "x"}\n', "a.jsonl:1: has no text"),
        ("a.jsonl", b'["x"]\n', "a.jsonl:1: has no text"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not a JSON object"),
        ("a.txt", b"\xff\xfe\x00bad", "a.txt: not UTF-8 text"),
        ("a.txt", b"  \n ", "a.txt: holds no calibration text"),
        ("a.csv", b"text\nx", "a.csv: calibration texts are read from"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_calibration(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_calibration(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="holds no calibration text"):
        read_calibration(tmp_path)


def test_windows_have_the_asked_shape_and_are_pieces_of_the_text() -> None:
    tokenizer = tiny_tokenizer()
    windows = token_windows(tokenizer, LONG, window=32, tokens=130)
    assert tuple(windows.shape) == (4, 32)
    for row in windows:
        assert tokenizer.decode(row) in LONG[0]
    assert len({tuple(row.tolist()) for row in windows}) == 4


def test_windows_are_drawn_by_seed() -> None:
    first, again, other = (token_windows(tiny_tokenizer(), LONG, window=32, tokens=96, seed=s) for s in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_short_texts_are_used_whole() -> None:
    tokenizer = tiny_tokenizer()
    text = "A short note on brass weights."
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert token_windows(tokenizer, [text], window=256, tokens=1024).tolist() == [whole]
    with pytest.raises(InputError, match="only"):
        token_windows(tokenizer, ["ab"], window=32, tokens=64)
    with pytest.raises(UsageError, match="at least 8"):
        token_windows(tokenizer, [text], window=4, tokens=64)


def test_windows_start_as_the_tokenizer_starts_a_text() -> None:
    """A model trained behind a beginning-of-sequence token is measured behind one."""
    import copy

    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    windows = token_windows(tokenizer, LONG, window=32, tokens=96)
    assert tuple(windows.shape) == (3, 32)
    assert (windows[:, 0] == tokenizer.bos_token_id).all()
    assert not (windows[:, 1:] == tokenizer.bos_token_id).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_fingerprint_tells_lists_of_texts_apart(first: list[str], second: list[str]) -> None:
    assert (fingerprint_texts(first) == fingerprint_texts(second)) == (first == second)


def test_a_model_writes_texts_of_its_own_and_by_seed(tiny: Any) -> None:
    texts = generated_texts(tiny, count=4, tokens=12)
    assert len(set(texts)) == 4
    assert generated_texts(tiny, count=3, tokens=12, seed=1) == texts[1:]
