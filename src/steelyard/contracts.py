"""The page to read first: every record and protocol that Steelyard's rooms agree on.

A part that changes weights takes and returns :class:`OpenWeights`; a part that composes takes language models and
returns a :class:`LanguageModel`. Records are frozen dataclasses, protocols structural: nothing inherits from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Prompt: TypeAlias = str | Sequence[Message]
"""Raw text, taken exactly as it is, or a conversation, rendered with the model's chat template."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A request for log P(text | context).

    ``context`` may be a conversation: it is then rendered up to the start of the assistant's turn. An empty
    ``context`` scores the whole text from the model's beginning-of-sequence token, in rolling windows when it
    is longer than the model's context.
    """

    context: Prompt
    text: str


@dataclass(frozen=True, slots=True)
class Score:
    """Natural-log probability of a continuation, whole and per token.

    ``tokens`` are text pieces; ``greedy`` says whether every token was the most probable one. Where asked for,
    ``top`` holds the most probable alternatives at each token, ``ranks`` the token's place among all (0 first)
    and ``entropies`` those of the whole distributions, in nats.
    """

    logprob: float
    token_logprobs: tuple[float, ...]
    tokens: tuple[str, ...]
    utf8_bytes: int
    greedy: bool
    context_tokens: int = 0
    top: tuple[Mapping[str, float], ...] = ()
    ranks: tuple[int, ...] = ()
    entropies: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like: exactly one of a list of choices, a regular expression or a JSON schema."""

    choices: tuple[str, ...] = ()
    regex: str = ""
    json_schema: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. ``temperature`` 0 is greedy; ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 do not cut.

    ``min_p`` drops tokens less probable than that share of the best; ``repetition_penalty`` above 1 disfavours
    tokens of prompt and answer; ``logprobs`` asks for that many most probable alternatives at each token.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    grammar: Grammar | None = None


Samplings: TypeAlias = Sampling | Sequence[Sampling]
"""One way to generate for all prompts, or one for each."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written for one request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


FinishReason: TypeAlias = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a claim of an answer comes from: ``answer.text[answer_start:answer_end]`` rests on ``quote``.

    ``quote`` stands verbatim in the passage ``id`` and, where the passage knows its place, at ``start:end``
    (characters) of ``source``. ``marker`` is the passage's number among those shown, from 1; ``support`` the share
    of the claim's words that the quote holds, from 0 to 1; ``metadata`` (page, section) the passage's.
    """

    marker: int
    id: str
    source: str
    start: int
    end: int
    quote: str
    answer_start: int
    answer_end: int
    support: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """Text that continues a prompt. In a stream each record carries only what is new; the last one carries
    ``finish_reason``, the whole ``usage`` and the ``citations``, which a grounded model gives.
    """

    text: str
    tokens: tuple[str, ...] = ()
    logprob: float | None = None
    finish_reason: FinishReason | None = "stop"
    usage: Usage = Usage()
    token_logprobs: tuple[float, ...] = ()
    top: tuple[Mapping[str, float], ...] = ()
    citations: tuple[Citation, ...] = ()


Capability: TypeAlias = Literal["score", "generate", "chat", "logprobs", "embed", "hidden", "weights"]


@dataclass(frozen=True, slots=True)
class AppliedPart:
    """One part applied to a model, in order: its name and the settings it ran with."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model. ``capabilities`` were probed, not guessed.

    ``fingerprint`` is a content hash of weights, tokenizer and every part applied, in order; for an endpoint,
    whose weights cannot be seen, it hashes address and model name and ``verified`` is false.
    ``memory_bytes`` counts parameters and buffers as held in memory.
    """

    name: str
    fingerprint: str
    parameters: int | None = None
    memory_bytes: int | None = None
    context_length: int | None = None
    licence: str | None = None
    family: str | None = None
    capabilities: frozenset[Capability] = frozenset()
    parts: tuple[AppliedPart, ...] = ()
    source: str | None = None
    verified: bool = True


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that can be weighed: weights, an endpoint, or a composition of others."""

    @property
    def card(self) -> ModelCard:
        """What is known of it."""

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each request, in order, whatever the batching; ``top`` and ``detail`` ask for more of a Score."""

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = ...) -> list[Generation]:
        """Continue each prompt, in order; one under several seeds gives several samples from one reading of it."""


@runtime_checkable
class StreamingModel(LanguageModel, Protocol):
    """A language model that can hand over text as it appears."""

    def stream(self, prompt: Prompt, sampling: Sampling = ...) -> Iterator[Generation]:
        """Yield increments; joined, their texts equal ``generate``'s."""


TextRole: TypeAlias = Literal["query", "document"]


@runtime_checkable
class Embedder(Protocol):
    """Texts to vectors."""

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """Return unit vectors, float32 of shape (n, d)."""


class FamilyLike(Protocol):
    """An architecture family (``"llama"``) as data; see :mod:`steelyard.models.families`.

    ``layers`` are the transformer blocks in order; ``set_layers`` gives others, configuration and caches included.
    """

    @property
    def name(self) -> str: ...
    def layers(self, module: torch.nn.Module) -> torch.nn.ModuleList: ...
    def set_layers(self, module: torch.nn.Module, layers: Sequence[torch.nn.Module]) -> None: ...


