"""A model on a Ray cluster of two workers on this machine, started once for all these tests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Continuation, LanguageModel, Message, Sampling, Score
from steelyard.errors import CapabilityError, EndpointError, ModelError, UsageError
from steelyard.evaluation.recorded import evaluate_recorded
from steelyard.models.loading import load_model
from steelyard.models.ray_model import Plan, RayModel, address_of, connect, divide, shard
from steelyard.runs.store import RunStore
from steelyard.systems.loading import load
from steelyard.systems.system import System

pytestmark = pytest.mark.xdist_group("ray")

CHAT = [Message("user", "What is the capital of France?")]
REQUESTS = [
    *(
        Continuation("Question: What is the capital of France?\nAnswer:", f" {word}")
        for word in ["Paris", "fox", "dog"]
    ),
    *(Continuation(context, " the lazy dog") for context in ("The quick", "Pack my", "", "The quick brown")),
    Continuation(CHAT, "Paris"),
    Continuation("The quick", ""),
]
PROMPTS = ["The quick brown", CHAT, "Pack my box", "Question:", "The quick brown", "Zażółć", "a", "b", "c"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A local cluster with two processors and no dashboard."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'steelyard[ray]'")
    before = os.environ.get("RAY_USAGE_STATS_ENABLED")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    settings = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="local", **settings)
    except Exception as error:  # its own processes give up where a loaded machine is slow to start them
        ray.shutdown()
        pytest.skip(f"Ray did not start on this machine: {error}")
    yield ray
    ray.shutdown()
    if before is None:
        del os.environ["RAY_USAGE_STATS_ENABLED"]


@pytest.fixture(scope="module")
def models(cluster: Any, tiny_folder: Path) -> tuple[LanguageModel, RayModel]:
    """The same tiny model here and on the cluster."""
    return load_model(str(tiny_folder)), RayModel(partial(load_model, str(tiny_folder)))


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Forty questions with two answers each."""
    file = tmp_path / "task.jsonl"
    line = '{{"id": "q{0}", "prompt": "Is {0} odd?", "choices": ["yes", "no"], "answer": {1}}}\n'
    file.write_text("".join(line.format(i, (i + 1) % 2) for i in range(40)))
    return file


def check_scores(found: Sequence[Score], expected: Sequence[Score]) -> None:
    for ours, local in zip(found, expected, strict=True):
        assert ours.tokens == local.tokens
        assert ours.token_logprobs == pytest.approx(local.token_logprobs, abs=1e-4)
        assert ours.greedy == local.greedy


def test_two_workers_give_the_results_of_one_machine_in_order(models: tuple[LanguageModel, RayModel]) -> None:
    local, far = models
    assert isinstance(far, LanguageModel)
    assert far.card == local.card
    assert far.plan == Plan(2, 1, 0)
    check_scores(far.score(REQUESTS), local.score(REQUESTS))
    sampling = Sampling(max_tokens=5)
    texts = [answer.text for answer in far.generate(PROMPTS, sampling)]
    assert texts == [answer.text for answer in local.generate(PROMPTS, sampling)]
    each = [Sampling(max_tokens=4, temperature=1.0, seed=seed) for seed in range(len(PROMPTS))]
    texts = [answer.text for answer in far.generate(PROMPTS, each)]
    assert texts == [answer.text for answer in local.generate(PROMPTS, each)]
    assert far.embed([str(p) for p in PROMPTS]) == pytest.approx(local.embed([str(p) for p in PROMPTS]), abs=1e-5)  # type: ignore[attr-defined]
    assert far.score([]) == far.generate([]) == []
    assert far.embed([]).shape == (0, 32)


def test_detail_and_alternatives_come_along(models: tuple[LanguageModel, RayModel]) -> None:
    local, far = models
    for found, expected in zip(far.score(REQUESTS[:5], top=2), local.score(REQUESTS[:5], top=2), strict=True):
        assert found.top
        assert all(a == pytest.approx(b, abs=1e-4) for a, b in zip(found.top, expected.top, strict=True))


def test_both_workers_have_work(models: tuple[LanguageModel, RayModel], cluster: Any) -> None:
    pids = cluster.get([worker.pid.remote() for worker in models[1].pool])
    assert len({*pids, os.getpid()}) == 3


