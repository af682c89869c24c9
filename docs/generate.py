"""Write the part reference (``docs/reference/parts.md``) from the part index and the parts' docstrings.

Nothing is imported: docstrings are read from the source, so the pages can be built anywhere.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

from steelyard import parts

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "parts.md"


def main() -> None:
    """Write the page, one section a room and one entry a part."""
    lines = [
        "# Parts",
        "",
        "Generated from the source. A part's status comes from its recorded evidence and from nowhere else.",
    ]
    for room in sorted({info.room for info in parts.index().values()}):
        lines += ["", f"## {room.capitalize()}"]
        for info in sorted(parts.index().values(), key=lambda part: part.name):
            if info.room == room and info.package == "steelyard":
                lines += entry(info)
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


def entry(info: parts.PartInfo) -> list[str]:
    """The Markdown of one part."""
    papers = ", ".join(map(str, info.papers)) or "none of the catalogue"
    lines = ["", f"### {info.name}", "", f"*{info.kind}, papers: {papers}, status: {info.status}*", ""]
    lines += ["```text", docstring(info), "```"]
    if info.settings:
        lines += ["", "| setting | type | default |", "|---|---|---|"]
        lines += [
            f"| `{s.name}` | `{s.annotation.replace('|', chr(92) + '|')}` | `{s.default or 'required'}` |"
            for s in info.settings
        ]
    return lines + evidence(info)


def docstring(info: parts.PartInfo) -> str:
    """The whole docstring of a part, read from its source."""
    file = ROOT / "src" / Path(*info.module.split(".")).with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == info.attribute:
            return ast.get_docstring(node) or ""
    raise LookupError(f"{info.attribute} is not in {file}")


def evidence(info: parts.PartInfo) -> list[str]:
    """What was measured with a part, where it was."""
    file = ROOT / "evidence" / f"{info.name}.json"
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    return ["", "What was measured:", "", "```json", json.dumps(record, indent=2, ensure_ascii=False), "```"]


if __name__ == "__main__":
    main()
