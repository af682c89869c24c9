"""Claims by which an output answers LMentry's questions: one function a kind of question."""

from __future__ import annotations

from steelyard.evaluation.benchmarks.lmentry.patterns import IS, NUMBER, number, shared

COMES = r"(?:comes|is|appears|goes|stands|would come|would be|would appear)(?: listed| placed)?"
BY_ALPHABET = r"(?: alphabetically| in (?:an |the )?alphabetical order| in (?:a|the) dictionary)?"
NOT = r"(?:does not|doesn't|do not|don't)"
NEXT = r"(?:(?:right|immediately|directly|just) )?"


def comes_first(answer: str, other: str) -> list[str]:
    """That one word stands before another in a dictionary."""
    return [
        rf"{answer} {COMES}{BY_ALPHABET} (?:the )?(?:first|earlier|before {other}|ahead of {other})",
        rf"{other} {COMES}{BY_ALPHABET} (?:the )?(?:second|later|last|after\b(?: {answer})?)",
        rf"(?:word that comes first|first word|first|one that comes first){BY_ALPHABET}{IS} {answer}",
        rf"{answer} precedes {other}",
        rf"{other} follows {answer}",
        rf"{answer} does\b(?! not)",
        *shared(answer),
    ]


def is_longer(longer: str, shorter: str, difference: str) -> list[str]:
    """That one word has more letters than another."""
    has = r"(?:has|contains|have)"

    def side(one: str, other: str, more: str, long: str) -> list[str]:
        return [
            rf"{one} {has} (?:the )?(?:{difference} )?(?:{more}) letters?(?: than {other})?",
            rf"{one} is (?:the )?(?:{long})(?: word| one| of the two)?(?: than {other})?"
            rf"(?: by {difference} letters?)?",
            rf"(?:{long}) (?:word|one|of the two){IS} {one}",
            rf"(?:word|one) (?:that|which|with)(?: has| is)?(?: the)? (?:{more}|{long})(?: letters)?{IS} {one}",
            rf"{one} is the (?:word|one) (?:that|which|with)(?: has| is)?(?: the)? (?:{more}|{long})",
        ]

    return [
        *side(longer, shorter, "more|most|a greater number of", "longer|longest"),
        *side(shorter, longer, "fewer|less|fewest|least", "shorter|shortest"),
    ]


def wrong_difference(longer: str, shorter: str, difference: int) -> list[str]:
    """That words differ by another number of letters than they do."""
    said = rf"(?!{number(difference)}){NUMBER}"
    if difference == 1:
        said = rf"(?!an? |a single |{number(1)}){NUMBER}"
    return [
        rf"{longer} (?:has|contains) {said} more letters?",
        rf"{shorter} (?:has|contains) {said} (?:fewer|less) letters?",
        rf"{longer} is longer(?: than {shorter})? by {said} letters?",
        rf"{shorter} is shorter(?: than {longer})? by {said} letters?",
    ]


def is_bigger(big: str, small: str) -> list[str]:
    """That one number is bigger than another."""

    def side(one: str, other: str, more: str) -> list[str]:
        return [
            rf"{one} is (?:the )?(?:{more})(?: number| one| of the two)?(?: than {other})?",
            rf"(?:{more})(?: number| one| of the two){IS} {one}",
            rf"(?:number|one) (?:that|which) is (?:the )?(?:{more}){IS} {one}",
        ]

    return [
        *side(big, small, "bigger|larger|greater|higher|biggest|largest|greatest|highest|more"),
        *side(small, big, "smaller|lower|lesser|less|smallest|lowest|least"),
        rf"{big} ?> ?{small}",
        rf"{small} ?< ?{big}",
    ]


def rhymes(answer: str, query: str, other: str) -> list[str]:
    """That a word, and not another, rhymes with the queried one."""
    return [
        rf"{query} (?:does )?rhymes?(?: perfectly| best)? with {answer}",
        rf"{answer} (?:does )?(?:rhymes?|is rhyming)(?:(?: perfectly| best)? with {query})?",
        rf"(?:{query} and {answer}|{answer} and {query})(?: both| do| are words that| are)? rhym(?:e|es|ing)\b",
        rf"{answer} is (?:a|the)(?: word that)? rhym(?:e|es|ing)",
        rf"{query} is a rhyme (?:of|for|with) {answer}",
        rf"(?:rhyme|rhymes|rhyming word|word rhyming|rhyming)(?: with| of| for)?(?: {query})?{IS} {answer}",
        rf"{other} {NOT} rhyme",
        rf"{query} {NOT} rhyme with {other}",
        rf"{answer} does\b(?! not)",
        *shared(answer),
    ]


def sounds_like(answer: str, query: str, other: str) -> list[str]:
    """That a word, and not another, sounds like the queried one."""
    like = r"(?:like|similar to|the same as|identical to|exactly like|just like)"
    return [
        rf"{answer} (?:does )?(?:sounds?|is pronounced)(?: more| most)? (?:{like}(?: {query})?|the same|alike)",
        rf"{query} (?:does )?(?:sounds?|is pronounced)(?: more| most)? {like} {answer}",
        rf"(?:{query} and {answer}|{answer} and {query})(?: both| do)? (?:sound (?:alike|the same|similar)"
        r"|are homophones|are pronounced (?:alike|the same))",
        rf"{answer} is (?:a|the) homophone",
        rf"{query} is a homophone of {answer}",
        rf"homophone(?: of| for)?(?: {query})?{IS} {answer}",
        rf"(?:word|one) that sounds(?: more| most)? {like} {query}{IS} {answer}",
        rf"{other} {NOT} sound",
        rf"{answer} does\b(?! not)",
        *shared(answer),
    ]


