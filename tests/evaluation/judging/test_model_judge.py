"""Judges made of models: positions cancelled, verdicts read or counted as unread, never guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluation.judging.scripted_judges import always, longer, model
from steelyard.contracts import Answers, Verdict
from steelyard.errors import CapabilityError, InputError, UsageError
from steelyard.evaluation.judging.calibration import calibrate, position_biased, verdict_shares
from steelyard.evaluation.judging.human_labels import LabelledPair, LabelledPairs, labelled_pairs, llmbar, pandalm
from steelyard.evaluation.judging.kept_judge import KeptJudge
from steelyard.evaluation.judging.model_judge import ask, combined
from steelyard.evaluation.judging.pairwise_judge import pairwise_judge
from steelyard.evaluation.judging.reading import read_label
from steelyard.evaluation.judging.templates import JudgeTemplate, check_template
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel

PAIRS = [Answers(f"Question {i}", "long answer " * (1 + i % 2), "long answer " * (2 - i % 2)) for i in range(20)]


def labelled(pairs: Sequence[Answers]) -> LabelledPairs:
    """People prefer the longer answer."""
    return LabelledPairs(
        "lengths", tuple(LabelledPair(str(i), p, float(len(p.first) > len(p.second))) for i, p in enumerate(pairs))
    )


def test_a_constant_first_judge_is_cancelled_and_found_out() -> None:
    found = calibrate(pairwise_judge(always("A")), labelled(PAIRS))
    assert found.values["ties"].value == 1.0
    assert found.values["inconsistent"].value == 1.0
    assert found.values["first shown"].value == 1.0
    assert found.values["first shown"].low > 0.5
    assert any("Position bias" in note and "the first place wins" in note for note in found.notes)
    assert any("not shown to agree" in note for note in found.notes)


def test_a_constant_first_judge_without_swapping_decides_by_position() -> None:
    verdicts = pairwise_judge(always("A"), swap=False).compare(PAIRS)
    assert {verdict.value for verdict in verdicts} == {1.0}
    assert position_biased(verdict_shares(verdicts))


def test_a_judge_that_sees_the_difference_agrees_and_has_no_bias() -> None:
    found = calibrate(pairwise_judge(longer()), labelled(PAIRS))
    assert found.values["agreement"].value == 1.0
    assert found.values["kappa"].value == pytest.approx(1.0)
    assert found.values["first shown"].value == 0.5
    assert not position_biased(dict(found.values))
    assert any("agrees with people more than" in note for note in found.notes)
    json.dumps(found.to_record(), allow_nan=False)


def test_unreadable_verdicts_are_counted_and_decide_nothing() -> None:
    found = calibrate(pairwise_judge(always("Both are lovely, A as well as B.")), labelled(PAIRS))
    assert found.values["unreadable"].value == 1.0
    assert found.values["agreement"].value == 0.0
    assert "kappa" not in found.values
    assert any("could not be read" in note for note in found.notes)


def test_orders_combine() -> None:
    assert combined((1.0, 0.5)).value == 0.5  # a win in one order only is no win
    assert combined((0.0, 0.0)).value == 0.0
    assert combined((None, 1.0)) == Verdict(None, (None, 1.0), ())


@pytest.mark.parametrize(
    ("text", "label", "rule"),
    [
        ("B", "B", "alone"),
        (" **b** ", "B", "alone"),
        ("Answer A.", "A", "alone"),
        ("I weighed A and B. [[A]]", "A", "bracketed"),
        ("Well. The verdict is: B, I think", "B", "stated"),
        ("A, since it is shorter than the other", "A", "leading"),
        ("A is long and B is short.\nTie", "Tie", "last-line"),
        ("A good answer is B", None, None),
        ("[[A]] or [[B]]", None, None),
        ("Apples", None, None),
        ("", None, None),
    ],
)
def test_rules_read_what_they_say_and_nothing_else(text: str, label: str | None, rule: str | None) -> None:
    assert read_label(text, ["A", "B", "Tie"]) == (label, rule)


def test_scored_labels_and_models_that_have_no_scores() -> None:
    scored = ScriptedModel(scores=lambda context, text: -1.0 if text == "B" else -2.0)
    assert [reply.label for reply in ask(scored, ["x"], ["A", "B"], method="score")] == ["B"]
    even = ScriptedModel(scores=lambda context, text: -1.0)
    assert ask(even, ["x"], ["A", "B"], method="score")[0].label is None
    with pytest.raises(CapabilityError, match="score"):
        ask(always("A"), ["x"], ["A", "B"], method="score")
    with pytest.raises(UsageError, match="no explanations"):
        ask(scored, ["x"], ["A", "B"], method="score", explanation=True)


def test_auto_falls_to_scores_where_grammars_are_lacking() -> None:
    class NoGrammar(ScriptedModel):
        def generate(self, prompts: Any, sampling: Any = None) -> Any:
            if getattr(sampling, "grammar", None) is not None:
                raise CapabilityError("lacks grammars")
            return super().generate(prompts, sampling)

    both = NoGrammar({}, scores=lambda context, text: -1.0 if text == "A" else -3.0)
    assert ask(both, ["x"], ["A", "B"])[0].label == "A"
    words = NoGrammar(lambda prompt: "I say: [[B]]")
    assert ask(words, ["x"], ["A", "B"])[0].label == "B"
    with pytest.raises(CapabilityError):
        ask(words, ["x"], ["A", "B"], method="grammar")


def test_a_grammar_leaves_a_tiny_random_model_nothing_unreadable(tiny_folder: Path) -> None:
    judge = pairwise_judge(load_model(str(tiny_folder)), method="grammar")
    verdicts = judge.compare([Answers("Which?", "this", "that"), Answers("Who?", "he", "she")])
    assert all(verdict.value is not None for verdict in verdicts)
    assert {word for verdict in verdicts for word in verdict.words} <= {"A", "B", "Tie"}


def test_answers_with_braces_reach_the_judge_as_they_are() -> None:
    seen: list[str] = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return "A"

    pairwise_judge(model(answer), swap=False).compare(
        [Answers("{first}", "{second}", "x{prompt}y", "{reference}")]
    )
    assert "Answer A:\n{second}\n" in seen[0]
    assert "Request:\n{first}\n" in seen[0]
    assert "Correct answer:\n{reference}" in seen[0]


def test_own_templates_are_checked_and_change_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text('text: "{prompt} {first} {second}: which?"\nlabels: {one: 1, two: 0}\n')
    mine = pairwise_judge(always("two"), template=file)
    assert mine.compare([Answers("p", "a", "b")])[0].orders == (0.0, 1.0)
    assert mine.card.fingerprint != pairwise_judge(always("two")).card.fingerprint
    file.write_text("text: hello\nlabels: {one: 1, two: 0}\n")
    with pytest.raises(UsageError, match="is missing"):
        pairwise_judge(always("two"), template=file)
    file.write_text("labels: [")
    with pytest.raises(InputError, match="not a judge template"):
        pairwise_judge(always("two"), template=file)
    with pytest.raises(UsageError, match="no place"):
        check_template(JudgeTemplate("{prompt}{first}{second}{third}", {"a": 1, "b": 0}), pairs=True)
    with pytest.raises(UsageError, match="two labels"):
        check_template(JudgeTemplate("{prompt}{first}{second}", {"a": 1, "A": 0}), pairs=True)


def test_kept_verdicts_are_not_asked_again_and_a_killed_run_goes_on(memory_store: Any) -> None:
    asked = longer()
    kept = KeptJudge(pairwise_judge(asked), memory_store, chunk=5)
    first = kept.compare(PAIRS[:10])
    done = sum(n for _, n in asked.calls)
    again = kept.compare(PAIRS)
    assert again[:10] == first
    assert again == pairwise_judge(longer()).compare(PAIRS)
    assert sum(n for _, n in asked.calls) - done <= 2 * 10

    class Dies(ScriptedModel):
        def generate(self, prompts: Any, sampling: Any = None) -> Any:
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().generate(prompts, sampling)

    pairs = [Answers(f"other {i}", "x" * (i + 1), "y") for i in range(12)]
    source = longer("dies")
    dying = Dies(source.answers, name="dies")
    with pytest.raises(KeyboardInterrupt):
        KeptJudge(pairwise_judge(dying), memory_store, chunk=4).compare(pairs)
    KeptJudge(pairwise_judge(source), memory_store, chunk=4).compare(pairs)
    assert sum(n for _, n in source.calls) == 2 * 4  # eight of twelve pairs were kept


def test_official_layouts(data: Path) -> None:
    people = pandalm(data / "pandalm" / "testset-v1_a.json")
    assert len(people.pairs) + people.without_majority == 512
    assert {pair.label for pair in people.pairs} == {0.0, 0.5, 1.0}
    assert all(sum(vote == pair.label for vote in pair.votes) >= 2 for pair in people.pairs)
    natural = labelled_pairs(data / "llmbar" / "Natural.json")
    assert len(natural.pairs) == 100
    assert {pair.label for pair in natural.pairs} == {0.0, 1.0}


def test_broken_calibration_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text, problem in [
        ("{", "not JSON"),
        ("[]", "not a list of records"),
        ('[{"a": 1}]', "layout neither"),
        ('[{"input": "i", "output_1": "a", "output_2": "b", "label": 3}]', "record 0"),
    ]:
        file.write_text(text)
        with pytest.raises(InputError, match=problem):
            labelled_pairs(file)
    with pytest.raises(InputError, match="cannot be read"):
        llmbar(tmp_path / "none.json")
