"""Addresses, sockets, starting and stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from serving.word_model import WordModel, client_of, conversation
from steelyard.contracts import Message, Sampling
from steelyard.errors import SteelyardError, UsageError
from steelyard.serving.server import checked_token, is_loopback, listen, serve, serving

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from serving.word_model import WordModel
from steelyard.serving.server import serve
serve(WordModel(), port=0)
print("stopped cleanly", flush=True)
"""


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("127.0.0.5", True)])
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_other_addresses_need_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEELYARD_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"--token or in STEELYARD_TOKEN"):
        serve(WordModel(), host=host, port=0)
    assert checked_token(host, "given") == "given"
    monkeypatch.setenv("STEELYARD_TOKEN", "from-the-environment")
    assert checked_token(host, None) == "from-the-environment"
    assert checked_token("127.0.0.1", None) == "from-the-environment"


def test_every_address_with_a_token_takes_any_host_name() -> None:
    with serving(WordModel(), host="0.0.0.0", token="t0ken") as url:
        assert url.startswith("http://127.0.0.1:")
        headers = {"host": "models.example", "authorization": "Bearer t0ken"}
        assert httpx.get(url + "/models", headers=headers).status_code == 200


def test_a_port_in_use_is_told_in_one_line() -> None:
    with serving(WordModel()) as url:
        port = int(url.rsplit(":")[-1].removesuffix("/v1"))
        with pytest.raises(UsageError, match=rf"port {port} \(address already in use\).*--port") as caught:
            serve(WordModel(), port=port)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_do_not_exist(port: int) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        listen("127.0.0.1", port)


def test_a_name_that_is_no_address() -> None:
    with pytest.raises(UsageError, match="--host"):
        is_loopback("no-such-host.invalid")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server(sign: signal.Signals) -> None:
    tests = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), tests],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        assert client_of(url).completions.create(model="default", prompt="x").choices[0].text
        process.send_signal(sign)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert err == ""
    if sign is signal.SIGINT:
        assert out == "stopped cleanly\n"
        assert process.returncode == 0
    else:
        assert process.returncode == -signal.SIGTERM


def test_a_system_file_is_served_by_name(tiny_folder: Path, tmp_path: Path) -> None:
    from steelyard.systems.loading import load

    file = tmp_path / "best.yaml"
    file.write_text(f"model: {tiny_folder}\nprompt: {{style: plain, instruction: Answer briefly.}}\n", "utf-8")
    expected = load(file).generate([[Message("user", "What is a steelyard?")]], Sampling(max_tokens=5))[0]
    with serving(str(file)) as url:
        answer = client_of(url).chat.completions.create(
            model="default", messages=conversation("What is a steelyard?"), max_tokens=5
        )
    assert answer.choices[0].message.content == expected.text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens


def test_a_name_that_cannot_be_loaded_leaves_no_open_port(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SteelyardError, match="absent"):
        serve(str(tmp_path / "absent.yaml"), port=port)
    listen("127.0.0.1", port).close()
