from __future__ import annotations

import doctest
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks.chooser import Chooser, at_random
from steelyard.contracts import Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.helm import summary as summaries
from steelyard.evaluation.benchmarks.helm import text_measures as measures
from steelyard.evaluation.benchmarks.helm.helm_multi_metric import helm_multi_metric
from steelyard.evaluation.benchmarks.helm.lexicons import DIALECT, GROUPS, INSULTS, KEYS, NAMES
from steelyard.evaluation.benchmarks.helm.perturbations import FAIRNESS, ROBUSTNESS, perturbed
from steelyard.evaluation.benchmarks.helm.summary import METRICS, compare_systems, worst_case
from steelyard.evaluation.benchmarks.helm.text_measures import lexicon_scorer, toxic_texts
from steelyard.evaluation.calibration import expected_calibration_error
from steelyard.evaluation.suite import evaluate_suite

DATA = Path(__file__).parents[1] / "fixtures" / "helm-multi-metric"
ALL = {**ROBUSTNESS, **FAIRNESS}
ROW = Sample(
    "r",
    {
        "prompt": "Why does his father not believe that it is going to rain, says Adam to Emily?",
        "choices": ["He is a man", "They do not know", "Because of the weather"],
        "answer": 2,
        "split": "test",
    },
    group="g",
    weight=2.0,
)


@pytest.mark.parametrize("module", [summaries, measures])
def test_examples_in_the_text(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ALL)
def test_perturbations_are_seeded_and_keep_the_answer(name: str) -> None:
    first = perturbed(ROW, name, seed=1)
    assert first is not None
    assert first == perturbed(ROW, name, seed=1)
    assert (first.id, first.group, first.weight) == (ROW.id, ROW.group, ROW.weight)
    assert first.data["answer"] == ROW.data["answer"]
    assert first.data["prompt"] != ROW.data["prompt"]
    assert len(set(first.data["choices"])) == 3
    if name in ROBUSTNESS:
        assert first.data["choices"] == ROW.data["choices"]
    if name in ("typos", "spaces", "names"):
        assert any(perturbed(ROW, name, seed=seed) != first for seed in range(2, 6))


def test_what_they_do() -> None:
    def told(name: str, text: str) -> str:
        return ALL[name](text, Random(0))

    assert told("contractions", "It is late. Do not go, we CANNOT.") == "It's late. Don't go, we CAN'T."
    assert told("dialect", "The thing isn't over there.") == "Da thang ain't ova dere."
    assert told("gender", "His brother told him: a man, the human.") == "Her sister told her: a woman, the human."
    assert told("lowercase", "ABC d") == "abc d"
    assert told("spaces", "a b").split() == ["a", "b"]
    swapped = told("names", "Adam met Emily; Adamant.")
    first, second = swapped.removesuffix("; Adamant.").split(" met ")
    assert first in NAMES["male"][1]
    assert second in NAMES["female"][1]


@given(st.text(alphabet="abcdefghij XYZ.,", max_size=80), st.integers(0, 5))
def test_typos_hit_neighbours_only(text: str, seed: int) -> None:
    changed = ALL["typos"](text, Random(seed))
    assert len(changed) == len(text)
    for before, after in zip(text, changed, strict=True):
        assert after == before or (after.lower() in KEYS[before.lower()] and after.isupper() == before.isupper())


def test_neighbours_are_mutual_letters() -> None:
    assert all(near in KEYS and letter not in near for letter, near in ((a, b) for a in KEYS for b in KEYS[a]))
    assert all(key == key.lower() for key in DIALECT)


def test_choices_that_would_become_equal_stay() -> None:
    row = Sample("x", {"prompt": "Who?", "choices": ["his", "her"], "answer": 0, "split": "test"})
    assert perturbed(row, "gender", seed=0) is None
    assert perturbed(row, "contractions", seed=0) is None


def suite(**settings: Any) -> Any:
    return helm_multi_metric(**{"data": str(DATA), "shots": 2, **settings})


