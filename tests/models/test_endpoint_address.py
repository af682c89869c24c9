from __future__ import annotations

import pytest

from steelyard.errors import UsageError
from steelyard.models.endpoint import EndpointModel
from steelyard.models.endpoint_address import Address, parse_address
from steelyard.models.loading import load_model


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://h/v1", Address("http://h/v1", "", {})),
        ("http://h/v1#org/model:7b", Address("http://h/v1", "org/model:7b", {})),
        ("http://h/v1#?retries=0", Address("http://h/v1", "", {"retries": 0})),
        (
            "http://h/v1#m?timeout=1.5&concurrency=2&response_cache=/tmp/a%20b&api_key_env=KEY",
            Address(
                "http://h/v1",
                "m",
                {"timeout": 1.5, "concurrency": 2, "response_cache": "/tmp/a b", "api_key_env": "KEY"},
            ),
        ),
    ],
)
def test_addresses(address: str, expected: Address) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("timout=3", "no option 'timout' for an endpoint; did you mean 'timeout'"),
        ("timeout=long", "timeout must be a number, not 'long'"),
        ("retries=1.5", "retries must be a whole number, not '1.5'"),
        ("timeout=0", "timeout must be more than 0 seconds, not 0.0"),
        ("timeout=nan", "timeout must be more than 0 seconds"),
        ("concurrency=0", "concurrency must be 1 or more, not 0"),
        ("backoff=-1", "backoff must be 0 or more, not -1"),
    ],
)
def test_wrong_options(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(f"http://127.0.0.1:1/v1#m?{options}")


def test_options_reach_the_model_and_arguments_go_first() -> None:
    model = load_model("http://127.0.0.1:1/v1#m?timeout=7&concurrency=2&response_cache=answers", timeout=9.0)
    assert isinstance(model, EndpointModel)
    assert (model.model, model.concurrency, model.transport.timeout) == ("m", 2, 9.0)
    assert model.transport.cache is not None
    assert model.transport.cache.folder.name == "answers"
    assert "?" not in model.transport.address
    with pytest.raises(UsageError, match="concurrency must be 1 or more, not True"):
        load_model("http://127.0.0.1:1/v1#m", concurrency=True)
