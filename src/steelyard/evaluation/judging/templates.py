"""What a judge is asked: templates that a user can replace, and the labels that count as its verdicts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from steelyard.contracts import Answers, Message
from steelyard.errors import InputError, UsageError

FIELDS = ("prompt", "first", "second", "reference")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class JudgeTemplate:
    """One question to a judge.

    ``text`` has the places ``{prompt}``, ``{first}``, ``{second}`` (comparison only) and ``{reference}``;
    ``with_reference`` is used instead where a reference is known. ``labels`` maps each verdict as the judge writes
    it to its value: 1 for the first (or a right) answer, 0 for the second (or a wrong one), 0.5 for a tie.
    ``system`` is the system message; empty for none, which not every chat template takes.
    """

    text: str
    labels: Mapping[str, float]
    with_reference: str = ""
    system: str = ""

    def render(self, answers: Answers) -> list[Message]:
        """The conversation that puts ``answers`` to a judge; braces inside answers are left as they are."""
        values = {name: getattr(answers, name) for name in FIELDS}
        text = self.with_reference if answers.reference and self.with_reference else self.text
        filled = _FIELD.sub(lambda place: str(values[place[1]]) if place[1] in values else place[0], text)
        return [Message("system", self.system)] * bool(self.system) + [Message("user", filled)]

    @property
    def fingerprint(self) -> str:
        """Content hash; verdicts under another wording or other labels are other verdicts."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


COMPARE = JudgeTemplate(
    text=(
        "Two assistants answered the same request. Decide whose answer serves the person who asked better: it "
        "should do what was asked, be correct, and leave out what does not help. The order of the answers and "
        "their length are no reasons.\n\n"
        "Request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n"
        "Reply with one word: A, B, or Tie if neither is better."
    ),
    with_reference=(
        "Two assistants answered the same request, and a correct answer is known. Decide whose answer agrees "
        "better with the correct one. The order of the answers and their length are no reasons.\n\n"
        "Request:\n{prompt}\n\nCorrect answer:\n{reference}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n"
        "Reply with one word: A, B, or Tie if neither is better."
    ),
    labels={"A": 1.0, "B": 0.0, "Tie": 0.5},
)
COMPARE_WITHOUT_TIES = JudgeTemplate(
    text=COMPARE.text.replace("A, B, or Tie if neither is better", "A or B"),
    with_reference=COMPARE.with_reference.replace("A, B, or Tie if neither is better", "A or B"),
    labels={"A": 1.0, "B": 0.0},
)
GRADE = JudgeTemplate(
    text=(
        "Rate an answer to a request from 1 (useless or wrong) to 5 (correct and fully what was asked).\n\n"
        "Request:\n{prompt}\n\nAnswer:\n{first}\n\nReply with one digit from 1 to 5."
    ),
    with_reference=(
        "Rate an answer to a request from 1 (wrong) to 5 (says the same as the correct answer).\n\n"
        "Request:\n{prompt}\n\nCorrect answer:\n{reference}\n\nAnswer:\n{first}\n\n"
        "Reply with one digit from 1 to 5."
    ),
    labels={str(grade): (grade - 1) / 4 for grade in range(1, 6)},
)
VERIFY = JudgeTemplate(
    text=(
        "Check an answer to a question against the correct answer. Wording, order and extra detail do not matter, "
        "as long as the answer says the same and contradicts nothing.\n\n"
        "Question:\n{prompt}\n\nCorrect answer:\n{reference}\n\nAnswer to check:\n{first}\n\n"
        "Begin your reply with True if the answer is right or False if it is not, then give the reason in one "
        "sentence."
    ),
    labels={"True": 1.0, "False": 0.0},
)
"""Reference-guided: the gold answer is shown, and the verdict comes before its explanation."""


def check_template(template: JudgeTemplate, *, pairs: bool) -> JudgeTemplate:
    """The template, if it can be asked.

    Raises:
        UsageError: a place that does not exist or is missing, fewer than two labels, labels of equal spelling, or
            values outside 0..1.
    """
    needed = {"prompt", "first", "second"} if pairs else {"first"}
    for text in filter(None, (template.text, template.with_reference)):
        places = set(_FIELD.findall(text))
        if unknown := places - set(FIELDS):
            raise UsageError(f"judge template: no place {{{min(unknown)}}}; there are {', '.join(FIELDS)}")
        if missing := needed - places:
            raise UsageError(f"judge template: the place {{{min(missing)}}} is missing")
    folded = {label.casefold() for label in template.labels}
    if len(folded) < 2 or len(folded) < len(template.labels) or not all(folded):
        raise UsageError("judge template: needs at least two labels that differ in more than case")
    if any(not 0 <= value <= 1 for value in template.labels.values()):
        raise UsageError("judge template: the values of labels lie between 0 and 1")
    return template


def read_template(path: Path, *, pairs: bool) -> JudgeTemplate:
    """A template from a YAML file: ``text``, ``labels`` and, if wanted, ``with_reference`` and ``system``.

    Raises:
        InputError: the file cannot be read or is no template.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        labels = {str(label): float(value) for label, value in found.pop("labels").items()}
        template = JudgeTemplate(labels=labels, **{name: str(text) for name, text in found.items()})
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is not a judge template ({str(error).splitlines()[0]}); write text: and labels:"
        ) from error
    return check_template(template, pairs=pairs)
