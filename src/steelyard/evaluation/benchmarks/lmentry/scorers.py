"""LMentry's scorers: whether an output is right by its task's rule, from patterns and the arguments alone."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

from steelyard.evaluation.benchmarks.lmentry import claims
from steelyard.evaluation.benchmarks.lmentry.patterns import (
    NUMBER,
    TAIL,
    Verdict,
    any_word,
    letter,
    normalised,
    number,
    only,
    shared,
    weigh,
    whole,
    word,
)
from steelyard.evaluation.benchmarks.lmentry.prompts import core_of

RULES = "lmentry/1"
Data = Mapping[str, Any]

_FRAMES = (
    r"(?:sure|certainly|of course|okay|ok|absolutely)[,.!:]*\s+",
    r"(?:here(?:'s| is| are)|this is|an example of|my|one|an?|the)\b[^:\n]{0,140}:\s*",
    r"(?:an?|one|my|the) (?:possible )?(?:sentence|word|example)\b[^\n\"]{0,140}? is:?\s+(?=\")",
    r"(?:answer|a|sentence|word|output|response)\s*:\s*",
)
_ECHO = re.compile(r"(?:write|use|name|begin|end)\b (?:a|one|the|only)\b.*\b(?:word|letter|sentence|contains?)\b")
_CATEGORY_FORMS = {
    "items of clothing": "(?:items of clothing|clothes|clothing|garments)",
    "clothes": "(?:clothes|clothing|items of clothing|garments)",
    "fruit": "(?:fruits?|types of fruits?)",
    "furniture": "(?:furniture|pieces of furniture|items of furniture)",
}


def score_output(task: str, output: str, data: Data) -> Verdict:
    """The verdict on an output for an item of a task (or variant) with these arguments.

    >>> score_output("bigger_number", "923 is bigger.", {"answer": 923, "distractor": 88})
    Verdict(score=1, certain=True)
    >>> score_output("last_letter", "The last letter is t.", {"word": "oak", "answer": "k"}).score
    0
    """
    return _SCORERS[core_of(task)](normalised(output), data)


def payload(text: str) -> str:
    r"""The first line of an output without what introduces it ("Sure! Here is a sentence: ...").

    >>> payload('sure! here is a sentence with "tea":\n\n"i like tea."')
    'i like tea.'
    """
    changed = True
    while changed:
        shorter = text
        for frame in _FRAMES:
            shorter = re.sub(rf"^{frame}", "", shorter.lstrip(), count=1)
        changed, text = shorter != text, shorter
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    quoted = re.fullmatch(r"\"([^\"]+)\"[.!]?", line)
    return quoted[1].strip() if quoted else line


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z\d][a-z\d'-]*", text)


def _choice(relation: Callable[[str, str], list[str]], *, numbers: bool = False) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        mention: Callable[[Any], str] = number if numbers else word
        answer, other = mention(data["answer"]), mention(data["distractor"])
        right, wrong = [*relation(answer, other), *shared(answer)], [*relation(other, answer), *shared(other)]
        others = rf"(?!{answer}){number_like()}" if numbers else other
        return weigh(text, right, wrong, bare=(answer, others))

    return scorer


def number_like() -> str:
    """Any number in digits."""
    return r"(?:the number )?[\"'(]*\b\d[\d,.]*\b[\"').,;]*"


def _lengths(longer: bool) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        names = (data["answer"], data["distractor"]) if longer else (data["distractor"], data["answer"])
        long, short = map(word, names)
        difference = len(names[0]) - len(names[1])
        forms = number(difference) if difference > 1 else rf"(?:{number(1)}|an?|a single)"
        answer, other = (long, short) if longer else (short, long)
        right = [*claims.is_longer(long, short, forms), *shared(answer)]
        wrong = [
            *claims.wrong_difference(long, short, difference),
            *claims.is_longer(short, long, NUMBER),
            *shared(other),
        ]
        return weigh(text, right, wrong, bare=(answer, other))

    return scorer


def _sound(relation: Callable[[str, str, str], list[str]]) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        answer, query, other = word(data["answer"]), word(data["query"]), word(data["distractor"])
        wrong = any_word([data["distractor"], data["query"]])
        return weigh(text, relation(answer, query, other), relation(other, query, answer), bare=(answer, wrong))

    return scorer


def _association(most: bool) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        answer, others = word(data["answer"]), any_word(data["distractors"])
        category = word(data["category"])
        right = claims.associated(answer, category, most)
        return weigh(text, right, claims.associated(others, category, most), bare=(answer, others))

    return scorer


def _yes_no(every: bool) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        inside = data["num_words"] - data["num_distractors"]
        expected = data["num_distractors"] == 0 if every else inside > 0
        plain = re.sub(r"^(?:the )?(?:correct |right )?answer(?: is|:)?:?\s*|^a:\s*", "", text)
        opening = re.match(r"[\"'(]*(yes|no)\b", plain)
        if opening:
            alone = re.fullmatch(r"[\"'(]*(?:yes|no)\W*", plain) is not None
            return Verdict(int((opening[1] == "yes") == expected), alone)
        category = _CATEGORY_FORMS.get(data["category"], rf"(?:an? )?{re.escape(data['category'])}")
        yes, no = claims.all_belong(category) if every else claims.any_belongs(category)
        right, wrong = (yes, no) if expected else (no, yes)
        return weigh(text, [*right, *shared("yes" if expected else "no")], wrong)

    return scorer


def _end(kind: str, place: str) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        held = str(data["sentence" if kind == "word" else "word"]).lower()
        answer = str(data["answer"]).lower()
        if kind == "letter":
            right, wrong = letter(answer), letter(rf"(?!{answer}\b)[a-z]")
            holder = word(held)
        else:
            rest = sorted(set(_words(held)) - {answer})
            right, wrong = word(answer), any_word(rest)
            holder = rf"(?:the sentence )?[\"'(]*{re.escape(held)}[\"').,]*"
        said = claims.first_or_last(kind, place, right, holder)
        unsaid = claims.first_or_last(kind, place, wrong, holder)
        return weigh(text, said, unsaid, bare=(right, wrong))

    return scorer


def _neighbour(after: bool) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        answer, query = str(data["answer"]).lower(), str(data["query"]).lower()
        rest = sorted(set(_words(str(data["sentence"]).lower())) - {answer})
        wrong = any_word(rest)
        said = claims.neighbour(after, word(answer), word(query))
        others = any_word([each for each in rest if each != query] or ["(no other)"])
        return weigh(text, said, claims.neighbour(after, others, word(query)), bare=(word(answer), wrong))

    return scorer


def _sentence(rule: Callable[[list[str], str], bool]) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        sentence = payload(text)
        words = _words(sentence)
        if len(words) < 2 or _ECHO.match(sentence):
            return Verdict(0, True)
        held = rule(words, str(data["word"]).lower())
        return Verdict(int(held), sentence == text)

    return scorer


def _letter_word(pattern: Callable[[str], str], verbs: str, participle: str) -> Callable[[str, Data], Verdict]:
    def scorer(text: str, data: Data) -> Verdict:
        wanted = str(data["letter"]).lower()
        fits = pattern(wanted)
        plain = payload(text)
        if not re.search(r"[a-z]", plain) or _ECHO.match(plain):
            return Verdict(0, True)
        one = len(_words(plain)) == 1
        if whole(plain, rf"(?:the word )?[\"'(]*{fits}[\"')]*") or (verbs != _LACKS and only(plain, fits)):
            return Verdict(1, True)
        if one:
            return Verdict(0, True)
        named = rf"(?:the word )?[\"'(]*\b{fits}\b[\"').,;]*"
        mark = letter(wanted)
        right = [
            rf"{named} (?:is (?:a|one) (?:possible )?word (?:that|which) )?(?:{verbs}) {mark}",
            rf"{named} (?:is|would be) (?:a|one|the) (?:possible |good )?(?:such )?(?:word|answer|example)\b",
            rf"words? (?:(?:that|which) (?:{verbs})|{participle}) {mark}(?: is|:) {named}",
            rf"(?:how about|may i suggest|for example,?|such as|consider) {named}",
            *shared(named),
        ]
        if wanted in "abcdefghijklmnopqrstuvwxyz" and "start" in verbs:
            right.append(rf"{wanted} is for (?:an? )?{named}")
        found = any(re.search(claim, plain) for claim in right)
        return Verdict(int(found), any(re.fullmatch(rf"{claim}{TAIL}", plain) for claim in right))

    return scorer


_LACKS = r"(?:does not|doesn't) (?:contain|use|have|include)|lacks|is without"


def _having(wanted: str) -> str:
    single = f"|{wanted}" if wanted in "ai" else ""
    return rf"(?:[\w'-]+{wanted}[\w'-]*|[\w'-]*{wanted}[\w'-]+{single})"


def _lacking(wanted: str) -> str:
    rest = string.ascii_lowercase.replace(wanted, "")
    return rf"(?:[{rest}'-]{{2,}}|{'|'.join(c for c in 'ai' if c != wanted)})(?![\w'-])"


def _starting(wanted: str) -> str:
    return rf"{wanted}-?\w[\w'-]*" if wanted not in "ai" else rf"{wanted}[\w'-]*"


def _ending(wanted: str) -> str:
    return rf"[\w'-]*\w{wanted}" if wanted not in "ai" else rf"[\w'-]*{wanted}"


_SCORERS: Mapping[str, Callable[[str, Data], Verdict]] = {
    "sentence_containing": _sentence(lambda words, wanted: wanted in words),
    "sentence_not_containing": _sentence(lambda words, wanted: wanted not in words),
    "starts_with_word": _sentence(lambda words, wanted: words[0] == wanted),
    "ends_with_word": _sentence(lambda words, wanted: words[-1] == wanted),
    "word_containing": _letter_word(_having, "contains|uses|has|includes", "(?:containing|using|with|having)"),
    "word_not_containing": _letter_word(_lacking, _LACKS, "(?:without|not containing|not using|lacking)"),
    "starts_with_letter": _letter_word(_starting, "starts with|begins with", "(?:starting with|beginning with)"),
    "ends_with_letter": _letter_word(_ending, "ends with|ends in|finishes with", "(?:ending with|ending in)"),
    "most_associated_word": _association(True),
    "least_associated_word": _association(False),
    "any_words_from_category": _yes_no(False),
    "all_words_from_category": _yes_no(True),
    "first_alphabetically": _choice(claims.comes_first),
    "more_letters": _lengths(True),
    "less_letters": _lengths(False),
    "bigger_number": _choice(claims.is_bigger, numbers=True),
    "smaller_number": _choice(lambda small, big: claims.is_bigger(big, small), numbers=True),
    "rhyming_word": _sound(claims.rhymes),
    "homophones": _sound(claims.sounds_like),
    "word_after": _neighbour(True),
    "word_before": _neighbour(False),
    "first_word": _end("word", "first"),
    "last_word": _end("word", "last"),
    "first_letter": _end("letter", "first"),
    "last_letter": _end("letter", "last"),
}

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "sentence": ("word",),
    "letter": ("letter",),
    "choice": ("answer", "distractor"),
    "sound": ("answer", "distractor", "query"),
    "association": ("answer", "distractors", "category"),
    "category": ("category", "num_words", "num_distractors"),
    "neighbour": ("sentence", "query", "answer"),
    "word end": ("sentence", "answer"),
    "letter end": ("word", "answer"),
}
_KINDS: Mapping[str, str] = {
    "sentence_containing": "sentence",
    "sentence_not_containing": "sentence",
    "starts_with_word": "sentence",
    "ends_with_word": "sentence",
    "word_containing": "letter",
    "word_not_containing": "letter",
    "starts_with_letter": "letter",
    "ends_with_letter": "letter",
    "most_associated_word": "association",
    "least_associated_word": "association",
    "any_words_from_category": "category",
    "all_words_from_category": "category",
    "rhyming_word": "sound",
    "homophones": "sound",
    "word_after": "neighbour",
    "word_before": "neighbour",
    "first_word": "word end",
    "last_word": "word end",
    "first_letter": "letter end",
    "last_letter": "letter end",
}


def missing_arguments(task: str, data: Data) -> list[str]:
    """The arguments that the task's scorer reads and ``data`` lacks.

    >>> missing_arguments("last_letter", {"word": "oak"})
    ['answer']
    """
    return [name for name in _NEEDS[_KINDS.get(core_of(task), "choice")] if name not in data]
