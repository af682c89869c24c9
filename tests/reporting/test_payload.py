import json

from hypothesis import given
from hypothesis import strategies as st

from steelyard.reporting.payload import Texts, sample_rows, script_json, text_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_script_json_reads_back_and_holds_no_markup(value: object) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_lone_surrogates_can_be_written() -> None:
    text = script_json(["bad \ud800 half"])
    text.encode("utf-8")
    assert json.loads(text) == ["bad \ud800 half"]


def test_each_text_is_kept_once() -> None:
    header = "Question: " * 50
    samples = [
        {
            "id": f"s{i}",
            "prompt": "p",
            "answers": {c: {"prediction": "yes", "value": 1.0, "requests": [{"context": header}]} for c in "ab"},
        }
        for i in range(20)
    ]
    texts = Texts()
    rows = sample_rows(samples, {"a": 0, "b": 1}, texts)
    assert list(texts.numbers).count(header) == 1
    known = list(texts.numbers)
    first = rows[0][4][0]
    assert (known[rows[0][0]], first[0], known[first[1]], first[2]) == ("s0", 0, "yes", 1.0)
    assert [[known[k], known[v]] for k, v in first[3][0]] == [["context", header]]


def test_answers_of_unknown_candidates_and_odd_values_are_left_out() -> None:
    texts = Texts()
    answers = {"a": {"prediction": None, "value": float("nan")}, "gone": {"prediction": "x", "value": 1}}
    (row,) = sample_rows([{"id": 7, "answers": answers}], {"a": 0}, texts)
    assert len(row[4]) == 1
    assert row[4][0][2] is None


def test_conversations_and_lists_as_text() -> None:
    assert text_of([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]) == (
        "user: 2+2?\nassistant: 4"
    )
    assert text_of(["four", "4"]) == "four | 4"
    assert text_of({"a": [1, "ü"]}) == '{"a": [1, "ü"]}'
    assert text_of(None) == ""


def test_citations_are_read_from_responses() -> None:
    citation = {
        "marker": 2, "source": "handbook.md", "start": 120, "end": 131, "quote": "at six.", "answer_start": 0,
        "answer_end": 7, "metadata": {"page": 3, "section": "Hours"},
    }  # fmt: skip
    responses = [{"text": "At six. So."}, {"text": "At six. So.", "citations": [citation, "odd"]}]
    texts = Texts()
    (row,) = sample_rows([{"id": 1, "answers": {"a": {"responses": responses}}}], {"a": 0}, texts)
    known = list(texts.numbers)
    ((text, ((marker, first, last, source, start, end, quote, place),)),) = row[4][0][5]
    assert (known[text], marker, first, last, start, end) == ("At six. So.", 2, 0, 7, 120, 131)
    assert (known[source], known[quote], known[place]) == ("handbook.md", "at six.", "page 3, Hours")