def associated(answer: str, category: str, most: bool) -> list[str]:
    """That a word is the one most, or least, associated with a category."""
    degree = "(?:most|more)" if most else "least"
    related = rf"{degree}(?: commonly| closely| likely)? (?:to be )?(?:associated|related|connected)"
    claims = [
        rf"{answer} (?:is|are) (?:the )?(?:word |one |option )?(?:that is )?{related}",
        rf"{related} (?:to|with) {category}(?: [^.\n]{{0,80}}?)?{IS} {answer}",
        rf"{category} (?:is|are) {related} (?:to|with) {answer}",
        rf"{answer} (?:relates|is related|are related) to {category} the {degree}",
        *shared(answer),
    ]
    if not most:
        claims += [
            rf"{answer} (?:is not|isn't|are not|aren't) (?:associated|related|connected|an? |part of|{category})",
            rf"{answer} (?:is|are) unrelated",
        ]
    return claims


def all_belong(category: str) -> tuple[list[str], list[str]]:
    """That all words name things of a category, and that not all do."""
    yes = [
        r"(?:they|these|those|the words)?\s?(?:are )?all (?:of (?:them|these|those|the words)(?: listed)? )?"
        rf"(?:are|represent|name|belong to)?\s?(?:types of |kinds of )?{category}",
        rf"(?:contains|consists of|includes|is) only {category}",
        r"(?:every|each)(?: one)?(?: of (?:them|these|the words)| word) (?:is|names|represents)",
    ]
    no = [
        r"not all\b",
        r"(?:is|are) not (?:an? |types? of |kinds? of )?",
        r"isn't|aren't",
        rf"(?:does not|doesn't) (?:contain|consist of) only {category}",
    ]
    return yes, no


def any_belongs(category: str) -> tuple[list[str], list[str]]:
    """That some word names a thing of a category, and that none does."""
    yes = [
        r"(?:at least one|some|one|several|two)(?: of (?:them|these|the words))? (?:is|are|names?|represents?)",
        rf"there (?:is|are) (?:at least )?(?:an?|one|some|two|several) {category}",
        rf"(?:list )?(?:contains|includes|has) (?:an?|one|some|two|at least one)?\s?{category}",
    ]
    no = [
        r"none\b",
        r"not any\b|no words?\b",
        rf"there (?:is|are) (?:no|not any) {category}",
        r"(?:does not|doesn't|do not|don't) (?:contain|include|name|represent)",
        rf"(?:contains|includes|has) no {category}",
    ]
    return yes, no


def first_or_last(kind: str, place: str, answer: str, holder: str) -> list[str]:
    """That a word or letter is the first or last of a sentence or word."""
    verb = "(?:starts|begins|opens)" if place == "first" else "(?:ends|finishes|closes)"
    names = "(?:first|starting|initial|beginning)" if place == "first" else "(?:last|final|ending|closing)"
    inside = rf"(?: (?:of|in) (?:{holder}|the (?:given )?(?:sentence|word)|this (?:sentence|word)|it)[\"':,]*)*"
    return [
        rf"{names} {kind}{inside}{IS} {answer}",
        rf"{answer} is the {names} {kind}",
        rf"(?:{holder}|it|the sentence|the word) {verb} with {answer}",
        rf"{kind} (?:that|which) (?:{holder}|it|the sentence|the word) {verb} with{IS} {answer}",
        rf"{holder}[:,]? ?(?:->|=|:) ?{answer}",
        *shared(answer),
    ]


def neighbour(after: bool, answer: str, query: str) -> list[str]:
    """That a word stands directly after, or before, another."""
    one, other = (answer, query) if after else (query, answer)  # other stands directly before one
    place = "(?:after|following)" if after else "(?:before|preceding)"
    inside = r"(?: in [^.\n]{0,120}?)?"
    stands = r"(?:comes|is|appears|stands|occurs)(?: the word(?: that comes)?)? "
    return [
        rf"{one} {stands}{NEXT}(?:after|following) {other}",
        rf"{other} {stands}{NEXT}(?:before|preceding) {one}",
        rf"{one} (?:immediately |directly )?(?:follows|succeeds) {other}",
        rf"{other} (?:immediately |directly )?precedes {one}",
        rf"{other} is (?:immediately |directly )?(?:followed|succeeded) by {one}",
        rf"{one} is (?:immediately |directly )?preceded by {other}",
        rf"word (?:that (?:comes|is|appears) )?{NEXT}{place} {query}{inside}{IS} {answer}",
        rf"word (?:that )?(?:immediately |directly )?"
        rf"(?:{'follows|succeeds|following' if after else 'precedes|preceding'}) {query}{inside}{IS} {answer}",
        *shared(answer),
    ]