@runtime_checkable
class OpenWeights(LanguageModel, Protocol):
    """A language model whose weights are in this process and may be changed; its tokenizer is transformers'."""

    @property
    def module(self) -> torch.nn.Module: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def family(self) -> FamilyLike: ...

    def hidden(self, texts: Sequence[str], layers: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Hidden states per text: float32 (layers, tokens, width), layer 0 being the embeddings."""

    def evolve(self, module: torch.nn.Module, part: AppliedPart) -> OpenWeights:
        """The same model around another module, with ``part`` appended to its history."""

    def save(self, folder: Path) -> Path:
        """Write a checkpoint folder (safetensors) that :func:`steelyard.load` reads back."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved passage: ``start`` and ``end`` are character offsets into ``source``."""

    id: str
    score: float
    text: str
    source: str = ""
    start: int = 0
    end: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Retriever(Protocol):
    """A searchable set of passages: one added under a known id replaces it; ``k`` hits a query, best first."""

    def add(self, documents: Sequence[Hit]) -> None: ...
    def delete(self, ids: Sequence[str]) -> None: ...
    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]: ...


class Reranker(Protocol):
    """Puts hits into a better order; failures are errors, never the input order in silence."""

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]: ...


@dataclass(frozen=True, slots=True)
class Example:
    """A solved example, as shown to a model in a few-shot prompt."""

    prompt: str
    answer: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How a system puts a question: the ``prompt`` section of a system file.

    ``plain`` writes "Question: ... Answer:", ``chat`` uses the model's chat template, ``raw`` hands over the
    prompt untouched. ``examples`` are drawn from the task by ``seed`` unless given.
    """

    style: Literal["plain", "chat", "raw"] = "plain"
    shots: int = 0
    seed: int = 0
    instruction: str = ""
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for generated text."""

    prompt: Prompt
    sampling: Sampling = Sampling()


Request: TypeAlias = Continuation | Ask
Response: TypeAlias = Score | Generation


@dataclass(frozen=True, slots=True)
class Sample:
    """One example of a task. ``data`` is the record as read, keyed by column."""

    id: str
    data: Mapping[str, Any]
    group: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Marks:
    """What one sample earned: a value per metric, and the answer the model was taken to give.

    ``weights`` holds, for ratio metrics such as bits per byte, the denominator of each value; metrics that
    are plain means are absent from it.
    """

    values: Mapping[str, float]
    prediction: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)


class Interval(NamedTuple):
    """A value with its confidence interval and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int


@runtime_checkable
class Task(Protocol):
    """Examples, how to ask them, and how to grade the answers.

    ``source`` is how a command line names it; ``fingerprint`` a content hash of samples and grading rules (prompt
    styles are keyed apart); ``metric`` ranks systems, such as ``"accuracy"``.
    """

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...

    def samples(self) -> Sequence[Sample]:
        """What is measured, in a fixed order."""

    def requests(self, sample: Sample, style: PromptStyle) -> list[Request]:
        """What to ask a model for one sample."""

    def grade(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        """The marks for the responses to ``requests``, in order."""

    def summarise(self, marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
        """One interval a metric."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Two answers to compare, or one to grade; ``reference`` is a right answer where one is known."""

    prompt: str
    first: str
    second: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``value`` is 1 for the first (or a right) answer, 0 for the second (or a wrong one), 0.5 for a tie.

    ``orders`` has the values with the answers as given and swapped, ``words`` what was said. Unreadable is None.
    """

    value: float | None
    orders: tuple[float | None, ...] = ()
    words: tuple[str, ...] = ()


class Judge(Protocol):
    """Judges many answers at a time, a verdict each in order; UsageError where it has only one of the verbs.

    The fingerprint of ``card`` covers all they depend on.
    """

    @property
    def card(self) -> ModelCard: ...
    def compare(self, pairs: Sequence[Answers]) -> list[Verdict]: ...
    def grade(self, answers: Sequence[Answers]) -> list[Verdict]: ...


Texts: TypeAlias = Sequence[str]
Compressor: TypeAlias = Callable[..., OpenWeights]  # (model, *calibration, **settings)
Merger: TypeAlias = Callable[..., Any]  # (tensors, base, name, **settings) -> tensor, or (experts, fitness, ...)
Objective: TypeAlias = Callable[..., Any]  # (model, batch, **settings) -> loss, metrics
Curator: TypeAlias = Callable[..., Iterator[str]]  # (texts, **settings)
Decoder: TypeAlias = Callable[..., LanguageModel]  # (model, **settings)
Audit: TypeAlias = Callable[..., Any]  # (model, **settings) -> report


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What a stored result belongs to; with a sample id it is the cache key and the resume point."""

    model: str
    task: str
    settings: str


@dataclass(frozen=True, slots=True)
class Result:
    """One sample measured on one system, with the raw requests and responses as JSON-ready records."""

    sample_id: str
    marks: Marks
    group: str = ""
    weight: float = 1.0
    requests: tuple[Mapping[str, Any], ...] = ()
    responses: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    usage: Usage = Usage()


class Progress(Protocol):
    """Where long work reports how far it is: begin a bar, move it, say a line. A library caller may ignore it."""

    def start(self, name: str, total: int, done: int = 0) -> None: ...
    def advance(self, name: str, by: int = 1) -> None: ...
    def note(self, text: str) -> None: ...
