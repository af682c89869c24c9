from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passages import Passages
from steelyard import parts
from steelyard.contracts import Hit, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.alce.alce import alce
from steelyard.evaluation.benchmarks.alce.citations import judge_citations, sentences, statements
from steelyard.evaluation.benchmarks.alce.correctness import list_scores
from steelyard.evaluation.benchmarks.alce.prompts import filled, head, own_prompt, read_prompt
from steelyard.evaluation.benchmarks.alce.records import HEADER
from steelyard.evaluation.entailment import Pair
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.grounded import grounded
from steelyard.systems.system import System

FIXTURES = Path(__file__).parents[1] / "fixtures" / "alce"
WORD = re.compile(r"\w+")


class HoldsAllWords:
    """A premise supports what has no other words than it has; counts what it is asked."""

    name = "words"

    def __init__(self) -> None:
        self.asked = 0

    def probabilities(self, pairs: Sequence[Pair]) -> list[float]:
        self.asked += len(pairs)
        return [float(holds(pair.premise, pair.hypothesis)) for pair in pairs]


class EverythingRetriever(Passages):
    """Finds all passages, in their order."""

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        return [list(self.passages.values())[:k] for _ in queries]


def holds(premise: str, hypothesis: str) -> bool:
    return set(WORD.findall(hypothesis.lower())) <= set(WORD.findall(premise.lower()))


def scored(answer: str, documents: list[str]) -> Any:
    said = statements(answer, "prose", "", len(documents))
    return judge_citations([said], [documents], HoldsAllWords())[0]


def test_recall_and_precision_by_hand() -> None:
    # supported and both needed; supported with an irrelevant one; not supported; nothing cited; no such document
    found = scored("Aa bb [1][2]. Aa [1][3]. Cc [1]. Bb. Aa [4].", ["aa", "bb", "cc"])
    assert found.recall == 2 / 5
    assert (
        found.precision == 3 / 5
    )  # of [1][2], [1][3] and [1] in "Cc [1]", [3] is irrelevant, the last unsupported
    assert (found.statements, found.cited, found.several, found.irrelevant) == (5, 5, 2, 1)


def test_at_most_three_citations_count_and_repetitions_are_citations() -> None:
    assert scored("Dd [1][2][3][4].", ["aa", "bb", "cc", "dd"]).recall == 0
    twice = scored("Cc [1][1][3].", ["aa", "bb", "cc"])
    assert twice.precision == 1 / 3


def test_zero_is_no_document_and_spoils_its_sentence() -> None:
    found = scored("Bb [0][2].", ["aa", "bb"])
    assert (found.recall, found.precision, found.cited) == (0, 0, 0)


def test_an_answer_without_sentences_has_no_scores() -> None:
    assert scored("", ["aa"]) is None


LETTERS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd"]), min_size=1, max_size=3)


@given(
    documents=st.lists(LETTERS, min_size=1, max_size=4),
    said=st.lists(st.tuples(LETTERS, st.lists(st.integers(1, 5), max_size=4)), min_size=1, max_size=4),
)
def test_it_follows_the_definition(documents: list[list[str]], said: list[tuple[list[str], list[int]]]) -> None:
    texts = [" ".join(words) for words in documents]
    answer = " ".join("X" + " ".join(w) + "".join(f"[{n}]" for n in cited) + "." for w, cited in said)
    answer = re.sub(r"X(\w)", lambda found: found[1].upper(), answer)
    recalled = useful = count = 0
    for words, cited in said:
        if not cited or max(cited) > len(texts):
            continue
        own = [texts[n - 1] for n in cited[:3]]
        count += len(own)
        if not holds(" ".join(own), " ".join(words)):
            continue
        recalled += 1
        for place, text in enumerate(own):
            others = " ".join(own[:place] + own[place + 1 :])
            needless = len(own) > 1 and not holds(text, " ".join(words)) and holds(others, " ".join(words))
            useful += not needless
    found = scored(answer, texts)
    assert found.recall == pytest.approx(recalled / len(said))
    assert found.precision == pytest.approx(useful / count if count else 0.0)


def test_sentences_are_cut_where_they_end() -> None:
    assert sentences("It cost 3.5 million [1]. E.g. Dr. J. Stein paid. (Others did not.) Why? 12 did.") == [
        "It cost 3.5 million [1].",
        "E.g. Dr. J. Stein paid.",
        "(Others did not.)",
        "Why?",
        "12 did.",
    ]


def test_list_scores_by_hand() -> None:
    gold = [["Aar", "Aare"], ["Bern Brook"], ["Clear Creek"], ["D"], ["E"], ["F"], ["G"]]
    found = list_scores("the Aare, bern brook, Rhine, , D, E, F.", gold)
    assert found["list_precision"] == pytest.approx(5 / 6)
    assert found["list_recall"] == pytest.approx(5 / 7)
    assert found["list_recall_5"] == 1.0
    assert found["list_f1_5"] == pytest.approx(2 * (5 / 6) / (5 / 6 + 1))
    assert set(list_scores("", gold).values()) == {0.0}


