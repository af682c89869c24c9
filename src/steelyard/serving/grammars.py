"""What an answer must look like: OpenAI's ``response_format`` and vLLM's ``structured_outputs``."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from steelyard.contracts import Grammar

_RECORD = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def _schema(value: Any) -> Any:
    import jsonschema  # type: ignore[import-untyped]

    kind = jsonschema.validators.validator_for(value, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(value)
    except jsonschema.SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.message.splitlines()[0][:200]}") from error
    return value


def _regex(value: str) -> str:
    import regex  # type: ignore[import-untyped]

    try:
        regex.compile(value)
    except regex.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]
Choice = Annotated[str, Field(min_length=1)]


class NamedSchema(BaseModel):
    """OpenAI's frame around a schema; answers always keep to it, ``strict`` or not."""

    model_config = _RECORD

    name: str = ""
    description: str | None = None
    strict: bool | None = None
    schema_: Schema = Field(alias="schema")


class ResponseFormat(BaseModel):
    """``text``, any JSON object, or JSON of a schema."""

    model_config = _RECORD

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'json_schema' goes with the type 'json_schema', and only with it")
        return self

    def to_grammar(self) -> Grammar | None:
        """The contract's form."""
        if self.json_schema is not None:
            return Grammar(json_schema=json.dumps(self.json_schema.schema_))
        return Grammar(json_schema='{"type": "object"}') if self.type == "json_object" else None


class StructuredOutputs(BaseModel):
    """vLLM's extension: exactly one of choices, a regular expression and a JSON schema."""

    model_config = _RECORD

    choice: list[Choice] | None = Field(default=None, min_length=1)
    regex: Annotated[str, Field(min_length=1), AfterValidator(_regex)] | None = None
    json_: Schema | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if sum(value is not None for value in (self.choice, self.regex, self.json_)) != 1:
            raise ValueError("give exactly one of 'choice', 'regex' and 'json'")
        return self

    def to_grammar(self) -> Grammar:
        """The contract's form."""
        schema = "" if self.json_ is None else json.dumps(self.json_)
        return Grammar(tuple(self.choice or ()), self.regex or "", schema)


def grammar_of(format: ResponseFormat | None, outputs: StructuredOutputs | None) -> Grammar | None:
    """The grammar a request asks for by either name; None where it asks for none."""
    if outputs is not None:
        return outputs.to_grammar()
    return format.to_grammar() if format is not None else None
