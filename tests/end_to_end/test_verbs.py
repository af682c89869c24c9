"""The verbs together, on a tiny model: what one writes the next one reads."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

import steelyard as library
from steelyard.cli.main import main
from steelyard.contracts import PromptStyle
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.task_files import load_task
from steelyard.runs.store import RunStore


@pytest.fixture(scope="module")
def tuned(tiny_folder: Path, small_task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One exhaustive tune: its record, its folder and its store."""
    folder = tmp_path_factory.mktemp("tuned")
    outcome = library.tune(
        small_task,
        [str(tiny_folder)],
        out=folder,
        store=folder / "runs.db",
        styles=["plain"],
        shots=[0, 2],
        weights=["none", "int8", "sleb:remove=1,tokens=64+int8"],
        exhaustive=True,
        timing_samples=2,
        seed=3,
    )
    return {"folder": folder, "record": outcome.record, "run": outcome.run_id, "file": outcome.system_file}


def test_a_tune_measures_every_candidate_and_agrees_with_its_own_search(tuned: dict[str, Any]) -> None:
    record = tuned["record"]
    assert len(record["candidates"]) == 6
    assert record["budget"]["cells_measured"] == record["budget"]["cells_total"] == 6 * 70
    assert record["exhaustive"]["exhaustive_cells"] == 6 * 70
    assert record["winner"] in record["frontier"]
    assert len(record["findings"]) == 3
    for candidate in record["candidates"]:
        assert candidate["quality"]["n"] == 70
        assert candidate["latency"]["ratio"]["value"] > 0


def test_the_handed_over_file_is_the_system_that_was_measured(tuned: dict[str, Any], small_task: Path) -> None:
    """Evaluating ``best.yaml`` asks the model nothing: every result is found under the same key."""
    winner = next(c for c in tuned["record"]["candidates"] if c["id"] == tuned["record"]["winner"])
    again = library.eval(str(tuned["file"]), small_task, store=tuned["folder"] / "runs.db").evaluation
    assert again.reused == 70
    assert again.summary["accuracy"].value == winner["quality"]["value"]


def test_the_report_can_be_made_again_from_the_store(tuned: dict[str, Any], tmp_path: Path) -> None:
    page, rows = tmp_path / "again.html", tmp_path / "rows.jsonl"
    record = library.report(tuned["run"], out=page, export_to=rows, store=tuned["folder"] / "runs.db")
    assert record["winner"] == tuned["record"]["winner"]
    assert set(record["samples"][0]["answers"]) == {c["id"] for c in record["candidates"]}
    assert "<html" in page.read_text()
    assert len(rows.read_text().splitlines()) == 6 * 70


def test_candidates_of_a_tune_can_be_compared(tuned: dict[str, Any]) -> None:
    run = tuned["run"]
    found = library.compare(f"{run}:c01", f"{run}:c03", store=tuned["folder"] / "runs.db")
    assert found["n"] == 70
    assert 0 <= found["p_value"] <= 1
    assert found["difference"]["low"] <= found["difference"]["value"] <= found["difference"]["high"]