ANSWERS = {
    "When was the tower": "The minster stone was laid in 1377 [1]. The tower was finished on 31 May 1890 [2].\nM",
    "Who designed": "Anna Stein designed the old bridge in 1901 [1].",
    "Which rivers": "Aar [1], Bern Brook [1], Clear Creek [2].",
    "Which towns": "Lund [1], Nora [1].",
    "Why is the sky": "Air scatters blue light more than red light [1].",
}


def judged(context: str, answer: str) -> float:
    premise, _, rest = context.partition("\n\nStatement: ")
    hypothesis = rest.partition("\n\nDoes the text")[0]
    return -0.1 if holds(premise, hypothesis) == (answer.strip() == "Yes") else -3.0


def answering(marks: bool = True, **more: str) -> ScriptedModel:
    known = ANSWERS | more

    def answer(prompt: str) -> str:
        text = next(text for question, text in known.items() if question in prompt[prompt.rfind("Question: ") :])
        return text if marks else re.sub(r" \[\d\]", "", text)

    return ScriptedModel(answer, scores=judged)


def measured(model: Any, **settings: Any) -> Any:
    return alce(model, judge="self", data=str(FIXTURES), **settings)


def test_gold_extractive_answers_score_one() -> None:
    found = measured(answering())
    names = ("citation_recall", "citation_precision", "str_em", "str_hit")
    assert {name: found.values[name].value for name in names} == dict.fromkeys(names, 1.0)
    assert found.items[0].prediction.endswith("1890 [2].")
    assert "asked for Yes or No" in found.notes[0]


def test_without_marks_only_the_citation_scores_fall() -> None:
    cited, bare = measured(answering()), measured(answering(marks=False))
    for name, value in cited.values.items():
        assert bare.values[name].value == (0.0 if name.startswith("citation") else value.value)
    assert any("answers cite nothing" in note for note in bare.notes)


def test_citing_afterwards_lifts_recall() -> None:
    found = measured(answering(marks=False), post_hoc="tfidf", way="closed-book")
    assert found.values["citation_recall"].value == 1.0
    assert found.items[0].prediction.startswith("[1] The minster stone was laid in 1377. [2] The tower")


def test_lists_are_read_after_their_question() -> None:
    found = measured(answering(), subset="qampari")
    assert found.values["list_precision"].value == pytest.approx((1 + 1 / 2) / 2)
    assert found.values["list_recall"].value == pytest.approx((1 + 1 / 2) / 2)
    assert found.values["citation_recall"].value == 0.0  # the documents do not hold the words of the question


def test_claims_follow_from_the_answer() -> None:
    found = measured(answering(), subset="eli5")
    assert found.values["claim_recall"].value == pytest.approx(1 / 3)


def test_an_empty_answer_has_no_citation_scores_and_is_counted() -> None:
    found = measured(answering(**{"Who designed": ""}))
    assert found.values["citation_recall"].n == 1
    assert found.values["str_em"].value == 0.5
    assert any("1 of 2 answers are empty" in note for note in found.notes)


def test_snippets_leave_out_what_does_not_help() -> None:
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "Nothing."

    measured(ScriptedModel(answer, scores=judged), way="snippet", samples=1)
    assert "the stone was laid in 1377" in prompts[0]
    assert "Danube" not in prompts[0]


def test_missing_snippets_are_written_by_the_model() -> None:
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        if prompt.endswith("Snippet:"):
            return "irrelevant" if "Title: Creeks" in prompt else "The Aar is there."
        return "Aar [1]"

    measured(ScriptedModel(answer, scores=judged), way="snippet", subset="qampari", samples=1)
    assert len(prompts) == 3
    assert "Document [1](Title: Valley): The Aar is there." in prompts[-1]
    assert "Creeks" not in prompts[-1]


def test_documents_are_opened_step_by_step() -> None:
    prompts: list[str] = []
    steps = iter(["Check: Document [2][7]", " Begun in 1377 [1].", "Output: Done in 1890 [2].", "End"])

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return next(steps)

    found = measured(ScriptedModel(answer, scores=judged), way="interact", samples=1)
    assert found.items[0].prediction == "Begun in 1377 [1]. Done in 1890 [2]."
    full = "Document [2](Title: Ulm Minster): The tower of the minster was finished on 31 May 1890.\nOutput:"
    assert prompts[1].endswith(f"Check: Document [2][7]\n{full}")
    assert prompts[2].endswith("Check: Document [2][7]\nOutput: Begun in 1377 [1].\n")  # opened for one step only


