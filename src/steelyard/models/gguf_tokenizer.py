"""What transformers leaves out of a GGUF file's tokenizer: how text is cut up before the merges.

``tokenizer.ggml.pre`` names the pre-tokenizer a vocabulary was trained with. Get it wrong and text still
encodes and decodes, but into tokens the model has hardly seen (``"2024"`` as one piece where it knows only
digits), so scores come out quietly worse. The names and rules are llama.cpp's (src/llama-vocab.cpp); the
settings are those of the original models' ``tokenizer.json`` files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Build: TypeAlias = Callable[[Any], Any]  # tokenizers.pre_tokenizers -> PreTokenizer

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CONTRACTIONS + _WORDS + r"|\p{N}{1,3}" + _TAIL
QWEN2 = _CONTRACTIONS + _WORDS + r"|\p{N}" + _TAIL
TEKKEN = f"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*" + r"|\p{N}" + _SLASH_TAIL
GPT4O = (
    f"{_LEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_LEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    + r"|\p{N}{1,3}"
    + _SLASH_TAIL
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
_PUNCTUATED = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3 = (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _PUNCTUATED)
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+")


def _gpt2(p: Any) -> Any:
    return p.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits(p: Any) -> Any:
    return p.Sequence([p.Digits(individual_digits=True), _gpt2(p)])


def _falcon(p: Any) -> Any:
    from tokenizers import Regex

    triples = p.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated")
    return p.Sequence([p.Punctuation("contiguous"), _gpt2(p), p.Digits(individual_digits=False), triples])


def _split(*patterns: str, digits: bool = False) -> Build:
    def build(p: Any) -> Any:
        from tokenizers import Regex

        steps = [p.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
        if digits:
            steps.append(p.Digits(individual_digits=True))
        return p.Sequence([*steps, p.ByteLevel(add_prefix_space=False, use_regex=False)])

    return build


_RULES: tuple[tuple[Build, str], ...] = (
    (_digits, "smollm starcoder refact command-r codeshell exaone minerva-7b granite-code"),
    (_gpt2, "gpt-2 gpt2 phi-2 mpt olmo jais exaone4 trillion granite-docling roberta-bpe"),
    (_falcon, "default falcon"),
    (_split(LLAMA3), "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
    (_split(LLAMA3), "dbrx smaug-bpe glm4 chatglm-bpe"),
    (_split(QWEN2), "qwen2 stablelm2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan"),
    (_split(TEKKEN), "tekken"),
    (_split(GPT4O), "gpt-4o llama4 kanana2"),
    (_split(BLOOM), "bloom poro-chat gpt3-finnish"),
    (_split(BLOOM, digits=True), "viking"),
    (_split(*DEEPSEEK_V3), "deepseek-v3"),
    (_split(*DEEPSEEK_CODER, digits=True), "deepseek-coder"),
)
PRE_TOKENIZERS: Mapping[str, Build] = {name: build for build, names in _RULES for name in names.split()}
"""How to build the pre-tokenizer that ``tokenizer.ggml.pre`` names."""

WHOLE_WORDS_FIRST = frozenset(
    (
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
    )
)
"""Vocabularies in which a word that is a token is taken whole, whatever the merges say; they begin with BOS
unless the file says otherwise."""

_TRANSFORMERS_KNOWS = frozenset({"qwen35", "talkie", "minimax-m2"})


def mend_tokenizer(tokenizer: Any, metadata: Mapping[str, Any]) -> list[str]:
    """Put right, in place, what a GGUF file says of its tokenizer; returns notes on what could not be.

    ``tokenizer`` is a transformers tokenizer read from the file, ``metadata`` the file's key-value pairs.
    """
    notes = []
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2":
        notes += _set_pre_tokenizer(tokenizer, pre)
    begins = metadata.get("tokenizer.ggml.add_bos_token", kind == "llama" or pre in WHOLE_WORDS_FIRST)
    ends = metadata.get("tokenizer.ggml.add_eos_token", kind == "t5")
    tokenizer.add_bos_token = bool(begins) and tokenizer.bos_token is not None
    tokenizer.add_eos_token = bool(ends) and tokenizer.eos_token is not None
    if metadata.get("tokenizer.chat_template"):
        tokenizer.chat_template = metadata["tokenizer.chat_template"]
    length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    if isinstance(length, int) and length > 0:
        tokenizer.model_max_length = length
    return notes


def _set_pre_tokenizer(tokenizer: Any, pre: str | None) -> list[str]:
    from tokenizers import pre_tokenizers

    if pre in _TRANSFORMERS_KNOWS:
        return []
    build = PRE_TOKENIZERS.get(pre or "")
    if build is None:
        said = f"names the unknown pre-tokenizer {pre!r}" if pre else "does not name its pre-tokenizer"
        return [f"the GGUF file {said}; text is cut up as for GPT-2, so token boundaries may differ from training"]
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = build(pre_tokenizers)
    if pre in WHOLE_WORDS_FIRST:
        backend.model.ignore_merges = True
    return []
