"""LMentry's tasks: their prompts, what they vary, and which belong together."""

from __future__ import annotations

from collections.abc import Mapping

TEMPLATES: Mapping[str, tuple[str, str, str]] = {
    "sentence_containing": (
        'Write a sentence with the word "{word}" in it:\n',
        'Use the word "{word}" in a sentence:\n',
        'Write one sentence that contains "{word}":\n',
    ),
    "sentence_not_containing": (
        'Write a sentence without the word "{word}" in it:\n',
        'Write a sentence that avoids the word "{word}":\n',
        'Write one sentence that does not contain "{word}":\n',
    ),
    "word_containing": (
        'Write a word with the letter "{letter}" in it:\n',
        'Name a word that uses the letter "{letter}":\n',
        'Write one word that contains "{letter}":\n',
    ),
    "word_not_containing": (
        'Write a word without the letter "{letter}" in it:\n',
        'Name a word that does not use the letter "{letter}":\n',
        'Write one word that does not contain "{letter}":\n',
    ),
    "most_associated_word": (
        'Q: Which of the words {options} is most closely associated with "{category}"?\nA:',
        'Q: Of {options}, which word is most related to "{category}"?\nA:',
        'Choose the word that is most associated with "{category}" from {options}:\n',
    ),
    "least_associated_word": (
        'Q: Which of the words {options} is least closely associated with "{category}"?\nA:',
        'Q: Of {options}, which word is least related to "{category}"?\nA:',
        'Choose the word that is least associated with "{category}" from {options}:\n',
    ),
    "any_words_from_category": (
        'Q: Do any of the words {options} name {category}? Answer "yes" or "no".\nA:',
        'Q: Is there at least one of {category} among {options}? Answer "yes" or "no".\nA:',
        'Q: Does the list {options} include any {category}? Answer "yes" or "no".\nA:',
    ),
    "all_words_from_category": (
        'Q: Do all of the words {options} name {category}? Answer "yes" or "no".\nA:',
        'Q: Are {options} all kinds of {category}? Answer "yes" or "no".\nA:',
        'Q: Does the list {options} consist of {category} only? Answer "yes" or "no".\nA:',
    ),
    "first_alphabetically": (
        'Q: Which word comes first in alphabetical order, "{word1}" or "{word2}"?\nA:',
        'Q: Which of the words "{word1}" and "{word2}" stands first in a dictionary?\nA:',
        'Q: Sorted by alphabet, which comes first, "{word1}" or "{word2}"?\nA:',
    ),
    "more_letters": (
        'Q: Which of the words "{word1}" and "{word2}" has more letters?\nA:',
        'Q: Which is the longer word, "{word1}" or "{word2}"?\nA:',
        'Q: Between "{word1}" and "{word2}", which word has more letters?\nA:',
    ),
    "less_letters": (
        'Q: Which of the words "{word1}" and "{word2}" has fewer letters?\nA:',
        'Q: Which is the shorter word, "{word1}" or "{word2}"?\nA:',
        'Q: Between "{word1}" and "{word2}", which word has fewer letters?\nA:',
    ),
    "bigger_number": (
        "Q: Which is the bigger number, {n1} or {n2}?\nA:",
        "Q: Of {n1} and {n2}, which number is bigger?\nA:",
        "Write the bigger one of the numbers {n1} and {n2}:\n",
    ),
    "smaller_number": (
        "Q: Which is the smaller number, {n1} or {n2}?\nA:",
        "Q: Of {n1} and {n2}, which number is smaller?\nA:",
        "Write the smaller one of the numbers {n1} and {n2}:\n",
    ),
    "rhyming_word": (
        'Q: Which word rhymes with "{query}": "{word1}" or "{word2}"?\nA:',
        'Q: Does "{word1}" or "{word2}" rhyme with "{query}"?\nA:',
        'Q: Which one of "{word1}" and "{word2}" is a rhyme for "{query}"?\nA:',
    ),
    "homophones": (
        'Q: Which word sounds the same as "{query}": "{word1}" or "{word2}"?\nA:',
        'Q: Does "{word1}" or "{word2}" sound like "{query}"?\nA:',
        'Q: Which one of "{word1}" and "{word2}" is a homophone of "{query}"?\nA:',
    ),
    "word_after": (
        'Q: Which word comes directly after "{query}" in the sentence "{sentence}"?\nA:',
        'Q: In "{sentence}", which word follows the word "{query}"?\nA:',
        'Write the word that comes right after "{query}" in the sentence "{sentence}":\n',
    ),
    "word_before": (
        'Q: Which word comes directly before "{query}" in the sentence "{sentence}"?\nA:',
        'Q: In "{sentence}", which word precedes the word "{query}"?\nA:',
        'Write the word that comes right before "{query}" in the sentence "{sentence}":\n',
    ),
    "starts_with_word": (
        'Write a sentence that begins with the word "{word}":\n',
        'Write a sentence in which "{word}" is the first word:\n',
        'Begin a sentence with the word "{word}":\n',
    ),
    "ends_with_word": (
        'Write a sentence that finishes with the word "{word}":\n',
        'Write a sentence in which "{word}" is the last word:\n',
        'End a sentence with the word "{word}":\n',
    ),
    "starts_with_letter": (
        'Write a word that begins with the letter "{letter}":\n',
        'Name a word that has "{letter}" as its first letter:\n',
        'Write one word beginning with "{letter}":\n',
    ),
    "ends_with_letter": (
        'Write a word that finishes with the letter "{letter}":\n',
        'Name a word that has "{letter}" as its last letter:\n',
        'Write one word finishing with "{letter}":\n',
    ),
    "first_word": (
        'Q: Which is the first word of the sentence "{sentence}"?\nA:',
        'Q: What word does the sentence "{sentence}" begin with?\nA:',
        'Write only the first word of "{sentence}":\n',
    ),
    "last_word": (
        'Q: Which is the last word of the sentence "{sentence}"?\nA:',
        'Q: What word does the sentence "{sentence}" end with?\nA:',
        'Write only the last word of "{sentence}":\n',
    ),
    "first_letter": (
        'Q: Which is the first letter of "{word}"?\nA:',
        'Q: What letter does the word "{word}" begin with?\nA:',
        'Write only the first letter of the word "{word}":\n',
    ),
    "last_letter": (
        'Q: Which is the last letter of "{word}"?\nA:',
        'Q: What letter does the word "{word}" end with?\nA:',
        'Write only the last letter of the word "{word}":\n',
    ),
}
"""Three prompts for each of the 25 tasks."""

