"""A model on a Ray cluster: each worker loads it once, and calls are divided among them.

    model = RayModel(partial(load_model, "smollm2-135m"))           # a cluster of this machine, started when used
    model = RayModel(partial(load_model, "smollm2-135m"), "10.0.0.5:6379")
    model.score(requests)                                           # the same scores, in order

Ray does the work of a cluster: it places the workers, hands them their shards, starts a killed one again and gives
it its shard once more. Requests that begin alike go to the same worker, because what they share is computed once
there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.contracts import (
    Continuation,
    Embedder,
    Generation,
    LanguageModel,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    TextRole,
)
from steelyard.errors import CapabilityError, EndpointError, ModelError, SteelyardError, UsageError
from steelyard.models.requests import sampling_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CORES = 4
"""Cores a worker gets where a cluster has plenty: more workers would hold more copies of the weights."""
RESTARTS = 3
"""How often one worker is started again, and a shard given out again."""
SMALLEST_SHARD = 4
"""Requests below which a call is not divided further."""


class Worker:
    """What runs on the cluster: a model loaded when first asked, on its share of the cores."""

    def __init__(self, load: Callable[[], LanguageModel], threads: int) -> None:
        self._load = load
        self._threads = threads

    @cached_property
    def model(self) -> LanguageModel:
        """The model, loaded."""
        import torch

        torch.set_num_threads(self._threads)
        return self._load()

    def pid(self) -> int:
        """The process it runs in."""
        return os.getpid()

    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    def score(self, requests: Sequence[Continuation], top: int, detail: bool) -> list[Score]:
        """Score a shard."""
        return self.model.score(requests, top=top, detail=detail)

    def generate(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Generation]:
        """Answer a shard."""
        one = len(set(samplings)) == 1
        return self.model.generate(prompts, samplings[0] if one else samplings)

    def embed(self, texts: Sequence[str], role: TextRole) -> NDArray[np.float32]:
        """Embed a shard."""
        if not isinstance(self.model, Embedder):
            raise CapabilityError(f"{self.model.card.name} lacks the capability 'embed'")
        return self.model.embed(texts, role)


class Plan(NamedTuple):
    """How many workers, and the cores and GPUs of each."""

    workers: int
    cores: int
    gpus: int


class RayModel:
    """A language model whose work is done by the workers of a Ray cluster; results are as on one machine.

    Nothing is started before the first use. Workers end when the model is no longer referred to; a cluster that
    was started here ends with the process.

    Attributes:
        load: makes the model on a worker; must be picklable, such as ``partial(load_model, name)``.
        address: of a running cluster, ``auto`` for the one this machine belongs to, or None to use what Ray is
            connected to already, else a new one of this machine.
        workers: how many; by default one for each GPU, or for every four cores (at least two).
    """

    def __init__(
        self, load: Callable[[], LanguageModel], address: str | None = None, *, workers: int | None = None
    ) -> None:
        self.load = load
        self.address = address
        self.workers = workers

    @cached_property
    def plan(self) -> Plan:
        """How the cluster is divided; connects to it."""
        connect(self.address)
        import ray

        return divide(ray.cluster_resources(), self.workers)

    @cached_property
    def pool(self) -> list[Any]:
        """The workers, as Ray's handles."""
        plan = self.plan
        import ray

        # No cores are reserved: a second model on the same cluster shares them, rather than wait for ever. It has
        # to be said, since naming any resource makes Ray reserve a core.
        options = {
            "num_cpus": 0,
            "num_gpus": plan.gpus,
            "max_restarts": RESTARTS,
            "max_task_retries": RESTARTS,
            "scheduling_strategy": "SPREAD",
        }
        remote = ray.remote(**options)(Worker)
        return [remote.remote(self.load, plan.cores) for _ in range(plan.workers)]

    @cached_property
    def card(self) -> ModelCard:
        """The card of the model as the first worker loaded it."""
        card: ModelCard = self._gathered([self.pool[0].card.remote()])[0]
        return card

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each request, in order."""
        keys = [(_sort_key(request.context), request.text) for request in requests]
        weights = [len(text) + sum(map(len, context)) for context, text in keys]
        shards = shard([context for context, _ in keys], weights, self.plan.workers)
        found: list[Score] = self._run("score", shards, [list(requests)], (top, detail), len(requests))
        return found

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt, in order."""
        samplings = sampling_each(prompts, sampling)
        keys = [_sort_key(prompt) for prompt in prompts]
        weights = [sum(map(len, key)) + s.max_tokens for key, s in zip(keys, samplings, strict=True)]
        shards = shard(keys, weights, self.plan.workers)
        found: list[Generation] = self._run("generate", shards, [list(prompts), samplings], (), len(prompts))
        return found

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """Unit vectors of texts: float32 (n, d)."""
        import numpy as np

        shards = shard([(text,) for text in texts], [len(text) for text in texts], self.plan.workers)
        if not shards:
            empty: NDArray[np.float32] = self._gathered([self.pool[0].embed.remote([], role)])[0]
            return empty
        return np.stack(self._run("embed", shards, [list(texts)], (role,), len(texts)))

    def _run(
        self, verb: str, shards: list[list[int]], columns: list[list[Any]], settings: tuple[Any, ...], n: int
    ) -> list[Any]:
        """Have workers do one shard each and put the results back in order."""
        pending = [
            getattr(worker, verb).remote(*([column[i] for i in indices] for column in columns), *settings)
            for worker, indices in zip(self.pool, shards, strict=False)
        ]
        results: list[Any] = [None] * n
        for indices, answers in zip(shards, self._gathered(pending), strict=True):
            if len(answers) != len(indices):
                raise ModelError(f"a Ray worker returned {len(answers)} results to {len(indices)} requests")
            for index, answer in zip(indices, answers, strict=True):
                results[index] = answer
        return results

    def _gathered(self, pending: list[Any]) -> list[Any]:
        """What the tasks return; an error of Steelyard's own in a worker is raised as it was there."""
        import ray

        try:
            return list(ray.get(pending))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SteelyardError):
                raise error.cause from None
            raise ModelError(f"a Ray worker failed: {_reason(error.cause or error)}") from error
        except ray.exceptions.RayActorError as error:
            raise ModelError(
                f"a Ray worker died and was started again {RESTARTS} times in vain; does the model fit the memory "
                f"of its node? ({_reason(error)})"
            ) from error
        except ray.exceptions.RayError as error:
            raise ModelError(f"the Ray cluster failed: {_reason(error)}") from error