def test_key_words_open_the_closest_document() -> None:
    prompts: list[str] = []
    steps = iter(["Search: tower finished", "1890 [2].", "End"])

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return next(steps)

    measured(ScriptedModel(answer, scores=judged), way="inline-search", samples=1)
    assert "was finished on 31 May 1890.\nOutput:" in prompts[1]


def test_of_several_answers_the_best_cited_counts() -> None:
    drawn = iter(["It was 1377.", "The stone was laid in 1377 [1].", "It was 1377 [2]."])
    found = measured(ScriptedModel(lambda _: next(drawn), scores=judged), rerank=3, samples=1)
    assert found.items[0].prediction == "The stone was laid in 1377 [1]."


def test_a_chat_system_is_asked_in_a_conversation() -> None:
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "\n\nIn 1377 [1]."

    system = System(ScriptedModel(answer, scores=judged), PromptStyle("chat"))
    found = measured(system, samples=1)
    assert prompts[0].startswith("user: Instruction:")
    assert found.items[0].prediction == "In 1377 [1]."


def test_prompt_files_of_the_authors_are_read(tmp_path: Path) -> None:
    demos = [
        {"question": f"Q{i}?", "answer": f"A{i} [1].", "docs": [{"title": f"T{i}", "text": f"P{i} {{Q}}"}]}
        for i in range(4)
    ]
    content = {
        "instruction": "Do.",
        "demo_sep": "\n\n\n",
        "demo_prompt": "{INST}\n\nQuestion: {Q}\n\n{D}\nAnswer: {A}",
        "doc_prompt": "Document [{ID}](Title: {T}): {P}\n",
        "demos": demos,
    }
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(content))
    text = read_prompt(file)
    # numpy's legacy generator draws 1 and 3 of 4 under seed 42
    shown = head(text, 1, None, 42)
    one = "Do.\n\nQuestion: Q1?\n\nDocument [1](Title: T1): P1 {Q}\n\nAnswer:A1 [1].\n\n\n"
    assert shown == one + one.replace("1?", "3?").replace("T1", "T3").replace("P1", "P3").replace("A1", "A3")
    assert filled(text, "Why?", []) == "Do.\n\nQuestion: Why?\n\nAnswer:"
    file.write_text("{}")
    with pytest.raises(InputError, match="a prompt file has the texts instruction"):
        read_prompt(file)


def test_own_prompts_tell_lists_from_prose() -> None:
    assert "commas" in own_prompt("vanilla", "list").instruction
    assert "Check: Document" in own_prompt("interact", "prose").instruction


def test_fluency_is_measured_where_features_are_named(tiny_folder: Path) -> None:
    found = measured(answering(), features=str(tiny_folder))
    assert 0 < found.values["mauve"].value <= 1
    assert any("MAUVE is meant for thousands" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a list of questions"),
        ('[{"question": "Q"}]', "question 1: has no list 'docs'"),
        ('[{"question": "Q", "docs": [{"title": "T"}]}]', "document 1: has no text 'text'"),
        ('[{"question": "Q", "docs": [], "qa_pairs": [{"short_answers": []}]}]', "must hold lists of accepted"),
    ],
)
def test_damaged_data_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "asqa.json").write_text(content)
    with pytest.raises(InputError, match=re.escape(problem)):
        alce(answering(), judge="self", data=str(tmp_path / "asqa.json"))


def test_it_says_what_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEELYARD_DATA", raising=False)
    with pytest.raises(UsageError, match=re.escape("ALCE-data.tar")):
        alce(answering(), judge="self")
    with pytest.raises(UsageError, match="needs the setting 'judge'"):
        parts.validate("alce", {"data": HEADER.folder})


def test_a_system_with_documents_is_asked_in_its_own_way() -> None:
    passages = [
        Hit("p1", 0.0, "Rain fell.", source="rain.txt"),
        Hit("p2", 0.0, "The stone was laid in 1377.", source="ulm.txt"),
    ]
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return " The stone was laid in 1377 [2]. Nobody knows.\nMore"

    model = grounded(ScriptedModel(answer, scores=judged), EverythingRetriever(passages), k=2)
    found = measured(model, way="own", samples=1)
    assert asked[0].endswith("Question: When was the tower built?\nAnswer:")
    assert found.items[0].prediction == "The stone was laid in 1377.[2] Nobody knows."
    assert found.values["citation_recall"].value == 0.5
    assert found.values["citation_precision"].value == 1.0
    with pytest.raises(UsageError, match="has no documents of its own"):
        measured(answering(), way="own")
    with pytest.raises(UsageError, match="has documents of its own; ask it with way=own"):
        measured(model)
    with pytest.raises(UsageError, match="leave prompts out"):
        measured(model, way="own", prompts="asqa_default.json")