def knowing(task_suite: Any) -> Chooser:
    """Right on clean questions and wrong on changed ones; talks about women, and insults one beginning."""
    clean = {
        row.data["prompt"]: row for task in task_suite.tasks[:-1] if "+" not in task.name for row in task.rows
    }

    def asked(context: str) -> str:
        return context.rsplit("Question: ", 1)[-1].removesuffix("\nAnswer:")

    def rule(context: str, text: str) -> float:
        row = clean.get(asked(context))
        right = row.data["choices"][row.data["answer"]] if row is not None else "false"
        return -0.5 if text.strip() == right else -1.5

    def write(prompt: str) -> str:
        if not prompt.endswith("Answer:"):
            return " she is a nurse." if "cousin" not in prompt else " he is an idiot."
        row = clean.get(asked(prompt))
        return f" {row.data['answers'][0]}\n" if row is not None else " nothing"

    return Chooser(rule, write, name="knowing")


def test_the_grid() -> None:
    made = suite()
    done = evaluate_suite(knowing(made), made, style=made.style)
    found = made.summary(made.name, done)
    grid = {row[0]: dict(zip(METRICS, row[1:], strict=True)) for row in found.tables[0].rows}
    assert list(grid) == ["boolq", "nq_open", "open-ended"]
    assert grid["boolq"]["accuracy"].value == 1.0  # type: ignore[union-attr]
    boolq = next(e for e in done if e.task == "boolq")
    share = 1 / (1 + 2.718281828459045**-1)
    assert [r.marks.values["confidence"] for r in boolq.results] == pytest.approx([share] * 8)
    ece = expected_calibration_error([share] * 8, [1] * 8, binning="mass")
    assert grid["boolq"]["calibration"].value == pytest.approx(ece)  # type: ignore[union-attr]
    assert grid["nq_open"]["calibration"] is None
    for scenario in ("boolq", "nq_open"):
        for metric in ("robustness", "fairness"):
            cell: Any = grid[scenario][metric]
            assert cell.value <= grid[scenario]["accuracy"].value  # type: ignore[union-attr]
    assert grid["nq_open"]["robustness"].value == 0.0  # type: ignore[union-attr]
    assert grid["open-ended"]["accuracy"] is None
    assert grid["open-ended"]["toxicity"].value == pytest.approx(1 / 16)  # type: ignore[union-attr]
    assert grid["open-ended"]["tokens"].value == 7.0  # type: ignore[union-attr]
    gaps = {(row[0], row[1]): row[2] for row in found.tables[1].rows}
    missing = {(title, m) for title, row in grid.items() for m, cell in row.items() if cell is None}
    assert set(gaps) == missing
    assert gaps["boolq", "bias"] == "nothing is generated"
    assert found.notes[0] == f"Measured {24 - len(missing)} of 24 cells."
    json.dumps(found.to_record(), allow_nan=False)


def test_every_cell_leads_to_its_prompts() -> None:
    made = suite(samples=3)
    done = {evaluation.task: evaluation for evaluation in evaluate_suite(knowing(made), made, style=made.style)}
    found = made.summary(made.name, list(done.values()))
    cells = found.details["cells"]
    assert cells["boolq/robustness"]["tasks"][0] == "boolq"
    assert "boolq+typos" in cells["boolq/robustness"]["tasks"]
    for cell in cells.values():
        for task in cell["tasks"]:
            assert all(result.requests and result.responses for result in done[task].results)
    shown = {
        str(done[task].results[0].requests[0]["context"]).split("\n\n")[0] for task in done if "boolq" in task
    }
    assert len(shown) == 1  # the same examples before clean and changed questions


def test_worst_cases_never_exceed_the_clean_ones() -> None:
    made = suite(perturbations=["typos", "spaces", "gender"])
    done = evaluate_suite(Chooser(at_random), made, style=made.style)
    grid = {row[0]: row for row in made.summary(made.name, done).tables[0].rows}
    assert grid["boolq"][3].value <= grid["boolq"][1].value  # type: ignore[union-attr]
    assert grid["boolq"][4].value <= grid["boolq"][1].value  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_worst_case_is_the_minimum(rows: list[tuple[bool, bool, bool]]) -> None:
    clean = {str(i): float(row[0]) for i, row in enumerate(rows)}
    twin = {str(i): float(row[1]) for i, row in enumerate(rows) if row[2]}
    found = worst_case(clean, {"typos": twin}, {"typos": frozenset(twin)})
    assert found == [min(clean[i], twin.get(i, 1.0)) for i in clean]
    assert worst_case(clean, {}, {"typos": frozenset(clean)}) == []


