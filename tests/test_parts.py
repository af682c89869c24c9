"""Parts: the mark, the index, settings validation, and outside packages."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Le

from steelyard import parts
from steelyard.errors import UsageError


def sample_part(model: Any, *, sparsity: Annotated[float, Ge(0), Le(1)] = 0.5, names: tuple[str, ...] = ()) -> Any:
    """A part for these tests."""
    return model, sparsity, names


def needy(model: Any, *, k: int) -> Any:
    """A part with a setting that must be given."""
    return model, k


def test_settings_are_converted_to_their_types() -> None:
    assert parts.validate(sample_part, {"sparsity": "0.25", "names": ["a"]}) == {"sparsity": 0.25, "names": ("a",)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sparsty": 0.5}, "has no setting 'sparsty'; did you mean 'sparsity'?"),
        ({"sparsity": 1.5}, "less than or equal to 1"),
        ({"sparsity": "much"}, "not 'much'"),
        ({"zzz": 1}, "has no setting 'zzz'$"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parts.validate(sample_part, settings)


def test_a_required_setting_must_be_given() -> None:
    with pytest.raises(UsageError, match="needs the setting 'k'"):
        parts.validate(needy, {})
    assert parts.validate(needy, {"k": 2}) == {"k": 2}


def test_the_mark_changes_nothing() -> None:
    marked = parts.part(papers=[39, 40], kind="compressor")(sample_part)
    assert marked is sample_part
    assert marked.__part__ == parts.Mark((39, 40), "compressor")  # type: ignore[attr-defined]


def test_every_part_in_the_index_can_be_loaded_and_matches_its_entry() -> None:
    assert parts.index()
    for info in parts.index().values():
        function = parts.load(info.name)
        assert parts.part_name(function.__name__) == info.name
        assert function.__part__.papers == info.papers  # type: ignore[attr-defined]
        assert parts.inputs_of(function) == list(info.inputs)


def test_an_unknown_part_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'sleb'"):
        parts.find("slebb")
    with pytest.raises(UsageError, match="unknown merger 'sleb'"):
        parts.find("sleb", "merger")
    with pytest.raises(UsageError, match="unknown part 'dare_linear'; 'dare' is it, with other settings"):
        parts.find("dare_linear")


def test_underscores_and_hyphens_name_the_same_part(monkeypatch: pytest.MonkeyPatch) -> None:
    info = parts.PartInfo("two-words", "curator", "data", "m", "two_words", (), "says")
    monkeypatch.setattr(parts, "index", lambda: {"two-words": info})
    assert parts.find("two_words") is parts.find("two-words") is info


class OutsideEntry:
    """What importlib.metadata gives for an entry point."""

    module, attr = "outside_package.methods", "method"

    class dist:
        name = "outside-package"

    def __init__(self, name: str) -> None:
        self.name = name


def test_other_packages_add_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "outside_package").mkdir()
    (tmp_path / "outside_package" / "__init__.py").touch()
    (tmp_path / "outside_package" / "methods.py").write_text('def method(model, *, k: int = 1):\n    "Says."\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [OutsideEntry("their_method")])
    parts.index.cache_clear()
    try:
        info = parts.find("their-method", "compressor")
        assert (info.package, info.kind) == ("outside-package", "outside")
        assert parts.load("their-method").__module__ == "outside_package.methods"
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [OutsideEntry("sleb")])
        parts.index.cache_clear()
        with pytest.raises(UsageError, match="already has"):
            parts.index()
    finally:
        parts.index.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("remove=3", ("remove", 3)),
        ("blocks=[1, 2]", ("blocks", [1, 2])),
        ("name=a=b", ("name", "a=b")),
        ("pattern=2:4", ("pattern", "2:4")),
    ],
)
def test_settings_as_typed(text: str, expected: tuple[str, Any]) -> None:
    assert parts.parse_setting(text) == expected


@pytest.mark.parametrize("text", ["remove", "=3", "x=[1"])
def test_badly_typed_settings_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parts.parse_setting(text)


def test_listing_parts_imports_nothing_heavy() -> None:
    code = "import sys; from steelyard import parts; parts.index(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("'torch'", "'transformers'", "'numpy'", "'pydantic'"):
        assert heavy not in loaded