def test_accuracy_is_what_transformers_computes(tiny_folder: Path, small_task: Path) -> None:
    """The whole chain against a dozen lines of plain transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    right = []
    for row in map(json.loads, small_task.read_text().splitlines()):
        if "choices" not in row or row.get("split") == "train":
            continue
        context = f"Question: {row['prompt']}\nAnswer:"
        scores = []
        for choice in row["choices"]:
            start = len(tokenizer(context).input_ids)
            ids = torch.tensor([tokenizer(f"{context} {choice}").input_ids])
            with torch.inference_mode():
                logprobs = model(ids).logits[0, :-1].log_softmax(-1)
            scores.append(float(logprobs.gather(1, ids[0, 1:, None])[start - 1 :].sum()))
        right.append(scores.index(max(scores)) == row["answer"])
    task = load_task(small_task)
    choices = [s.id for s in task.samples() if "choices" in s.data]
    done = evaluate(library.load(str(tiny_folder)), task, style=PromptStyle(), sample_ids=choices)
    assert [r.marks.values["accuracy"] for r in done.results] == [float(r) for r in right]


def test_two_processes_share_one_store(tiny_folder: Path, small_task: Path, tmp_path: Path) -> None:
    code = (
        "import sys, steelyard; model, task, store = sys.argv[1:]; "
        "print(steelyard.eval(model, task, store=store).evaluation.summary['accuracy'].value)"
    )
    store = tmp_path / "shared.db"
    command = [sys.executable, "-c", code, str(tiny_folder), str(small_task), str(store)]

    def run(_: int) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert first == second
    with RunStore.open(store) as opened:
        assert len(opened.runs()) == 2
        key = opened.keys(opened.runs()[0].id)["c01"]
        assert opened.count(key) == 70


@pytest.fixture
def address(tuned: dict[str, Any]) -> Iterator[str]:
    """``best.yaml`` served by the command line on a free port."""
    command = [sys.executable, "-m", "steelyard.cli", "serve", str(tuned["file"]), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        line = next(line for line in server.stdout if "http://" in line)
        yield next(word for word in line.split() if word.startswith("http://"))
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_the_handed_over_file_is_served(address: str, tuned: dict[str, Any]) -> None:
    client = OpenAI(base_url=address, api_key="unused", max_retries=5)
    asked = [{"role": "user", "content": "Which tree is number 7?"}]
    answer = client.chat.completions.create(model="default", messages=asked, max_tokens=8)  # type: ignore[arg-type]
    system = library.load(str(tuned["file"]))
    from steelyard.contracts import Message, Sampling

    expected = system.generate([[Message("user", "Which tree is number 7?")]], Sampling(max_tokens=8))[0]
    assert answer.choices[0].message.content == expected.text


def test_texts_are_weighed_by_bits_per_byte(tiny_folder: Path, tmp_path: Path) -> None:
    """Less is better: the winner is the cheapest within the tolerance above the least."""
    task = tmp_path / "texts.jsonl"
    texts = [f"Text number {n}: the quick brown fox jumps over {n} lazy dogs." for n in range(30)]
    task.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    outcome = library.tune(task, str(tiny_folder), out=tmp_path, by="memory", timing_samples=1, tolerance=0.5)
    candidates = {c["id"]: c for c in outcome.record["candidates"]}
    assert len(candidates) == 2
    assert outcome.record["task"]["higher_is_better"] is False
    assert candidates[outcome.record["winner"]]["weights"] == [{"int8": {}}]
    least = min(c["quality"]["value"] for c in candidates.values())
    assert candidates[outcome.record["winner"]]["quality"]["value"] <= least + 0.5


def test_an_interrupted_tune_is_continued_under_its_own_run(
    tiny_folder: Path, small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steelyard.tuning import tune as module

    measured = []

    def stop_after_three(*arguments: Any, **options: Any) -> Any:
        measured.append(1)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    options: dict[str, Any] = {
        "store": tmp_path / "runs.db",
        "out": tmp_path,
        "styles": ["plain"],
        "timing_samples": 1,
    }
    monkeypatch.setattr(module, "evaluate", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        library.tune(small_task, str(tiny_folder), **options)
    outcome = library.tune(small_task, str(tiny_folder), **options)
    with RunStore.open(tmp_path / "runs.db") as store:
        assert [run.id for run in store.runs()] == [outcome.run_id]
        assert store.run(outcome.run_id).status == "done"


def test_the_command_in_the_report_does_the_same_again(
    tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tuned["record"]
    store = str(tuned["folder"] / "runs.db")
    monkeypatch.setattr(sys, "argv", [*shlex.split(record["run"]["command"]), "--store", store, "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    again = json.loads(capsys.readouterr().out)
    assert [(c["label"], c["quality"], c["key"]) for c in again["candidates"]] == [
        (c["label"], c["quality"], c["key"]) for c in record["candidates"]
    ]
    assert Path(shlex.split(record["commands"][1])[2]).is_file()
