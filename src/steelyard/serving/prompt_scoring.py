"""Log-probabilities of a prompt's own tokens, each given the tokens before it and nothing else.

The contract scores a text after nothing as ``Continuation("", text)``: after the model's beginning-of-sequence
token. Where a tokenizer puts that token in front of every text, this is what the model reads in a prompt, too.
Where it does not, the token would be one too many, and the numbers would differ from those of
lm-evaluation-harness and of ``score`` with a context; the text is then scored after its own first token. Where
that token is white space or a part of a character the contract cannot say so, and such a text is scored after
the beginning-of-sequence token after all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from steelyard.contracts import Continuation, LanguageModel, Score

_FIRST_WORD = re.compile(r"\s*\S{1,64}")


class PromptScorer:
    """Scores prompts for one model; what it learns of the model's tokenizer it keeps."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def score(self, prompts: Sequence[str], top: int) -> list[Score]:
        """One score per prompt, in order, over all of its tokens; the first one's value means nothing."""
        scores: dict[int, Score] = {}
        if self._adds_no_beginning:
            splits = self._first_tokens(prompts)
            places = [place for place, length in enumerate(splits) if length]
            found = self.model.score(
                [Continuation(prompts[i][: splits[i]], prompts[i][splits[i] :]) for i in places], top=top
            )
            # More than one context token: what was cut off is not the first token of the whole.
            scores = {i: score for i, score in zip(places, found, strict=True) if score.context_tokens == 1}
        rest = [place for place in range(len(prompts)) if place not in scores]
        if rest:
            found = self.model.score([Continuation("", prompts[place]) for place in rest], top=top)
            scores |= dict(zip(rest, found, strict=True))
        return [_whole(prompt, scores[place]) for place, prompt in enumerate(prompts)]

    @cached_property
    def _adds_no_beginning(self) -> bool:
        """Whether the tokenizer leaves texts as they are: a letter is then one token."""
        return self.model.score([Continuation("a", " b")])[0].context_tokens == 1

    def _first_tokens(self, prompts: Sequence[str]) -> list[int]:
        """How many characters the first token of each prompt has; 0 where no text follows it."""
        heads = [match[0] if (match := _FIRST_WORD.match(prompt)) else prompt for prompt in prompts]
        pieces = [score.tokens for score in self.model.score([Continuation("", head) for head in heads])]
        lengths = [len(tokens[0]) if tokens and tokens[0].strip() else 0 for tokens in pieces]
        return [length if length < len(prompt) else 0 for length, prompt in zip(lengths, prompts, strict=True)]


def _whole(prompt: str, score: Score) -> Score:
    """The score with the token in front that it was taken after, which ends where the scored ones begin."""
    scored = "".join(score.tokens)
    if not prompt.endswith(scored) or len(scored) == len(prompt):
        return score
    return replace(
        score,
        tokens=(prompt[: len(prompt) - len(scored)], *score.tokens),
        token_logprobs=(0.0, *score.token_logprobs),
        top=({}, *score.top) if score.top else (),
    )
