"""Reading complicated files in a process apart, whose time and memory are limited.

    python -m steelyard.retrieval.documents.process_apart   # the process itself, which talks in JSON lines

A parser that hangs is killed, one that crashes ends only its own process; the next file gets a fresh one.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from steelyard.errors import SteelyardError
from steelyard.retrieval.documents.document import Extract, Heading, Mark, Unreadable
from steelyard.retrieval.documents.formats import FORMATS, Format
from steelyard.retrieval.documents.limits import Limits


class ProcessApart:
    """Reads files one after the other in another process; a context manager."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ProcessApart:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def read(self, chosen: Format, path: Path) -> Extract:
        """The extract of the file at ``path``.

        Raises:
            Unreadable: The format's reason, or that it took too much time or memory.
            SteelyardError: A package is missing.
        """
        process = self._process = self._process or self._start()
        request = {"format": chosen.name, "path": os.fspath(path)}
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = self._answer(process)
        except (BrokenPipeError, EOFError):
            self._end()
            raise Unreadable("made its parser crash or use too much memory") from None
        except TimeoutError:
            self._end()
            raise Unreadable(f"takes longer than {self._limits.seconds:g} s to read") from None
        if "error" in answer:
            raise SteelyardError(answer["error"])
        if "reason" in answer:
            raise Unreadable(answer["reason"])
        return _extract_from(answer)

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(self._limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
        )

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        deadline = time.monotonic() + self._limits.seconds
        pieces: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not (pieces and pieces[-1].endswith(b"\n")):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), 1 << 20)
                if not piece:
                    raise EOFError
                pieces.append(piece)
        answer: dict[str, Any] = json.loads(b"".join(pieces))
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def _extract_from(record: dict[str, Any]) -> Extract:
    return Extract(
        record["text"],
        tuple(Heading(*heading) for heading in record["headings"]),
        tuple(Mark(*mark) for mark in record["marks"]),
        record["metadata"],
        tuple(record["notes"]),
    )


def _answer_to(request: dict[str, str], limits: Limits) -> dict[str, Any]:
    chosen = next(known for known in FORMATS if known.name == request["format"])
    try:
        return asdict(chosen.read(Path(request["path"]).read_bytes(), limits))
    except Unreadable as error:
        return {"reason": str(error)}
    except SteelyardError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"reason": f"cannot be read ({error.strerror or error})"}
    except MemoryError:
        return {"reason": f"takes more than {limits.memory_bytes:,} bytes of memory to read"}
    except RecursionError:
        return {"reason": "is nested too deeply"}
    except Exception as error:  # a fault of a parser is the file's misfortune, not the run's
        return {"reason": f"cannot be taken apart ({type(error).__name__}: {str(error)[:200]})"}


def _serve(requests: IO[bytes], answers: IO[bytes], limits: Limits) -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):  # a smaller limit may be in force already
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    for line in requests:
        answer = _answer_to(json.loads(line), limits)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer, Limits(**json.loads(sys.argv[1])))