def test_win_rates_between_equal_systems_are_even() -> None:
    made = suite(samples=2, perturbations=["typos"])
    found = made.summary(made.name, evaluate_suite(knowing(made), made, style=made.style))
    weak = made.summary(made.name, evaluate_suite(Chooser(at_random, lambda prompt: "?"), made, style=made.style))
    table = compare_systems({"a": found, "b": found}).tables[0]
    assert all(cell in (0.5, None) for row in table.rows for cell in row[1:])
    table = compare_systems({"a": found, "b": weak}).tables[0]
    assert table.rows[0][1] > table.rows[1][1]  # type: ignore[operator]
    assert table.rows[0][1] + table.rows[1][1] == pytest.approx(1.0)  # type: ignore[operator]


def test_bias_by_hand() -> None:
    texts = ["She met her cousin.", "He left.", "Nothing."]
    assert len(GROUPS["gender"]["female"]) == len(GROUPS["gender"]["male"]) == 20
    assert measures.representation_bias(texts, GROUPS["gender"]) == pytest.approx(2 / 3 - 1 / 2)  # she, her; he
    unequal = {"long": ["she", "her", "hers", "herself"], "short": ["he"]}
    assert measures.representation_bias(texts, unequal) == pytest.approx(1 / (2 / 4 + 1) - 1 / 2)
    assert measures.bias_figures(["Nothing."]) == dict.fromkeys(measures.bias_figures(texts))


def test_toxicity_takes_a_list_or_a_classifier(tmp_path: Path) -> None:
    assert toxic_texts(["You IDIOT.", "idiotic"], lexicon_scorer(INSULTS)) == [1.0, 0.0]
    assert toxic_texts(["a", "bb"], lambda text: len(text) / 4) == [0.0, 1.0]
    file = tmp_path / "words.txt"
    file.write_text("# my words\nnurse\n", encoding="utf-8")
    made = suite(toxicity_lexicon=str(file), samples=1, perturbations=[])
    found = made.summary(made.name, evaluate_suite(knowing(made), made, style=made.style))
    assert found.tables[0].rows[-1][6].value == pytest.approx(15 / 16)  # type: ignore[union-attr]
    assert "words.txt" in found.notes[1]
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no words"):
        suite(toxicity_lexicon=str(file))


def test_own_tasks_are_scenarios(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Is it {i}?", "answers": [str(i)]}) + "\n" for i in range(6)))
    made = suite(scenarios=[str(file), "boolq"], perturbations=["contractions", "lowercase"])
    assert [task.name for task in made.tasks][:2] == ["mine", "mine+lowercase"]
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "Once."}\n')
    with pytest.raises(UsageError, match="texts without questions"):
        suite(scenarios=str(text))


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown perturbation 'typo'; did you mean 'typos'"):
        suite(perturbations=["typo"])
    with pytest.raises(UsageError, match="sets known by name are boolq"):
        suite(scenarios="boolk")
    with pytest.raises(UsageError, match="no rows are left to test beside 50 examples"):
        suite(shots=50)
    with pytest.raises(UsageError, match="name scenarios, or give their folder"):
        helm_multi_metric(data=str(tmp_path))
    with pytest.raises(UsageError, match="two scenarios are named 'boolq'"):
        suite(scenarios=["boolq", "boolq"])


def test_public_sets_are_read(data: Path) -> None:
    made = helm_multi_metric(data=str(data), samples=2, perturbations=["lowercase"])
    clean = [task.name for task in made.tasks if "+" not in task.name]
    assert clean == ["boolq", "arc_challenge", "piqa", "commonsenseqa", "nq_open", "open-ended"]
    assert all(len(task.samples()) == 2 for task in made.tasks if task.name in clean[:-1])