def connect(address: str | None) -> None:
    """Connect to a cluster, or start one of this machine; usage statistics are off for what is started here.

    Without an address, a connection that the process already has is used, then ``RAY_ADDRESS``.

    Raises:
        UsageError: Ray is not installed.
        EndpointError: No cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--on ray needs the package ray: pip install 'steelyard[ray]'") from error
    if ray.is_initialized():
        return
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    local = {"include_dashboard": False} if place == "local" else {}
    try:
        ray.init(address=place, log_to_driver=False, logging_level="ERROR", **local)
    except Exception as error:  # Ray raises a bare Exception where its own processes are slow to start
        raise EndpointError(
            f"no Ray cluster answers at {place!r} ({_reason(error)}); start one with `ray start --head`, or leave "
            "the address out"
        ) from error


def address_of(on: str) -> str | None:
    """The address in ``ray`` or ``ray:ADDRESS``, what ``--on`` takes.

    >>> address_of("ray"), address_of("ray:10.0.0.5:6379")
    (None, '10.0.0.5:6379')
    """
    engine, _, address = on.partition(":")
    if engine != "ray":
        raise UsageError(f"--on {on!r} is unknown; write ray, or ray:ADDRESS of a running cluster")
    return address or None


def divide(resources: dict[str, float], workers: int | None = None) -> Plan:
    """Workers for a cluster of ``resources`` (Ray's ``CPU`` and ``GPU``), and the share of each.

    >>> divide({"CPU": 2.0}), divide({"CPU": 64.0}), divide({"CPU": 32.0, "GPU": 2.0})
    (Plan(workers=2, cores=1, gpus=0), Plan(workers=16, cores=4, gpus=0), Plan(workers=2, cores=4, gpus=1))
    >>> divide({"CPU": 2.0}, workers=1)
    Plan(workers=1, cores=2, gpus=0)
    """
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cores < 1:
        raise UsageError("the Ray cluster has no CPU to give; start its nodes with --num-cpus")
    if workers is None:
        workers = min(gpus, cores) or max(min(2, cores), cores // CORES)
        return Plan(workers, max(1, min(CORES, cores // workers)), 1 if gpus else 0)
    if not 1 <= workers <= cores:
        raise UsageError(f"{workers} Ray workers do not fit the cluster: it has {cores} cores")
    return Plan(workers, cores // workers, 1 if workers <= gpus else 0)


def shard(keys: Sequence[tuple[str, ...]], weights: Sequence[int], workers: int) -> list[list[int]]:
    """Divide requests into at most ``workers`` shards of about equal weight, each a range of the sorted requests.

    Sorting puts next to each other what begins alike. Equal keys are kept together unless that would move a
    border by more than a quarter of a shard.

    >>> shard([("b",), ("a",), ("b",), ("a",), ("a",), ("b",), ("a",), ("b",)], [1] * 8, 2)
    [[1, 3, 4, 6], [0, 2, 5, 7]]
    """
    order = sorted(range(len(keys)), key=lambda i: (keys[i], i))
    ordered = [keys[i] for i in order]
    count = max(1, min(workers, len(order) // SMALLEST_SHARD))
    total = sum(weights)
    borders, held = [0], 0
    for place, index in enumerate(order):
        if held >= total * len(borders) / count and len(borders) < count and place > borders[-1]:
            borders.append(_group_border(ordered, place, len(order) // (4 * count)))
        held += weights[index]
    borders = sorted({*borders, len(order)})
    return [order[a:b] for a, b in pairwise(borders)]


def _group_border(keys: Sequence[Hashable], place: int, reach: int) -> int:
    """The border between different keys nearest to ``place``, or ``place`` where none is within ``reach``."""
    for distance in range(reach + 1):
        for border in (place - distance, place + distance):
            if 0 < border < len(keys) and keys[border - 1] != keys[border]:
                return border
    return place


def _sort_key(prompt: Prompt) -> tuple[str, ...]:
    return (prompt,) if isinstance(prompt, str) else tuple(f"{m.role}: {m.content}" for m in prompt)


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
