"""Measure one model or system on one task, keeping every finished sample.

outcome = evaluate(model, load_task("questions.jsonl"), style=PromptStyle("chat", shots=2), store=store)
outcome.summary["accuracy"]             # Interval(value, low, high, n)
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from steelyard.contracts import (
    Ask,
    Continuation,
    Generation,
    Interval,
    LanguageModel,
    Marks,
    ModelCard,
    Progress,
    Prompt,
    PromptStyle,
    Request,
    Response,
    Result,
    ResultKey,
    Sample,
    Sampling,
    Score,
    Task,
    Usage,
)
from steelyard.errors import InputError, ModelError, UsageError
from steelyard.evaluation.prompting import style_key


class ResultStore(Protocol):
    """Where results are kept: :class:`steelyard.runs.store.RunStore`, or anything like it."""

    def get(self, key: ResultKey, sample_ids: Sequence[str] | None = None) -> Mapping[str, Result]:
        """Results kept under a key, by sample id; ``sample_ids`` narrows them down."""
        ...

    def put(self, key: ResultKey, results: Sequence[Result]) -> int:
        """Keep new results in one transaction and return how many were new; those already there stay."""
        ...


@runtime_checkable
class StyledModel(Protocol):
    """A system: a model and the style it is asked in."""

    @property
    def model(self) -> LanguageModel:
        """What is asked."""
        ...

    @property
    def style(self) -> PromptStyle:
        """How it is asked."""
        ...


@runtime_checkable
class DrawsExamples(Protocol):
    """A task that can draw a style's examples."""

    def resolved(self, style: PromptStyle) -> PromptStyle:
        """The style with its examples filled in; UsageError where there are too few."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What one system did on one task.

    ``results`` are in the task's order; ``summary`` has an interval for each metric and ``groups`` the same
    for each group of samples. ``seconds`` is the model's time for all results, also those found in the
    store (``reused`` of them). ``style`` is resolved: its examples are drawn.
    """

    card: ModelCard
    task: str
    key: ResultKey
    results: list[Result]
    summary: dict[str, Interval]
    groups: dict[str, dict[str, Interval]]
    seconds: float
    metric: str
    higher_is_better: bool
    style: PromptStyle
    reused: int = 0


def evaluate(
    model: LanguageModel,
    task: Task,
    *,
    style: PromptStyle | None = None,
    store: ResultStore | None = None,
    sample_ids: Sequence[str] | None = None,
    progress: Progress | None = None,
    chunk: int = 32,
) -> Evaluation:
    """Ask a model every sample of a task and grade the answers.

    Samples whose results the store has are not asked again. The others are asked ``chunk`` at a time, all
    scores in one call and all answers of one sampling in one call; each chunk is kept before the next begins,
    so that an interrupted run goes on where it stopped.

    Args:
        model: The model; a system is asked with its own style unless ``style`` is given.
        task: What to ask.
        style: How to put the questions; plain without examples by default.
        store: Where results are kept and looked up.
        sample_ids: Measure these samples only; the order stays the task's.
        progress: Told of every finished chunk.
        chunk: Samples per call and per transaction.

    Raises:
        UsageError: Unknown sample ids, or a style the task cannot be asked in.
        ModelError: The model failed; the message says how many samples are kept.
    """
    if chunk < 1:
        raise UsageError(f"chunk must be at least 1, not {chunk}")
    asked, style = unwrapped(model, style)
    style = resolved_style(task, style)
    key = ResultKey(asked.card.fingerprint, task.fingerprint, style_key(style))
    samples = _selected(task, sample_ids)
    ids = [sample.id for sample in samples]
    wanted = set(ids)
    found = store.get(key, ids) if store is not None else {}
    done = {sample_id: result for sample_id, result in found.items() if sample_id in wanted}
    reused = len(done)
    for result in done.values():
        _check_metric(model, task, result.sample_id, result.marks)
    missing = [sample for sample in samples if sample.id not in done]
    label = f"{task.name}: {model.card.name}"
    if progress is not None:
        progress.start(label, len(samples), reused)
    for start in range(0, len(missing), chunk):
        batch = missing[start : start + chunk]
        try:
            results = _measure(asked, task, batch, style)
        except (ModelError, InputError) as error:
            error.args = (f"{error} ({_kept(len(done), len(samples), store)})",)
            raise
        done.update((result.sample_id, result) for result in _put(store, key, results))
        if progress is not None:
            progress.advance(label, len(batch))
    return _evaluation(model.card, task, key, style, [done[sample_id] for sample_id in ids], reused)


