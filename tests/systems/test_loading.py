from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Continuation, Message, OpenWeights, PromptStyle, Sampling
from steelyard.errors import InputError, UsageError
from steelyard.systems.loading import load
from steelyard.systems.system import System
from steelyard.systems.system_file import read_system, write_system


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A folder with a model beside which system files can be written."""
    (tmp_path / "model").symlink_to(tiny_folder, target_is_directory=True)
    return tmp_path


def system_in(folder: Path, text: str) -> Path:
    file = folder / "best.yaml"
    file.write_text(text)
    return file


def test_other_names_go_to_the_model_loader(tiny_folder: Path) -> None:
    assert isinstance(load(str(tiny_folder)), OpenWeights)
    assert isinstance(load(tiny_folder), OpenWeights)


def test_a_system_file_gives_the_system(folder: Path) -> None:
    text = (
        "model: ./model\nweights: [{sleb: {blocks: [1]}}, int8]\nprompt: {style: plain, instruction: Be brief.}\n"
    )
    system: Any = load(system_in(folder, text))
    assert isinstance(system, System)
    assert system.style == PromptStyle("plain", instruction="Be brief.")
    assert system.card.name == "best"
    assert [part.name for part in system.card.parts] == ["sleb", "int8"]
    assert len(system.model.module.model.layers) == 3
    ask = [Message("user", "Why?")]
    plain = Continuation("Be brief.\n\nQuestion: Why?\nAnswer:", " So.")
    assert system.score([Continuation(ask, "So.")]) == system.model.score([plain])


def test_a_file_without_prompt_is_the_bare_model(folder: Path) -> None:
    model: Any = load(system_in(folder, "model: ./model\nweights: [int8]\n"))
    assert not isinstance(model, System)
    assert [part.name for part in model.card.parts] == ["int8"]


def test_calibration_texts_lie_beside_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(folder / "cache"))
    (folder / "texts.txt").write_text(
        "The weigh house opened at dawn and closed when the last cart had left. " * 8
    )
    search = "model: ./model\nweights:\n- sleb: {remove: 1, tokens: 64, window: 32}\n"
    model: Any = load(system_in(folder, search + "calibration: texts.txt\n"))
    assert len(model.module.model.layers) == 3
    with pytest.raises(InputError, match=r"missing\.txt: there is no such file"):
        load(system_in(folder, search + "calibration: missing.txt\n"))
    given: Any = load(system_in(folder, search), calibration=[(folder / "texts.txt").read_text()])
    assert given.card.fingerprint == model.card.fingerprint


def test_the_same_file_gives_the_same_fingerprint(folder: Path) -> None:
    file = system_in(folder, "model: ./model\nweights: [int8]\nprompt: {shots: 2, seed: 1}\n")
    assert load(file).card.fingerprint == load(file).card.fingerprint


@pytest.mark.real_model
def test_a_real_system_answers(smollm2_folder: Path, tmp_path: Path) -> None:
    text = f"model: {smollm2_folder}\nweights: [{{sleb: {{blocks: [12, 25]}}}}, int8]\nprompt: {{style: chat}}\n"
    system: Any = load(system_in(tmp_path, text))
    ask = [Message("user", "What is the capital of France? Answer with one word.")]
    assert "Paris" in system.generate([ask], Sampling(max_tokens=12))[0].text
    assert len(system.model.module.model.layers) == 28


def test_how_an_endpoint_is_asked(tmp_path: Path) -> None:
    file = system_in(
        tmp_path,
        "model: http://127.0.0.1:1/v1#m?retries=1\n"
        "endpoint: {timeout: 120, concurrency: 2, response_cache: ./answers}\n",
    )
    model: Any = load(file, concurrency=3)
    assert (model.model, model.concurrency) == ("m", 3)
    assert (model.transport.timeout, model.transport.retries) == (120, 1)
    assert model.transport.cache.folder == tmp_path / "answers"
    assert read_system(write_system(tmp_path / "again.yaml", read_system(file))) == read_system(file)


def test_a_limit_on_memory_is_kept_by_the_weights_as_the_parts_leave_them(folder: Path) -> None:
    file = system_in(folder, "model: ./model\nweights: [int8]\nprompt: {style: plain}\n")
    whole: Any = load(folder / "model")
    small: Any = load(file)
    between = (whole.card.memory_bytes + small.card.memory_bytes) // 2
    with pytest.raises(UsageError, match="limit"):
        load(folder / "model", memory=between)
    with pytest.raises(UsageError, match="forward pass"):
        load(file, memory=between)
    model: Any = load(file, memory=whole.card.memory_bytes + 1_000_000).model
    assert model.card.memory_bytes + model.pack_bytes <= model.memory
