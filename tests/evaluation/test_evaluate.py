from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from steelyard.contracts import Continuation, Generation, Message, PromptStyle, ResultKey, Score
from steelyard.errors import EndpointError, InputError, ModelError, UsageError
from steelyard.evaluation.evaluate import evaluate, request_record, response_record, result_key

ANSWERS = {
    "grass": "green",
    "snow": "white",
    "coal": "white",  # wrong
    "blood": "red",
    "1 plus 1": "2",
    "2 plus 2": "The answer is 4.",  # contains it, but is not it
    "3 plus 3": "6",
    "4 plus 4": "8",
}


@dataclass
class Watcher:
    events: list[tuple[Any, ...]]

    def start(self, name: str, total: int, done: int = 0) -> None:
        self.events.append(("start", name, total, done))

    def advance(self, name: str, by: int = 1) -> None:
        self.events.append(("advance", name, by))

    def note(self, text: str) -> None:
        self.events.append(("note", text))


@dataclass
class TinySystem:
    model: Any
    style: PromptStyle

    @property
    def card(self) -> Any:
        return replace(self.model.card, name="system", fingerprint="of-the-system")


def test_a_mixed_task(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    outcome = evaluate(table_model(ANSWERS), make_task(mixed_rows))
    assert [r.sample_id for r in outcome.results] == [row["id"] for row in mixed_rows]
    assert outcome.summary["accuracy"].value == 6 / 8
    assert outcome.summary["accuracy"].n == 8
    assert outcome.summary["contains"].value == 1
    assert outcome.summary["contains"].n == 4
    assert outcome.groups["colours"]["accuracy"].value == 0.75
    assert outcome.groups["sums"]["exact_match"].value == 0.75
    assert outcome.results[2].marks.prediction == "white"
    assert outcome.task == "task"
    assert outcome.metric == "accuracy"
    assert outcome.seconds == pytest.approx(sum(r.seconds for r in outcome.results))
    assert outcome.results[4].usage.completion_tokens == 2
    assert outcome.results[0].usage.prompt_tokens > 4 * 3


def test_one_call_of_each_kind_for_a_chunk(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    model = table_model(ANSWERS)
    evaluate(model, make_task(mixed_rows))
    assert model.calls == [("score", 16), ("generate", 4)]
    model = table_model(ANSWERS)
    evaluate(model, make_task(mixed_rows), chunk=3)
    assert model.calls == [("score", 12), ("score", 4), ("generate", 2), ("generate", 2)]


def test_chunks_do_not_change_results(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    task = make_task(mixed_rows)
    outcomes = [evaluate(table_model(ANSWERS), task, chunk=chunk) for chunk in (1, 3, 100)]
    marks = [[r.marks for r in outcome.results] for outcome in outcomes]
    assert marks[0] == marks[1] == marks[2]
    assert outcomes[0].summary == outcomes[1].summary


def test_what_is_kept_is_not_asked_again(
    make_task: Any, mixed_rows: Any, table_model: Any, memory_store: Any
) -> None:
    task, watcher = make_task(mixed_rows), Watcher([])
    some = evaluate(table_model(ANSWERS), task, store=memory_store, sample_ids=["s-2", "c-snow"])
    assert [r.sample_id for r in some.results] == ["c-snow", "s-2"]  # in the task's order
    model = table_model(ANSWERS)
    full = evaluate(model, task, store=memory_store, progress=watcher, chunk=4)
    assert full.reused == 2
    assert sum(n for kind, n in model.calls if kind == "generate") == 3
    assert watcher.events == [
        ("start", "task: table", 8, 2),
        ("advance", "task: table", 4),
        ("advance", "task: table", 2),
    ]
    model = table_model(ANSWERS)
    again = evaluate(model, task, store=memory_store)
    assert model.calls == []
    assert again.reused == 8
    assert again.results == full.results
    assert again.summary == full.summary
    # Another ranking metric or nothing at all changed: the same results serve.
    assert evaluate(model, make_task(mixed_rows, name="copy"), store=memory_store).reused == 8
    assert evaluate(model, task, style=PromptStyle("chat"), store=memory_store).reused == 0


def test_a_failing_model_leaves_finished_chunks(
    make_task: Any, mixed_rows: Any, table_model: Any, memory_store: Any
) -> None:
    task = make_task(mixed_rows)
    with pytest.raises(EndpointError, match=r"did not answer \(6 of 8 samples are kept; the same call goes on"):
        evaluate(table_model(ANSWERS, fails_after=3), task, store=memory_store, chunk=2, sample_ids=None)
    assert memory_store.puts == 3
    resumed = evaluate(table_model(ANSWERS), task, store=memory_store, chunk=2)
    assert resumed.reused == 6
    whole = evaluate(table_model(ANSWERS), task)
    assert [(r.sample_id, r.marks) for r in resumed.results] == [(r.sample_id, r.marks) for r in whole.results]
    with pytest.raises(EndpointError, match="0 of 8 samples were measured but not kept, as there is no store"):
        evaluate(table_model(ANSWERS, fails_after=0), task)


def test_the_first_of_two_processes_wins(
    make_task: Any, mixed_rows: Any, table_model: Any, memory_store: Any
) -> None:
    task = make_task(mixed_rows)
    model = table_model(ANSWERS)
    key = result_key(model, task)
    other = evaluate(table_model({"grass": "red"}), task).results[0]

    class Late(type(memory_store)):  # type: ignore[misc]
        def get(self, key: ResultKey, sample_ids: Any = None) -> Any:
            found = super().get(key, sample_ids)
            if not self.puts:
                super().put(key, [other])  # the other process writes after we looked
                return {}
            return found

    outcome = evaluate(model, task, store=Late())
    assert outcome.key == key
    assert outcome.results[0] == other
    assert outcome.results[1].marks.values["accuracy"] == 1


def test_a_system_is_asked_with_its_style(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    task, model = make_task(mixed_rows), table_model(ANSWERS)
    style = PromptStyle("chat", shots=1, instruction="Be brief.")
    through = evaluate(TinySystem(model, style), task)
    direct = evaluate(model, task, style=style)
    assert through.card.name == "system"
    assert through.key == direct.key == result_key(TinySystem(model, style), task)
    assert [r.marks for r in through.results] == [r.marks for r in direct.results]
    context = through.results[0].requests[0]["context"]
    assert context[0] == {"role": "system", "content": "Be brief."}
    assert [turn["role"] for turn in context[1:]] == ["user", "assistant", "user"]
    assert evaluate(TinySystem(model, style), task, style=PromptStyle()).style == PromptStyle()


def test_examples_written_out_find_the_results_of_drawn_ones(
    make_task: Any, mixed_rows: Any, table_model: Any, memory_store: Any
) -> None:
    task, model = make_task(mixed_rows), table_model(ANSWERS)
    drawn = evaluate(model, task, style=PromptStyle(shots=2, seed=3), store=memory_store)
    written = PromptStyle(shots=2, examples=drawn.style.examples)
    assert evaluate(model, task, style=written, store=memory_store).reused == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_ids": ["nobody"]}, "has no sample 'nobody'"),
        ({"sample_ids": []}, "no samples of task 'task' to measure"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"style": PromptStyle(shots=9)}, "use at most 7 shots"),
    ],
)
def test_wrong_use(options: Any, message: str, make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    model = table_model(ANSWERS)
    with pytest.raises(UsageError, match=message):
        evaluate(model, make_task(mixed_rows), **options)
    assert model.calls == []


def test_models_that_misbehave(make_task: Any, mixed_rows: Any, table_model: Any, memory_store: Any) -> None:
    task = make_task(mixed_rows)

    class Short(table_model):  # type: ignore[misc]
        def score(self, requests: Any, *, top: int = 0) -> Any:
            return super().score(requests)[1:]

    class Broken(table_model):  # type: ignore[misc]
        def score(self, requests: Any, *, top: int = 0) -> Any:
            return [replace(s, logprob=float("nan")) for s in super().score(requests)]

    class Mute(table_model):  # type: ignore[misc]
        def generate(self, prompts: Any, sampling: Any = None) -> Any:
            return [Generation("", finish_reason="error") for _ in prompts]

    class Tokenless(table_model):  # type: ignore[misc]
        def score(self, requests: Any, *, top: int = 0) -> Any:
            return [replace(s, token_logprobs=()) for s in super().score(requests)]

    with pytest.raises(ModelError, match="'table' returned 15 responses to 16 requests"):
        evaluate(Short(ANSWERS), task)
    with pytest.raises(ModelError, match=r"model 'table', task 'task', sample 'c-grass': .* is nan"):
        evaluate(Broken(ANSWERS), task)
    with pytest.raises(ModelError, match="failed to answer sample 's-1'"):
        evaluate(Mute(ANSWERS), task)
    with pytest.raises(ModelError, match="'accuracy_token' cannot be computed"):
        evaluate(Tokenless(ANSWERS), make_task(mixed_rows[:4], metric="accuracy_token"))
    # ... nor from what such a model left in the store while another metric was asked for.
    evaluate(Tokenless(ANSWERS), make_task(mixed_rows[:4]), store=memory_store)
    with pytest.raises(ModelError, match="'accuracy_token' cannot be computed"):
        evaluate(Tokenless(ANSWERS), make_task(mixed_rows[:4], metric="accuracy_token"), store=memory_store)


def test_a_pattern_without_end_keeps_finished_work(
    make_task: Any, table_model: Any, memory_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steelyard.evaluation import grading

    quick = grading.pattern_match
    monkeypatch.setattr(grading, "pattern_match", lambda *given: quick(*given, seconds=0.1))
    rows = [
        {"id": "fine", "prompt": "first", "answers": ["x"], "pattern": "x"},
        {"id": "slow", "prompt": "second", "answers": ["x"], "pattern": "(a|aa)+$"},
    ]
    model = table_model({"first": "x", "second": "a" * 60 + "!"})
    with pytest.raises(InputError, match=r"sample 'slow': the pattern .* \(1 of 2 samples are kept"):
        evaluate(model, make_task(rows), store=memory_store, chunk=1)


def test_records_are_json_ready() -> None:
    turns = [Message("user", "x")]
    assert request_record(Continuation(turns, "y")) == {
        "kind": "score",
        "context": [{"role": "user", "content": "x"}],
        "text": "y",
    }
    record = response_record(Score(float("-inf"), (float("-inf"),), ("y",), 1, False))
    assert record["logprob"] is None
    assert record["token_logprobs"] == [None]
    assert response_record(Generation("z", finish_reason="length"))["finish_reason"] == "length"