def test_the_shard_of_a_killed_worker_is_done_again(
    models: tuple[LanguageModel, RayModel], tiny_folder: Path, tmp_path: Path
) -> None:
    local, _ = models
    deaths = 2

    def fragile(folder: str = str(tiny_folder), graves: str = str(tmp_path)) -> Any:
        class Fragile:
            """Kills its process in the middle of its work, as often as asked."""

            def __init__(self) -> None:
                self.model = load_model(folder)
                self.card = self.model.card

            def score(self, requests: Any, top: int = 0, detail: bool = False) -> Any:
                found = self.model.score(requests, top=top)
                for number in range(deaths):
                    try:
                        os.close(os.open(f"{graves}/{number}", os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        continue
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

        return Fragile()

    check_scores(RayModel(fragile).score(REQUESTS), local.score(REQUESTS))
    assert sorted(file.name for file in tmp_path.iterdir()) == [str(number) for number in range(deaths)]


def test_a_worker_that_always_dies_is_one_clear_error(cluster: Any) -> None:
    def hopeless() -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ModelError, match="started again 3 times in vain") as caught:
        RayModel(hopeless, workers=1).score(REQUESTS)
    assert "\n" not in str(caught.value)


def test_errors_of_a_worker_are_raised_as_they_are(
    models: tuple[LanguageModel, RayModel], cluster: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no such") as caught:
        RayModel(partial(load_model, str(tmp_path / "nowhere" / "model"))).score(REQUESTS)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="max_tokens must be 0 or more"):
        models[1].generate(["a"], Sampling(max_tokens=-1))

    def broken() -> Any:
        raise ZeroDivisionError("of their own making")

    with pytest.raises(ModelError, match="of their own making") as caught:
        RayModel(broken).score(REQUESTS)
    assert "\n" not in str(caught.value)


def test_an_evaluation_on_ray_is_stored_as_one_at_home_even_if_a_worker_is_killed(
    cluster: Any, tiny_folder: Path, task: Path, tmp_path: Path
) -> None:
    import steelyard

    home = steelyard.eval(str(tiny_folder), task, store=tmp_path / "home.db").evaluation
    killed: list[int] = []

    class Killer:
        """Kills a worker when it is told of the first chunk."""

        def start(self, name: str, total: int, done: int = 0) -> None:
            model.pool  # noqa: B018  # workers are placed before any work
            pid = cluster.get(model.pool[0].pid.remote())
            killed.append(pid)
            threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()

        def advance(self, name: str, by: int = 1) -> None:
            pass

        def note(self, text: str) -> None:
            pass

    model = load(str(tiny_folder), on="ray")
    assert isinstance(model, RayModel)
    with RunStore.open(tmp_path / "far.db") as store:
        far = evaluate_recorded(model, task, store=store, progress=Killer()).evaluation
        again = steelyard.eval(str(tiny_folder), task, store=store, on="ray").evaluation
        assert store.get(far.key) == {result.sample_id: result for result in far.results}
    assert killed
    assert again.reused == 40
    assert far.key == home.key
    assert far.summary.keys() == home.summary.keys()
    for metric, value in far.summary.items():
        assert value == pytest.approx(home.summary[metric], abs=1e-4)
    for ours, local in zip(far.results, home.results, strict=True):
        assert (ours.sample_id, ours.marks.prediction) == (local.sample_id, local.marks.prediction)
        for mine, theirs in zip(ours.responses, local.responses, strict=True):
            assert mine["logprob"] == pytest.approx(theirs["logprob"], abs=1e-4)


def test_system_files_and_wrong_addresses(cluster: Any, tiny_folder: Path, task: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(f"model: {tiny_folder}\nweights: [{{int8: {{}}}}]\nprompt: {{style: plain}}\n")
    local, far = load(file), load(file, on="ray")
    assert isinstance(far, System)
    assert far.card == local.card
    assert (
        far.generate([CHAT], Sampling(max_tokens=3))[0].text
        == local.generate([CHAT], Sampling(max_tokens=3))[0].text
    )
    with pytest.raises(UsageError, match="served elsewhere"):
        load("http://localhost:1/v1", on="ray")
    with pytest.raises(UsageError, match="--on 'dask' is unknown"):
        load(tiny_folder, on="dask")
    with pytest.raises(UsageError, match="loaded already"):
        evaluate_recorded(local, task, on="ray", store=tmp_path / "s.db")


def test_an_unreachable_cluster_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'steelyard[ray]'")

    def refuse(**_: Any) -> None:
        raise ConnectionError("nothing there\nat all")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(EndpointError, match=r"no Ray cluster answers at '1\.2\.3\.4:5' \(nothing there\)"):
        connect("1.2.3.4:5")


def test_addresses_and_shares() -> None:
    assert address_of("ray:auto") == "auto"
    with pytest.raises(UsageError, match="has no CPU"):
        divide({})
    with pytest.raises(UsageError, match="3 Ray workers do not fit"):
        divide({"CPU": 2.0}, 3)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 50)), max_size=40), st.integers(1, 6))
def test_shards_are_ranges_of_the_sorted_requests(requests: list[tuple[str, int]], workers: int) -> None:
    keys = [(key,) for key, _ in requests]
    shards = shard(keys, [weight for _, weight in requests], workers)
    assert sorted(i for part in shards for i in part) == list(range(len(requests)))
    assert len(shards) <= workers
    assert all(shards)
    joined = [keys[i] for part in shards for i in part]
    assert joined == sorted(keys)


def test_a_worker_lacks_what_its_model_lacks(cluster: Any) -> None:
    from steelyard.models.scripted import ScriptedModel

    with pytest.raises(CapabilityError, match="lacks the capability 'embed'"):
        RayModel(partial(ScriptedModel, answers={})).embed(["a"])


def test_equal_keys_stay_together_where_a_border_is_near() -> None:
    keys = [("a",)] * 9 + [("b",)] * 7
    assert shard(keys, [1] * 16, 2) == [list(range(9)), list(range(9, 16))]
