"""``python -m tests.evidence PART``: run the evidence check of one part and record what it measured.

The check lies beside the part's tests as ``evidence_<part>.py`` and has ``main() -> None``, which writes
``evidence/<part>.json``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def main(part: str) -> int:
    """Run the check of ``part``; returns the exit code."""
    found = sorted(TESTS.glob(f"*/evidence_{part.replace('-', '_')}.py"))
    if not found:
        checks = (file.stem.removeprefix("evidence_") for file in TESTS.glob("*/evidence_*.py"))
        known = sorted(name.replace("_", "-") for name in checks)
        print(f"no evidence check for {part!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    spec = importlib.util.spec_from_file_location(found[0].stem, found[0])
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(TESTS))  # where evidence_record lies, as pytest has it
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
