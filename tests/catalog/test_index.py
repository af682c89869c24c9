"""The index of parts: parsed from source, complete, and strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard.catalog.index import generate, main
from steelyard.errors import InputError
from steelyard.parts import INDEX_FILE

SOURCE = '''
import a_module_that_does_not_exist
from steelyard.parts import part

@part(papers=[39])
def sparse_gpt(model, calibration, *, sparsity: float = 0.5, pattern: str):
    """Prune in one pass.

    Source: a paper.
    """
'''


def package(tmp_path: Path, **sources: str) -> Path:
    for name, text in sources.items():
        file = tmp_path / "compression" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_part_is_read_without_importing_it(tmp_path: Path) -> None:
    (part,) = json.loads(generate(package(tmp_path, sparse=SOURCE), tmp_path / "none"))["parts"]
    assert part["name"] == "sparse-gpt"
    assert part["kind"] == "compressor"
    assert part["module"] == "steelyard.compression.sparse"
    assert part["papers"] == [39]
    assert part["inputs"] == ["model", "calibration"]
    assert part["settings"] == [
        {"name": "sparsity", "annotation": "float", "default": "0.5"},
        {"name": "pattern", "annotation": "str", "default": None},
    ]
    assert part["summary"] == "Prune in one pass."
    assert part["status"] == "not yet shown"


def test_status_comes_from_recorded_evidence(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    (evidence / "sparse-gpt.json").write_text('{"verdict": "null result"}')
    (part,) = json.loads(generate(package(tmp_path, sparse=SOURCE), evidence))["parts"]
    assert part["status"] == "null result"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (SOURCE.split('    """Prune')[0] + "    return model\n", "no docstring"),
        (SOURCE.replace("[39]", "list_of_papers()"), "literals only"),
    ],
)
def test_what_cannot_be_indexed_is_an_error(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        generate(package(tmp_path, sparse=source), tmp_path)


def test_two_parts_of_one_name_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already defined"):
        generate(package(tmp_path, one=SOURCE, two=SOURCE), tmp_path)


def test_the_committed_index_is_up_to_date() -> None:
    assert INDEX_FILE.read_text(encoding="utf-8") == generate()
    assert main(["--check"]) == 0