def unwrapped(model: LanguageModel, style: PromptStyle | None = None) -> tuple[LanguageModel, PromptStyle]:
    """The model to ask and the style to ask it in: a system's own unless ``style`` is given."""
    if isinstance(model, StyledModel) and isinstance(model.style, PromptStyle):
        return model.model, style or model.style
    return model, style or PromptStyle()


def resolved_style(task: Task, style: PromptStyle) -> PromptStyle:
    """The style with the examples that the task draws for it, if it draws any."""
    return task.resolved(style) if isinstance(task, DrawsExamples) else style


def result_key(model: LanguageModel, task: Task, style: PromptStyle | None = None) -> ResultKey:
    """The key under which :func:`evaluate` keeps the results of the same arguments."""
    asked, style = unwrapped(model, style)
    style = resolved_style(task, style)
    return ResultKey(asked.card.fingerprint, task.fingerprint, style_key(style))


def _selected(task: Task, sample_ids: Sequence[str] | None) -> list[Sample]:
    samples = list(task.samples())
    if sample_ids is not None:
        wanted = set(sample_ids)
        unknown = wanted - {sample.id for sample in samples}
        if unknown:
            raise UsageError(f"task {task.name!r} has no sample {min(unknown)!r}; ids are those of the task file")
        samples = [sample for sample in samples if sample.id in wanted]
    if not samples:
        raise UsageError(f"no samples of task {task.name!r} to measure; select at least one")
    return samples


def _measure(model: LanguageModel, task: Task, samples: Sequence[Sample], style: PromptStyle) -> list[Result]:
    """Ask a chunk of samples and grade the answers."""
    requests = [task.requests(sample, style) for sample in samples]
    began = time.perf_counter()
    answers = iter(answer(model, [request for own in requests for request in own]))
    seconds = (time.perf_counter() - began) / len(samples)
    results = []
    for sample, own in zip(samples, requests, strict=True):
        responses = [next(answers) for _ in own]
        results.append(
            Result(
                sample_id=sample.id,
                marks=_grade(model, task, sample, responses),
                group=sample.group,
                weight=sample.weight,
                requests=tuple(request_record(request) for request in own),
                responses=tuple(response_record(response) for response in responses),
                seconds=seconds,
                usage=_usage(responses),
            )
        )
    return results


def answer(model: LanguageModel, requests: Sequence[Request]) -> list[Response]:
    """Responses in the order of requests, from as few calls as possible."""
    responses: dict[int, Response] = {}
    scores = [(i, r) for i, r in enumerate(requests) if isinstance(r, Continuation)]
    if scores:
        scored = model.score([request for _, request in scores])
        responses.update(_paired(model, [i for i, _ in scores], scored))
    by_sampling: dict[Sampling, list[tuple[int, Prompt]]] = {}
    for i, request in enumerate(requests):
        if isinstance(request, Ask):
            by_sampling.setdefault(request.sampling, []).append((i, request.prompt))
    for sampling, asked in by_sampling.items():
        generated = model.generate([prompt for _, prompt in asked], sampling)
        responses.update(_paired(model, [i for i, _ in asked], generated))
    return [responses[i] for i in range(len(requests))]


def _paired(model: LanguageModel, places: Sequence[int], got: Sequence[Response]) -> dict[int, Response]:
    if len(got) != len(places):
        raise ModelError(f"model {model.card.name!r} returned {len(got)} responses to {len(places)} requests")
    return dict(zip(places, got, strict=True))


def _grade(model: LanguageModel, task: Task, sample: Sample, responses: Sequence[Response]) -> Marks:
    for response in responses:
        if isinstance(response, Generation) and response.finish_reason == "error":
            raise ModelError(f"model {model.card.name!r} failed to answer sample {sample.id!r} of {task.name!r}")
    try:
        marks = task.grade(sample, responses)
    except ModelError as error:
        error.args = (f"model {model.card.name!r}, task {task.name!r}, {error}",)
        raise
    _check_metric(model, task, sample.id, marks)
    return marks


