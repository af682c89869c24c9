"""A task configuration in YAML, in the format of lm-evaluation-harness, read as data and never as code.

What a configuration may name is what the harness's own files name, except Python: ``!function`` is refused, and
the few functions that well-known tasks need have names of their own
(:mod:`steelyard.evaluation.benchmarks.harness.documents`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.task_header import TaskHeader
from steelyard.parts import nearest
from steelyard.systems.yaml_files import compose, value_of

BUNDLED = Path(__file__).parent / "tasks"
"""Configurations that come with Steelyard, a file a task."""

INCLUDES_DEEP = 5

OutputType: TypeAlias = Literal["loglikelihood", "loglikelihood_rolling", "generate_until", "multiple_choice"]
Template: TypeAlias = str | int
Document: TypeAlias = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FewshotConfig(_Strict):
    """The section ``fewshot_config``: where solved examples come from, and what is written differently in them."""

    sampler: Literal["default", "first_n"] = "default"
    split: str | None = None
    samples: list[Document] | None = None
    doc_to_text: Template | None = None
    doc_to_target: Template | list[str] | None = None
    doc_to_choice: str | list[str] | dict[str, str] | None = None
    fewshot_delimiter: str | None = None
    target_delimiter: str | None = None
    gen_prefix: str | None = None


class MetricConfig(BaseModel):
    """One entry of ``metric_list``; what else it says are the metric's own options, such as ``ignore_case``."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    metric: str
    aggregation: str | None = None
    higher_is_better: bool | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The metric's own options."""
        return dict(self.model_extra or {})


class FilterStep(BaseModel):
    """One step of a filter: the function and its options."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    function: str

    @property
    def options(self) -> dict[str, Any]:
        """The function's options."""
        return dict(self.model_extra or {})


class FilterConfig(_Strict):
    """A named way from a model's responses to its answer."""

    name: str
    filter: list[FilterStep]


class HarnessConfig(_Strict):
    """A task as a configuration describes it; defaults are the harness's."""

    task: str
    output_type: OutputType = "generate_until"
    tag: str | list[str] | None = None
    task_alias: str | None = None
    dataset_path: str | None = None
    dataset_name: str | None = None
    dataset_kwargs: dict[str, Any] = Field(default_factory=dict)
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    process_docs: str | None = None
    doc_to_text: Template = ""
    doc_to_target: Template | list[str] = ""
    doc_to_choice: str | list[str] | dict[str, str] | None = None
    process_results: str | None = None
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    fewshot_config: FewshotConfig = FewshotConfig()
    num_fewshot: NonNegativeInt = 0
    gen_prefix: str | None = None
    metric_list: list[MetricConfig] | None = None
    generation_kwargs: dict[str, Any] = Field(default_factory=dict)
    repeats: PositiveInt = 1
    filter_list: list[FilterConfig] | None = None
    should_decontaminate: bool = False
    doc_to_decontamination_query: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def version(self) -> str:
        """``metadata.version``, which says when two results of one task may be compared."""
        return str(self.metadata.get("version", "0"))

    @property
    def evaluated_split(self) -> str | None:
        """The split that is measured: the test split, or the validation split where there is none."""
        return self.test_split or self.validation_split

    @property
    def header(self) -> TaskHeader:
        """Where the documents come from, as ``metadata`` says."""
        said = self.metadata
        return TaskHeader(
            paper=str(said.get("paper", "not stated")),
            data_set=str(said.get("data_set", self.dataset_path or self.task)),
            licence=str(said.get("licence", "not stated")),
            metric=", ".join(metric.metric for metric in self.metric_list or []) or "the harness's defaults",
            folder=str(said.get("folder", "")),
            layout=str(said.get("layout", "")),
            hub=self.dataset_path if self.dataset_path and "/" in self.dataset_path else "",
            url=str(said.get("url", "")),
        )


def bundled() -> list[str]:
    """The names of the configurations that come with Steelyard."""
    return sorted(file.stem for file in BUNDLED.glob("*.yaml") if not file.stem.startswith("_"))


def config_file(name: str) -> Path:
    """The file that ``name`` stands for: a path ending in .yaml or .yml, or a bundled configuration.

    Raises:
        UsageError: Neither.
    """
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return Path(name).expanduser()
    known = bundled()
    if name not in known:
        raise UsageError(
            f"unknown task configuration {name!r}{nearest(name, known)}; give a .yaml file or one of "
            + ", ".join(known)
        )
    return BUNDLED / f"{name}.yaml"


def read_config(file: Path) -> HarnessConfig:
    """The checked configuration in a file, with what it includes.

    Raises:
        InputError: The file cannot be read, is not YAML, includes itself, names Python code, or has an unknown key
            or a value of the wrong type.
    """
    values = _merged(file, ())
    try:
        return HarnessConfig.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(step) for step in problem["loc"] if not isinstance(step, str) or "[" not in step)
        if problem["type"] == "extra_forbidden":
            known = nearest(str(problem["loc"][-1]), HarnessConfig.model_fields)
            raise InputError(f"{file}: the key {place!r} is not supported{known or '; remove it'}") from None
        raise InputError(f"{file}: {place}: {problem['msg']}, not {problem['input']!r:.80}") from None


def _merged(file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a file over those of the files that it includes, which lie in its folder or below."""
    if len(above) > INCLUDES_DEEP or file in above:
        raise InputError(f"{above[0]}: includes go round in a circle or deeper than {INCLUDES_DEEP} files")
    root = compose(file)
    _refuse_code(root, file)
    values = value_of(root, file)
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise InputError(
            f"{file}: not a task configuration; it must be a mapping with the keys task, doc_to_text ..."
        )
    included = values.get("include", [])
    merged: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{file}: include: {name} lies outside the file's folder; put it beside the file")
        merged |= _merged(file.parent / name, (*above, file))
    own = {key: value for key, value in values.items() if key != "include"}
    return merged | {key: value for key, value in own.items() if value is not None or key in merged}


def _refuse_code(node: yaml.Node | None, file: Path) -> None:
    """Refuse ``!function`` with the line it stands on."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        if one.tag == "!function":
            mark: Any = one.start_mark
            raise InputError(
                f"{file}:{mark.line + 1}: !function runs Python code, which a configuration may not; write a "
                "template, or name one of Steelyard's own functions in process_docs or process_results"
            )
        if isinstance(one, yaml.MappingNode):
            waiting += [part for pair in one.value for part in pair]
        elif isinstance(one, yaml.SequenceNode):
            waiting += one.value
