"""Killed while indexing: no committed document is lost, none is served by halves; generations are seen whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import steelyard
from steelyard.contracts import Hit
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.index.snapshot import open_snapshot
from steelyard.retrieval.index.writer import open_writer

DOCUMENTS = 1200
PASSAGES = 3
KILLS = 12
"""Numbers for the time a test may take; the claim is about any."""

WORKER = """
import sys
from pathlib import Path
from steelyard.retrieval import verb
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.chunking import ChunkSize

verb.COMMIT_PASSAGES = 40

class Progress:
    def start(self, name, total, done=0): print("started", flush=True)
    def advance(self, name, by=1): pass
    def note(self, text): pass

verb.index(sys.argv[1], sys.argv[2], IndexSettings(language="none"), progress=Progress(),
           reading=verb.Reading(size=ChunkSize(4, 0)))
print("done", flush=True)
"""


def write_documents(folder: Path, version: int) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(DOCUMENTS):
        text = "\n\n".join(f"doc{n} part{p} v{version} all" for p in range(PASSAGES))
        (folder / f"{n:05d}.txt").write_text(text)


def state(folder: Path) -> dict[str, list[str]]:
    """Texts by document, read from the stored columns of the current generation."""
    found: dict[str, list[str]] = {}
    for part in open_snapshot(folder).parts:
        for row in range(len(part.segment)):
            if part.alive is None or part.alive[row]:
                hit = part.segment.hit(row, 0.0)
                found.setdefault(hit.source, []).append(hit.text)
    return found


def whole(source: str, texts: list[str]) -> int:
    """The version of a document, all of whose passages must be there and of one version."""
    number = int(source.removesuffix(".txt"))
    versions = {text.split()[2] for text in texts}
    assert len(versions) == 1, (source, texts)
    (version,) = versions
    assert texts == [f"doc{number} part{p} {version} all" for p in range(PASSAGES)]
    return int(version[1:])


def test_random_kills_lose_no_committed_document_and_leave_no_half(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "index"
    write_documents(docs, 1)
    rng = random.Random(0)
    before: dict[str, int] = {}
    kills, version = 0, 1
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(docs), str(out)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(steelyard.__file__).parents[1])},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        if kills < KILLS:
            try:
                process.wait(rng.uniform(0.0, 1.0))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        finished = process.stdout.readline() == "done\n"
        process.wait()
        process.stdout.close()
        if (out / "manifest.json").exists():
            now = {source: whole(source, texts) for source, texts in state(out).items()}
            assert set(before) <= set(now), "a committed document is lost"
            assert all(now[source] >= before[source] for source in before), "a committed version is lost"
            before = now
        if finished and kills >= KILLS:
            break
        if finished:
            version += 1
            write_documents(docs, version)  # all documents change, so that kills meet replacements too
    assert set(before.values()) == {version}
    assert len(before) == DOCUMENTS
    hits = DocumentIndex(out).search([f"v{version}"], k=2 * DOCUMENTS * PASSAGES)[0]
    assert len(hits) == DOCUMENTS * PASSAGES
    names = {entry.name for entry in open_snapshot(out).manifest.segments}
    assert {place.stem for place in (out / "segments").iterdir()} == names


def test_readers_see_whole_generations_while_one_writes(tmp_path: Path) -> None:
    """Every commit replaces all ten passages of a document; a reader must never see two versions."""
    folder = tmp_path / "i"
    settings = IndexSettings(language="none")

    def passages(version: int) -> list[Hit]:
        return [Hit(f"{version}-{i}", 0.0, f"all v{version}", "doc") for i in range(10)]

    with open_writer(folder, settings) as writer:
        writer.replace("doc", "0", passages(0))
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        reader = DocumentIndex(folder)
        while not stop.is_set():
            try:
                hits = reader.search(["all"], k=30)[0]
                versions = {hit.text for hit in hits}
                if len(versions) != 1 or len(hits) != 10:
                    failures.append((versions, len(hits)))
                seen.update(versions)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    with open_writer(folder, settings) as writer:
        for version in range(1, 30):
            writer.replace("doc", str(version), passages(version))
            writer.add([Hit(f"other-{version}", 0.0, "different words", f"other{version}")])
            writer.commit()  # segments are merged meanwhile, and their files deleted
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(seen) > 1


def test_an_open_snapshot_outlives_its_files(tmp_path: Path) -> None:
    index_of = DocumentIndex(tmp_path / "i", IndexSettings(language="none"))
    index_of.add([Hit("a", 0.0, "old words")])
    old = index_of.snapshot()
    index_of.delete(["a"])
    index_of.add([Hit("b", 0.0, "new words")])
    assert [hit.text for part in old.parts for hit in [part.segment.hit(0, 0.0)]] == ["old words"]
    assert [hit.id for hit in index_of.search(["words"])[0]] == ["b"]
