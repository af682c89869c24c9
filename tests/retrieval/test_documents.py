"""Documents in: what each format gives, and hostile files that must be skipped with a reason."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from retrieval.document_files import docx_bytes, pdf_bytes
from steelyard.errors import InputError
from steelyard.retrieval.documents.document import Document, Extract, Skipped, Unreadable
from steelyard.retrieval.documents.folder import Unchanged, read_folder
from steelyard.retrieval.documents.formats import FORMATS
from steelyard.retrieval.documents.limits import Limits
from steelyard.retrieval.documents.plain import decode, markdown_headings


def read_all(root: Path, **options: Any) -> tuple[dict[str, Extract], dict[str, str]]:
    documents, skipped = {}, {}
    for found in read_folder(root, **options):
        if isinstance(found, Document):
            documents[found.source] = found.extract
        elif isinstance(found, Skipped):
            skipped[found.source] = found.reason
    return documents, skipped


def test_formats_give_text_headings_and_pages(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "plain.txt").write_bytes(b"One line.\r\nAnother.")
    (tmp_path / "notes.md").write_text("# Wings\n\nThey lift.\n\n```\n# no heading\n```\n\nDrag\n----\nslows")
    (tmp_path / "page.html").write_text(
        "<html><head><title>A page</title><style>p{}</style></head><body><h2>Lift &amp; drag</h2><p>It\n <b>flies"
        "</b>.<script>alert(1)</script><br>High.</p><table><tr><td>a</td><td>b</td></tr></table></body></html>"
    )
    (tmp_path / "paper.pdf").write_bytes(pdf_bytes(["First page text", "Second page text"]))
    (tmp_path / "report.docx").write_bytes(docx_bytes([("Summary", "Heading1"), ("All is well.", "")]))
    documents, skipped = read_all(tmp_path)
    assert skipped == {}
    assert list(documents) == ["notes.md", "page.html", "paper.pdf", "report.docx", "sub/plain.txt"]
    assert documents["sub/plain.txt"].text == "One line.\nAnother."
    assert headings(documents["notes.md"]) == [("# Wings", 1), ("Drag\n----", 2)]
    page = documents["page.html"]
    assert page.text == "Lift & drag\n\nIt flies.\nHigh.\n\na\tb"
    assert headings(page) == [("Lift & drag", 2)]
    assert page.metadata == {"title": "A page"}
    paper = documents["paper.pdf"]
    assert [(paper.text[m.start : m.end], m.metadata["page"]) for m in paper.marks] == [
        ("First page text", 1),
        ("Second page text", 2),
    ]
    assert documents["report.docx"].text == "Summary\n\nAll is well."
    assert headings(documents["report.docx"]) == [("Summary", 1)]


def headings(extract: Extract) -> list[tuple[str, int]]:
    return [(extract.text[h.start : h.end], h.level) for h in extract.headings]


def test_records_of_tables_are_stretches_with_metadata(tmp_path: Path) -> None:
    (tmp_path / "towns.csv").write_text("town;height\nUlm;161.5\nBern;100\n")
    lines = [{"title": "T", "text": "Body", "year": 1951, "tags": ["a", "b"]}, {"text": "half \ud800 pair"}]
    (tmp_path / "rows.jsonl").write_text("\n".join([json.dumps(lines[0]), "{broken", json.dumps(lines[1])]))
    documents, skipped = read_all(tmp_path)
    towns, rows = documents["towns.csv"], documents["rows.jsonl"]
    assert [towns.text[m.start : m.end] for m in towns.marks] == [
        "town: Ulm\nheight: 161.5",
        "town: Bern\nheight: 100",
    ]
    assert rows.text == "T\n\nBody\n\nhalf \ufffd pair"
    assert dict(rows.marks[0].metadata) == {
        "line": 1,
        "title": "T",
        "text": "Body",
        "year": 1951,
        "tags": ["a", "b"],
    }
    assert skipped == {"rows.jsonl": "line 2 is no JSON"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve".encode(), "naïve"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("naïve".encode("utf-16"), "naïve"),
        ("naïve".encode("utf-32"), "naïve"),
        ("Ein schöner Tag für Möwen über dem großen Fluß. ".encode("cp1252") * 20, None),
    ],
)
def test_encodings(data: bytes, text: str | None) -> None:
    expected = "Ein schöner Tag für Möwen über dem großen Fluß. " * 20 if text is None else text
    assert decode(data) == expected


def test_markdown_headings_ignore_rules_and_tables() -> None:
    assert list(markdown_headings("para\n\n---\n\n| a |\n| - |\n    # code\n#hash\n")) == []


def test_an_unchanged_file_is_not_taken_apart_again(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    (first,) = read_folder(tmp_path)
    assert isinstance(first, Document)
    assert list(read_folder(tmp_path, {"a.md": first.digest})) == [Unchanged("a.md")]
    (tmp_path / "a.md").write_text("# B")
    assert isinstance(next(read_folder(tmp_path, {"a.md": first.digest})), Document)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"<a>" + b" " * 50_000_000 + b"</a>")
    return buffer.getvalue()


def entity_bomb() -> bytes:
    lol = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    body = f'<!DOCTYPE x [<!ENTITY l0 "lol">{lol}]><x>&l9;</x>'
    return archive_of({"word/document.xml": body.encode()})


def archive_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "broken.pdf": (b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog", "is no PDF that can be read"),
    "truncated.pdf": (pdf_bytes(["text"])[:200], "cannot be|is no PDF|holds no text"),
    "empty.pdf": (b"", "is named like PDF but is not"),
    "text.pdf": (b"just text", "is named like PDF but is not"),
    "scan.pdf": (pdf_bytes([""]), "holds no text"),
    "loop.pdf": (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 1 0 R/Kids[1 0 R]>>endobj\ntrailer<</Root 1 0 R>>",
        "PDF|text|apart",
    ),
    "bomb.docx": (zip_bomb(), "zip bomb"),
    "entities.docx": (entity_bomb(), "XML|^$"),
    "no-word.docx": (archive_of({"a.txt": b"a"}), "without a Word document"),
    "climbing.docx": (archive_of({"../../word/document.xml": b"<a/>"}), "without a Word document"),
    "xml.docx": (archive_of({"word/document.xml": b"<a><b></a>"}), "holds XML that cannot be read"),
    "cut.docx": (archive_of({"word/document.xml": b"<a/>"})[:-30], "is no Word file"),
    "encrypted.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "encrypted Office file"),
    "zip.txt": (archive_of({"a": b"a"}), "is named like plain text but is an archive"),
    "pdf.md": (pdf_bytes(["x"]), "is named like Markdown but is PDF"),
    "picture.html": (b"\x89PNG\r\n\x1a\n", "is a picture"),
    "nul.txt": (b"a\0b", "NUL"),
    "nul.csv": (b"a,b\n\0,1\n", "NUL"),
    "program.txt": (b"\x7fELF\x02\x01", "is a program"),
    "line.txt": (b"x" * 50_000_000, "line 1 has more than"),
    "line.jsonl": (b'{"text": "' + b"x" * 6_000_000 + b'"}', "line 1 has more than"),
    "wide.csv": (b",".join(b"c%d" % i for i in range(5000)), "has 5000 columns"),
    "deep.jsonl": (b"[" * 100_000 + b"]" * 100_000, "is no JSON"),
    "array.jsonl": (b"[1, 2]\n", "is no JSON object"),
    "unknown.xyz": (b"?", "has a format that is not read"),
    "without": (b"?", "has no ending"),
    ".hidden.txt": (b"secret", "is hidden"),
    "two\nlines.txt": (b"text", "control characters"),
}


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    for name, (data, _) in HOSTILE.items():
        (root / name).write_bytes(data)
    (root / "encrypted.pdf").write_bytes(pdf_bytes(["secret"], password="secret"))
    (root / "loop").symlink_to(root)
    (root / "passwd.txt").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe.txt")
    (root / "deep.html").write_text("<div>" * 100_000 + "deep")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.txt")).write_text("text")
    (root / "good.txt").write_text("A good document.")
    (root / "zz-good.docx").write_bytes(docx_bytes([("Also good.", "")]))
    return root


def test_hostile_files_are_skipped_with_a_reason_and_the_rest_is_read(hostile_folder: Path) -> None:
    documents, skipped = read_all(hostile_folder)
    assert {"good.txt", "zz-good.docx"} <= set(documents)
    assert not any("root:" in extract.text for extract in documents.values())
    shown = {name: name.replace("\n", "\\n") for name in HOSTILE}
    for name, (_, reason) in HOSTILE.items():
        if name == "entities.docx" and shown[name] in documents:
            assert len(documents[name].text) < 1000  # entities were not unfolded
            continue
        assert re.search(reason, skipped[shown[name]]), (name, skipped[shown[name]])
    assert "encrypted" in skipped["encrypted.pdf"]
    assert skipped["loop"] == skipped["passwd.txt"] == "is a symbolic link"
    assert skipped["pipe.txt"] == "is no regular file"
    assert any("not UTF-8" in reason for reason in skipped.values())
    assert skipped["deep.html"] == "is nested too deeply"
    assert all(str(hostile_folder) not in reason for reason in skipped.values())


def test_large_files_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("x" * 200)
    assert "more than 100 bytes" in read_all(tmp_path, limits=Limits(file_bytes=100))[1]["large.txt"]
    assert "more than 100 characters" in read_all(tmp_path, limits=Limits(characters=100))[1]["large.txt"]
    with pytest.raises(InputError, match="no such file or folder"):
        read_all(tmp_path / "nothing")


def test_a_parser_that_takes_too_long_or_too_much_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_bytes(["text"]))
    (tmp_path / "b.txt").write_text("text")
    documents, skipped = read_all(tmp_path, limits=Limits(seconds=0.01))
    assert "takes longer than" in skipped["a.pdf"]
    assert list(documents) == ["b.txt"]
    (tmp_path / "a.html").write_text("<b>x</b>" * 2_000_000)
    documents, skipped = read_all(tmp_path, limits=Limits(memory_bytes=250_000_000))
    assert "a.html" in skipped  # libxml2 does not always say that memory ran out
    assert list(documents) == ["a.pdf", "b.txt"]


def test_every_format_refuses_noise() -> None:
    noise = bytes(range(256)) * 10
    for known in FORMATS:
        with pytest.raises(Unreadable):
            known.read(noise, Limits())
