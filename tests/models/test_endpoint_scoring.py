from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models import dialect_servers as dialects
from models.dialect_servers import BOS, PIECES, distribution, encode, llama_cpp, logprobs, ranked, tgi, vllm
from models.http_server import Server
from steelyard.contracts import Continuation, Message
from steelyard.errors import CapabilityError, EndpointError
from steelyard.models.endpoint import EndpointModel

Answer = Callable[[str, dict[str, Any]], Any]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def model_of(server: Server, answer: Answer, **options: Any) -> EndpointModel:
    server.answer = answer
    return EndpointModel(server.url, "m", **{"timeout": 5.0, "backoff": 0.01, "retries": 1} | options)


def expected(context: list[int], target: list[int]) -> list[float]:
    return logprobs([*context, *target], len(context))


@pytest.mark.parametrize(
    ("answer", "way", "kind", "length"),
    [(vllm, "prompt", "vllm", 99), (llama_cpp, "forced", "llama.cpp", 77), (tgi, "prefill", "tgi", 55)],
)
def test_each_server_is_known_and_scores_what_a_local_model_would(
    server: Server, answer: Answer, way: str, kind: str, length: int
) -> None:
    model = model_of(server, answer)
    assert model.card.capabilities >= {"generate", "chat", "score", "logprobs"}
    assert model.card.context_length == length
    assert model.offer.server.kind == kind
    assert model.offer.scorer is not None
    assert model.offer.scorer.way == way
    plain, moved = model.score([Continuation("a b", " a"), Continuation("c ", "abc")])
    assert plain.token_logprobs == pytest.approx(expected([BOS, *encode("a b")], encode(" a")))
    assert (plain.context_tokens, plain.utf8_bytes) == (3, 2)
    assert moved.token_logprobs == pytest.approx(
        expected([BOS, *encode("c")], encode(" abc"))
    )  # white space moves
    assert moved.logprob == sum(moved.token_logprobs)


@pytest.mark.parametrize("answer", [vllm, llama_cpp, tgi])
def test_greedy_means_every_token_was_the_best(server: Server, answer: Answer) -> None:
    model = model_of(server, answer)
    context = "b"
    while True:  # a context whose two best next tokens are encoded as they are
        ids = encode(context)
        best = [ranked(ids[-1])[0]]
        best.append(ranked(best[0])[0])
        text = "".join(PIECES[token] for token in best)
        if encode(context + text) == [*ids, *best] and text.strip():
            break
        context += "c" if context.endswith("b") else "b"
        assert len(context) < 20
    worse = next(t for t in ranked(encode(context)[-1])[1:] if encode(context + PIECES[t])[-1:] == [t])
    first, second = model.score([Continuation(context, text), Continuation(context, PIECES[worse])])
    assert (first.greedy, second.greedy) == (True, False)


@pytest.mark.parametrize("answer", [vllm, llama_cpp])
def test_alternatives(server: Server, answer: Answer) -> None:
    score = model_of(server, answer).score([Continuation("a b", " ab")], top=2)[0]
    (target,) = encode(" ab")
    order, values = ranked(encode("a b")[-1]), distribution(encode("a b")[-1])
    assert score.top == ({PIECES[t]: pytest.approx(values[t]) for t in order[:2]},)
    assert score.tokens == (" ab",)
    if answer is vllm:
        assert score.ranks == (order.index(target),)


@pytest.mark.parametrize("answer", [vllm, llama_cpp])
def test_tokens_decide_where_the_text_begins(server: Server, answer: Answer) -> None:
    """As for a local model: what merges with its context is encoded apart, an empty context is the first token."""
    model = model_of(server, answer)
    merged, empty, own_start = model.score(
        [Continuation("a", "b"), Continuation("", "<s>ab"), Continuation("<s>a", " b")]
    )
    assert merged.token_logprobs == pytest.approx(expected([BOS, 1], encode("b")))
    assert empty.token_logprobs == pytest.approx(expected([BOS], encode("ab")))
    assert own_start.token_logprobs == pytest.approx(expected([BOS, 1], encode(" b")))


@pytest.mark.parametrize(("answer", "start"), [(vllm, []), (llama_cpp, [BOS])])
def test_conversations(server: Server, answer: Answer, start: list[int]) -> None:
    score = model_of(server, answer).score([Continuation([Message("user", "ab")], "c")])[0]
    assert score.token_logprobs == pytest.approx(expected([*start, *encode("<u>ab</u>")], encode("c")))


def test_bytes_of_a_character(server: Server) -> None:
    assert model_of(server, llama_cpp).score([Continuation("a", " bé")])[0].tokens == (" b", "é")


def test_what_tgi_cannot_say_is_not_guessed(server: Server) -> None:
    model = model_of(server, tgi)
    for request, top, message in (
        (Continuation("a", " b"), 1, "no alternatives"),
        (Continuation("a", "b"), 0, "put white space between"),
        (Continuation("", "b"), 0, "without context"),
        (Continuation([Message("user", "a")], "b"), 0, "chat template"),
    ):
        with pytest.raises(CapabilityError, match=message):
            model.score([request], top=top)


