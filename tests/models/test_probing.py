from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch

from steelyard.models.probing import probe

ALL = {"score", "generate", "logprobs", "chat", "embed", "hidden", "weights"}


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "bloom", "mamba", "t5"])
def test_models_that_predict_the_next_token(engines: Any, kind: str) -> None:
    assert probe(engines(kind).module, engines(kind).tokenizer) == ALL


def test_encoders_do_not_score(engines: Any) -> None:
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = engines("bert").tokenizer
    assert probe(engines("bert").module, tokenizer) == {"embed", "hidden", "weights"}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    looks_ahead = BertForMaskedLM(config).eval()
    for parameter in looks_ahead.parameters():
        parameter.data.mul_(4)
    assert probe(looks_ahead, tokenizer) == {"embed", "hidden", "weights"}


def test_no_template_no_chat(engines: Any) -> None:
    tokenizer = copy.deepcopy(engines("llama").tokenizer)
    tokenizer.chat_template = None
    assert probe(engines("llama").module, tokenizer) == ALL - {"chat"}
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert probe(engines("llama").module, tokenizer) == ALL - {"chat"}


def test_damaged_weights_lose_their_capabilities(engines: Any) -> None:
    module = copy.deepcopy(engines("llama").module)
    with torch.no_grad():
        module.model.norm.weight.fill_(float("nan"))
    assert probe(module, engines("llama").tokenizer) == {"weights", "hidden"}
    module.model.layers[0].mlp.down_proj = torch.nn.Linear(3, 3)
    assert probe(module, engines("llama").tokenizer) == {"weights"}


@pytest.mark.real_model
def test_smollm2_is_probed_in_one_pass(smollm2: Any) -> None:
    start = time.process_time()
    assert probe(smollm2.module, smollm2.tokenizer) == ALL
    assert time.process_time() - start < 5  # one pass over four tokens, not a timing: hundreds would take longer