TASKS = tuple(TEMPLATES)

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "first_alphabetically": (
        "far_first_letter",
        "different_first_letter",
        "consecutive_first_letter",
        "same_first_letter",
    ),
    "all_words_from_category": ("0_distractors", "1_distractors", "2_distractors"),
    "any_words_from_category": ("5_distractors", "4_distractors", "3_distractors"),
    "rhyming_word": ("orthographically_similar", "orthographically_different"),
    "more_letters": ("length_diff_3plus", "length_diff_1"),
    "less_letters": ("length_diff_3plus", "length_diff_1"),
}
"""Arguments that make a task easier or harder, for the robustness to argument content."""

ORDERED = (
    "more_letters",
    "less_letters",
    "first_alphabetically",
    "rhyming_word",
    "homophones",
    "bigger_number",
    "smaller_number",
)
"""Tasks with two arguments to choose from, for the robustness to their order."""

ADJACENT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "definition": (
        ("bigger_number", "smaller_number"),
        ("more_letters", "less_letters"),
        ("word_after", "word_before"),
        ("most_associated_word", "least_associated_word"),
        ("any_words_from_category", "all_words_from_category"),
    ),
    "negation": (
        ("sentence_containing", "sentence_not_containing"),
        ("word_containing", "word_not_containing"),
    ),
    "characters": (
        ("starts_with_word", "starts_with_letter"),
        ("ends_with_word", "ends_with_letter"),
        ("sentence_containing", "word_containing"),
        ("sentence_not_containing", "word_not_containing"),
        ("first_word", "first_letter"),
        ("last_word", "last_letter"),
    ),
    "first and last": (
        ("starts_with_word", "ends_with_word"),
        ("starts_with_letter", "ends_with_letter"),
        ("first_word", "last_word"),
        ("first_letter", "last_letter"),
    ),
}
"""Pairs of tasks that whoever can do the one can do the other, by what they differ in."""


def core_of(name: str) -> str:
    """The task that a variant belongs to; a task is its own.

    >>> core_of("more_letters_length_diff_1"), core_of("first_word")
    ('more_letters', 'first_word')
    """
    return next((task for task, variants in VARIANTS.items() for v in variants if name == f"{task}_{v}"), name)


def all_names() -> tuple[str, ...]:
    """The 25 tasks, then the 16 variants."""
    return (*TASKS, *(f"{task}_{variant}" for task, variants in VARIANTS.items() for variant in variants))