def test_tgi_started_without_prefill_logprobs(server: Server) -> None:
    def closed(path: str, body: dict[str, Any]) -> Any:
        if path == "/generate":
            return 200, {"generated_text": "x", "details": {"prefill": [], "tokens": []}}
        return tgi(path, body)

    model = model_of(server, closed)
    assert "score" not in model.card.capabilities
    with pytest.raises(
        CapabilityError, match=r"m at http://127\S+ lacks the capability 'score': its server \(tgi\)"
    ):
        model.score([Continuation("a", " b")])


@pytest.mark.parametrize(
    ("answer", "message"),
    [(vllm, r"ranks \(without asking for detail\) but no entropies"), (llama_cpp, "neither ranks nor entropies")],
)
def test_entropies_are_nowhere_to_be_had(server: Server, answer: Answer, message: str) -> None:
    with pytest.raises(CapabilityError, match=message):
        model_of(server, answer).score([Continuation("a", " b")], detail=True)


def spoilt(answer: Answer, spoil: Callable[[str, Any], Any]) -> Answer:
    """The same server with changed answers."""

    def changed(path: str, body: dict[str, Any]) -> Any:
        status, content = answer(path, body)
        return status, spoil(path, content)

    return changed


def without_ranks(path: str, content: Any) -> Any:
    for entry in (content.get("choices") or [{}])[0].get("prompt_logprobs") or []:
        for item in (entry or {}).values():
            del item["rank"]
    return content


def other_token(path: str, content: Any) -> Any:
    for item in content.get("completion_probabilities", []):
        item["id"] += 1
    return content


def too_probable(path: str, content: Any) -> Any:
    for item in content.get("completion_probabilities", []):
        item["logprob"] = 0.0
    return content


def impossible(path: str, content: Any) -> Any:
    for item in content.get("completion_probabilities", []):
        item["logprob"] = -3.4e38
    return content


@pytest.mark.parametrize(
    ("answer", "spoil", "message"),
    [
        (vllm, without_ranks, "no rank of token"),
        (vllm, lambda path, content: {} if path == "/tokenize" else content, "no list of token ids"),
        (llama_cpp, other_token, "which was forced"),
        (llama_cpp, too_probable, "which cannot be"),
        (llama_cpp, impossible, "which cannot be"),
        (tgi, lambda path, content: {} if path == "/generate" else content, "no tokens in details.prefill"),
    ],
)
def test_unusable_answers(server: Server, answer: Answer, spoil: Callable[[str, Any], Any], message: str) -> None:
    model = model_of(server, answer)
    assert "score" in model.card.capabilities
    server.answer = spoilt(answer, spoil)
    with pytest.raises(EndpointError, match=message):
        model.score([Continuation("a b", " a")])
    assert "score" not in model_of(server, server.answer).card.capabilities


def echoing(start: str) -> Answer:
    """A server that echoes; ``start`` is a first token that is not in the prompt, and is counted in offsets."""

    def answer(path: str, body: dict[str, Any]) -> Any:
        if not body.get("echo"):
            return dialects.openai(path, body)
        ids = [BOS] * bool(start) + encode(body["prompt"])
        tokens = [start if t == BOS else PIECES[t] for t in ids]
        values = [None, *(distribution(before)[t] for before, t in itertools.pairwise(ids))]
        block = {
            "tokens": tokens,
            "token_logprobs": values,
            "top_logprobs": [None] * len(ids),
            "text_offset": [sum(map(len, tokens[:i])) for i in range(len(ids))],
        }
        return 200, {"choices": [{"text": body["prompt"], "logprobs": block}]}

    return answer


@pytest.mark.parametrize("start", ["", "<s>"])
def test_echo_with_and_without_a_first_token(server: Server, start: str) -> None:
    model = model_of(server, echoing(start))
    score = model.score([Continuation("a b", " a")])[0]
    assert score.token_logprobs == pytest.approx(expected(encode("a b"), encode(" a")))


def test_echo_across_the_border(server: Server) -> None:
    """A token over the border: the text begins after as many tokens as the context has when it stands alone."""
    model = model_of(server, echoing(""))
    assert encode("c ab c") == [*encode("c"), *encode(" ab"), *encode(" "), *encode("c")]
    score = model.score([Continuation("c a", "b c")])[0]
    assert score.token_logprobs == pytest.approx(expected(encode("c ab"), encode(" c")))
    assert score.context_tokens == 2
    with pytest.raises(CapabilityError, match="makes one token of it and the end of the context"):
        model.score([Continuation("c a", "bc")])


def test_offsets_of_a_server_whose_tokens_do_not_add_up(server: Server) -> None:
    def halves(path: str, body: dict[str, Any]) -> Any:
        if not body.get("echo"):
            return dialects.openai(path, body)
        block = {
            "tokens": ["a", "bytes:\\xc3", "bytes:\\xa9", "b"],
            "token_logprobs": [None, -1.0, -2.0, -3.0],
            "top_logprobs": [None] * 4,
            "text_offset": [0, 1, 1, 2],
        }
        return 200, {"choices": [{"logprobs": block}]}

    good = echoing("")
    model = model_of(server, good)
    assert "score" in model.card.capabilities
    server.answer = halves
    assert model.score([Continuation("a", "éb")])[0].token_logprobs == (-1.0, -2.0, -3.0)
    with pytest.raises(EndpointError, match="token 'b' is not at text_offset 2"):
        model.score([Continuation("a", "éc")])
