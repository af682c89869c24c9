from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steelyard.contracts import Hit
from steelyard.errors import CapabilityError, InputError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.rerankers.in_context_reranking import attention_scores, in_context_reranking, layout
from steelyard.retrieval.rerankers.query_attention import passage_score, query_attention

TEXTS = ["The quick brown fox", "Paris is the capital of France", "five dozen jugs"]
HITS = [Hit(f"d{n}", 3.0 - n, text) for n, text in enumerate(TEXTS)]


def token_attention(model: Any, before: list[int], tail: list[int]) -> np.ndarray:
    """Straight from output_attentions: mean over the tail's tokens, sum over layers and heads."""
    module = model.module
    kind = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            seen = module(input_ids=torch.tensor([before + tail]), output_attentions=True).attentions
    finally:
        module.set_attn_implementation(kind)
    stacked = torch.stack(seen)[:, 0].double()  # layers, heads, tokens, keys
    return stacked[:, :, len(before) :, : len(before)].mean(2).sum((0, 1)).numpy()


def words(model: Any, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("calibrate", [True, False])
def test_scores_equal_a_reference_from_output_attentions(model: Any, calibrate: bool) -> None:
    prompt = layout(model, TEXTS, "plain")
    query = token_attention(model, prompt.before, words(model, " capital"))
    empty = token_attention(model, prompt.before, words(model, " N/A"))
    expected = []
    for place in prompt.passages:
        change = query[place] - empty[place] if calibrate else query[place]
        kept = change[change > change.mean() - 2 * change.std(ddof=1)] if calibrate else change
        expected.append(kept.sum())
    scores, cost = attention_scores(model, prompt, "capital", calibrate=calibrate)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert cost.passes == 1 + calibrate


def test_passages_and_query_lie_where_the_layout_says(model: Any) -> None:
    for form in ("plain", "chat"):
        prompt = layout(model, TEXTS, form)
        found = [model.tokenizer.decode(prompt.before[place]) for place in prompt.passages]
        assert found == [f"[{n}] {text}" for n, text in enumerate(TEXTS, start=1)]
        whole = model.tokenizer.decode([*prompt.before, *words(model, " who"), *prompt.after])
        assert "Query: who" in whole
        assert model.tokenizer.decode(prompt.before[prompt.late :]).startswith("Find what is relevant")
    assert whole.endswith("<|im_start|>assistant\n")
    assert whole.count("<|im_start|>") == 2  # none added before the template's own


def test_two_passes_whatever_the_number_of_passages(model: Any) -> None:
    reranker = in_context_reranking(model)
    for n in (1, 3, 12):
        hits = [Hit(f"d{i}", 0.0, f"passage number {i}") for i in range(n)]
        cost = reranker.run(["who"], [hits]).cost
        assert cost.passes == 2
        assert cost.computed_tokens is not None
        assert cost.computed_tokens < 0.75 * cost.read_tokens


def test_behind_a_cache_the_attention_is_the_same(model: Any) -> None:
    before, first, second = words(model, TEXTS[0]), words(model, " N/A"), words(model, " brown dog")
    cache = query_attention(model, before, first, slice(None)).cache
    assert cache is not None
    behind = query_attention(model, before, second, slice(None), cache=cache).attention
    whole = query_attention(model, before, second, slice(None)).attention
    assert behind == pytest.approx(whole, abs=1e-6)
    assert behind == pytest.approx(token_attention(model, before, second), abs=1e-5)


def test_the_tail_counts_instruction_and_end(model: Any) -> None:
    prompt = layout(model, TEXTS, "chat")
    before = prompt.before[: prompt.late]
    tail = [*prompt.before[prompt.late :], *words(model, " fox"), *prompt.after]
    seen = token_attention(model, before, tail)
    scores, _ = attention_scores(model, prompt, "fox", calibrate=False, span="tail")
    assert scores == pytest.approx([seen[place].sum() for place in prompt.passages], abs=1e-5)


def test_the_models_own_attention_is_put_back(model: Any) -> None:
    layers = model.family.layers(model.module)
    kind, hooks = model.module.config._attn_implementation, [len(each.self_attn._forward_hooks) for each in layers]
    in_context_reranking(model).rerank("fox", HITS)
    assert [len(each.self_attn._forward_hooks) for each in layers] == hooks
    assert model.module.config._attn_implementation == kind
    assert kind != "eager"
    with pytest.raises(InputError, match="does not fit the context"):
        in_context_reranking(model).rerank("fox", [Hit("a", 0.0, "Zz9 " * 290)] * 20)
    assert model.module.config._attn_implementation == kind


def test_low_tokens_are_left_out_of_a_passage() -> None:
    change = np.array([1.0] * 20 + [-50.0])
    assert passage_score(change, np.zeros(21)) == pytest.approx(20.0)
    assert passage_score(change, None) == pytest.approx(-30.0)
    assert passage_score(np.array([0.5]), np.array([0.2])) == pytest.approx(0.3)
    assert passage_score(np.array([0.5, 0.5]), np.zeros(2)) == pytest.approx(1.0)  # equal ones are all kept


def test_windows_order_long_lists(model: Any) -> None:
    hits = [Hit(f"d{i}", 0.0, text) for i, text in enumerate(TEXTS * 2)]
    result = in_context_reranking(model, window=4).run(["fox"], [hits])
    assert sorted(hit.id for hit in result.hits[0]) == sorted(hit.id for hit in hits)
    assert result.cost.passes == 2 * 2
    assert [hit.score for hit in result.hits[0]] == [1 / place for place in range(1, 7)]


def test_windowed_layers_run_without_a_cache(tmp_path: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    from tiny import tiny_tokenizer

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    MistralForCausalLM(config).eval().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    windowed: Any = load_model(str(tmp_path))
    before, tail = words(windowed, TEXTS[1]), words(windowed, " of")
    found = query_attention(windowed, before, tail, slice(None))
    assert found.cache is None
    assert found.attention == pytest.approx(token_attention(windowed, before, tail), abs=1e-5)


def test_open_weights_are_needed() -> None:
    with pytest.raises(CapabilityError, match="in-context-reranking needs the capability 'weights'"):
        in_context_reranking(ScriptedModel({})).rerank("q", HITS)