def _check_metric(model: LanguageModel, task: Task, sample_id: str, marks: Marks) -> None:
    if task.metric not in marks.values:
        raise ModelError(
            f"model {model.card.name!r}, task {task.name!r}, sample {sample_id!r}: the metric {task.metric!r} "
            "cannot be computed from what the model returns; choose another"
        )


def _put(store: ResultStore | None, key: ResultKey, results: list[Result]) -> list[Result]:
    """Keep results and return what is kept: where another process was faster, its results."""
    if store is None or store.put(key, results) == len(results):
        return results
    kept = store.get(key, [result.sample_id for result in results])
    return [kept.get(result.sample_id, result) for result in results]


def _kept(done: int, total: int, store: ResultStore | None) -> str:
    if store is None:
        return f"{done} of {total} samples were measured but not kept, as there is no store"
    return f"{done} of {total} samples are kept; the same call goes on from there"


def _evaluation(
    card: ModelCard, task: Task, key: ResultKey, style: PromptStyle, results: list[Result], reused: int
) -> Evaluation:
    return Evaluation(
        card=card,
        task=task.name,
        key=key,
        results=results,
        summary=_summarised(task, results),
        groups=_by_group(task, results),
        seconds=sum(result.seconds for result in results),
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        style=style,
        reused=reused,
    )


def _summarised(task: Task, results: Sequence[Result]) -> dict[str, Interval]:
    return task.summarise([result.marks for result in results], [result.weight for result in results])


def _by_group(task: Task, results: Sequence[Result]) -> dict[str, dict[str, Interval]]:
    names = dict.fromkeys(result.group for result in results if result.group)
    return {name: _summarised(task, [result for result in results if result.group == name]) for name in names}


def _usage(responses: Sequence[Response]) -> Usage:
    """Tokens of all responses; a scored text is read, not written."""
    read = written = 0
    for response in responses:
        if isinstance(response, Score):
            read += response.context_tokens + len(response.token_logprobs)
        else:
            read += response.usage.prompt_tokens
            written += response.usage.completion_tokens
    return Usage(read, written)


def request_record(request: Request) -> dict[str, Any]:
    """A request as a JSON-ready record."""
    if isinstance(request, Continuation):
        return {"kind": "score", "context": _prompt_record(request.context), "text": request.text}
    s = request.sampling
    sampling = {
        "max_tokens": s.max_tokens,
        "temperature": s.temperature,
        "top_p": s.top_p,
        "top_k": s.top_k,
        "stop": list(s.stop),
        "seed": s.seed,
        **({"min_p": s.min_p} if s.min_p else {}),
        **({"repetition_penalty": s.repetition_penalty} if s.repetition_penalty != 1 else {}),
        **({"grammar": asdict(s.grammar)} if s.grammar else {}),
    }
    return {"kind": "generate", "prompt": _prompt_record(request.prompt), "sampling": sampling}


def response_record(response: Response) -> dict[str, Any]:
    """A response as a JSON-ready record; a log-probability of minus infinity becomes null."""
    if isinstance(response, Score):
        return {
            "kind": "score",
            "logprob": _finite(response.logprob),
            "token_logprobs": [_finite(p) for p in response.token_logprobs],
            "tokens": list(response.tokens),
            "utf8_bytes": response.utf8_bytes,
            "greedy": bool(response.greedy),
            "context_tokens": response.context_tokens,
        }
    return {
        "kind": "generate",
        "text": response.text,
        "finish_reason": response.finish_reason,
        "prompt_tokens": response.usage.prompt_tokens,
        "completion_tokens": response.usage.completion_tokens,
        **({"citations": [asdict(citation) for citation in response.citations]} if response.citations else {}),
    }


def _prompt_record(prompt: Prompt) -> str | list[dict[str, str]]:
    if isinstance(prompt, str):
        return prompt
    return [{"role": message.role, "content": message.content} for message in prompt]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
