"""RelEntLess: rank correlation against SciPy, perplexities against transformers, planted orders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.relations.graded_relations import (
    DESCRIPTIONS,
    GradedRelation,
    Pair,
    read_relations,
    render,
    spearman,
    spearman_interval,
)
from steelyard.evaluation.benchmarks.relations.relentless import HEADER, perplexities, relation_scores, relentless
from steelyard.evaluation.benchmarks.relations.word_vectors import EmbeddingVectors, cosine, read_vectors
from steelyard.models.loading import load_model

FIXTURE = Path(__file__).parents[1] / "fixtures" / "relentless"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_spearman_is_scipys_with_ties(values: list[tuple[int, int]]) -> None:
    from scipy.stats import spearmanr

    first, second = zip(*values, strict=True)
    found = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


def test_planted_order_is_one_and_its_reverse_minus_one() -> None:
    human = [1.0, 2.5, 2.5, 4.0, 5.0]
    assert spearman_interval(human, human).value == pytest.approx(1)
    assert spearman_interval([-v for v in human], human).value == pytest.approx(-1)
    low = spearman_interval([1, 2, 3, 5, 4, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8])
    assert low.low < low.value < low.high < 1
    assert spearman_interval([1, 1, 1, 1], [1, 2, 3, 4]) == (0.0, -1.0, 1.0, 4)


def test_a_model_that_knows_the_order_scores_one(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    human = {
        (pair, one.name): score
        for one in read_relations(HEADER, str(FIXTURE), "test")
        for pair, score in zip(one.pairs, one.human, strict=True)
    }

    def planted(model: Any, texts: list[str]) -> list[float]:
        return [1 / human[next(key for key in human if asked(key) in text)] for text in texts]

    def asked(key: Any) -> str:
        return f"[{key[0].head}, {key[0].tail}]"

    unique = {pair for pair, _ in human}
    assert len(human) > len(unique)  # one pair stands under two relations, with different scores
    only = next(one for one in read_relations(HEADER, str(FIXTURE), "test") if one.name == "known for")
    monkeypatch.setattr("steelyard.evaluation.benchmarks.relations.relentless.perplexities", planted)
    monkeypatch.setattr("steelyard.evaluation.benchmarks.relations.relentless.read_relations", lambda *_: [only])
    model = load_model(str(tiny_folder))
    found = relentless(model, data=str(FIXTURE))
    assert found.values["spearman, perplexity, qa"].value == pytest.approx(1)
    assert found.values["spearman, perplexity, list"].value == pytest.approx(1)
    assert set(found.details["scores"]) >= {"relation embedding", "word vectors, pair", "word vectors, word"}


def test_perplexities_are_transformers(tiny_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    relation = read_relations(HEADER, str(FIXTURE), "validation")[0]
    texts = [render(relation, pair, template) for pair in relation.pairs[:2] for template in ("qa", "list")]
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    expected = []
    for text in texts:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            expected.append(math.exp(float(model(ids, labels=ids).loss)))
    assert perplexities(load_model(str(tiny_folder)), texts) == pytest.approx(expected, rel=1e-4)


def test_prompts_show_description_prototypes_and_pair() -> None:
    relation = GradedRelation("known for", (Pair("Bach", "fugues"),), (5.0,), (Pair("Italy", "pizza"),))
    for template in ("qa", "list"):
        text = render(relation, relation.pairs[0], template)
        assert text.index(DESCRIPTIONS["known for"]) < text.index("[Bach, fugues]")
        assert text.index("[Italy, pizza]") < text.index("[Bach, fugues]")
    assert render(relation, relation.pairs[0], "qa").endswith("Yes")


def test_relation_vectors_take_the_nearest_prototype() -> None:
    relation = GradedRelation("x", (Pair("a", "b"), Pair("c", "d")), (1.0, 2.0), ())
    pairs = [np.array([1.0, 0.0]), np.array([1.0, 1.0])]
    found = relation_scores(relation, pairs, [np.array([0.0, 2.0]), np.array([3.0, 0.0])])
    assert found == pytest.approx([1.0, math.sqrt(0.5)])
    assert relation_scores(relation, pairs, []) == [0.0, 0.0]


def test_word_vectors_from_a_file_and_from_the_model(tmp_path: Path, tiny_folder: Path) -> None:
    file = tmp_path / "v.txt"
    file.write_text("3 2\nice 1 0\ncream 0 1\ntea 2 2\n", encoding="utf-8")
    vectors = read_vectors(file, ["Ice", "cream", "tea", "unknown"])
    assert vectors.vector("Ice cream").tolist() == [0.5, 0.5]
    assert vectors.vector("unknown").tolist() == [0.0, 0.0]
    assert cosine(vectors.vector("ice cream"), vectors.vector("tea")) == pytest.approx(1)
    file.write_text("ice 1 0\ncream 0 1 2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"v\.txt:2: 3 numbers where other lines have 2"):
        read_vectors(file, ["ice"])
    model: Any = load_model(str(tiny_folder))
    assert EmbeddingVectors("x", model).vector("fox").shape == (32,)


def test_wrong_data_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder))
    with pytest.raises(InputError, match=r"no \*test\*\.jsonl"):
        relentless(model, data=str(tmp_path))
    (tmp_path / "test.jsonl").write_text('{"relation_type": "x", "pairs": [["a", "b"]], "scores_mean": []}')
    with pytest.raises(InputError, match=r"test\.jsonl:1: a relation needs"):
        relentless(model, data=str(tmp_path))
    with pytest.raises(UsageError, match="prototypes must be 0 to 5"):
        relentless(model, data=str(FIXTURE), prototypes=6)
