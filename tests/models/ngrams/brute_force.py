"""The definition of the generalized model, word by word over lists: slow, without patterns, tables or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

GAP = None


class BruteForce:
    """P(w | h) by counting matches in the corpus; h is a tuple of words in which GAP stands for a skipped one."""

    def __init__(self, lines: Sequence[Sequence[str]], order: int, skips: bool, fallback: bool) -> None:
        self.lines = [("<s>", *line, "</s>") for line in lines]
        self.words = sorted({w for line in lines for w in line} | {"<unk>", "</s>"})
        self.order, self.skips, self.fallback = order, skips, fallback
        self.discounts = cache(self._discounts)
        self.counts = cache(self._counts)

    def occurrences(self, length: int) -> list[tuple[str, ...]]:
        return [line[i : i + length] for line in self.lines for i in range(len(line) - length + 1)]

    def _counts(self, shape: tuple[bool, ...]) -> dict[tuple[str | None, ...], int]:
        """Counts of all n-grams of a shape, such as (True, False, True) for a trigram with a gap."""

        def cut(ngram: tuple[str, ...]) -> tuple[str | None, ...]:
            return tuple(w if used else GAP for w, used in zip(ngram, shape, strict=True))

        grams = [g for g in self.occurrences(len(shape)) if g[-1] != "<s>"]
        result = {cut(g): 0 for g in grams}
        if all(shape) and len(shape) == self.order:
            for g in grams:
                result[cut(g)] += 1
        elif all(shape):
            for g in set(self.occurrences(len(shape) + 1)):
                if g[-1] != "<s>":
                    result[cut(g[1:])] += 1
            for g in grams:
                if g[0] == "<s>":
                    result[cut(g)] += 1
        else:
            for g in set(grams):
                result[cut(g)] += 1
        return result

    def _discounts(self, shape: tuple[bool, ...]) -> tuple[float, float, float]:
        n1, n2, n3, n4 = (sum(c == k for c in self.counts(shape).values()) for k in (1, 2, 3, 4))
        if n1 and n2 and n3 and n4:
            y = n1 / (n1 + 2 * n2)
            found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            if all(0 <= d <= k for k, d in enumerate(found, 1)):
                return found
        assert self.fallback
        return (0.5, 1.0, 1.5)

    def probability(self, word: str, history: tuple[str | None, ...]) -> float:
        shape = (*(h is not GAP for h in history), True)
        counts = {g[-1]: c for g, c in self.counts(shape).items() if g[:-1] == history}
        lower = self.lower(word, history)
        total = sum(counts.values())
        if not total:
            return lower
        d = self.discounts(shape)
        left = sum(d[min(c, 3) - 1] for c in counts.values() if c)
        mine = counts.get(word, 0)
        own = (mine - d[min(mine, 3) - 1]) / total if mine else 0.0
        return own + left / total * lower

    def lower(self, word: str, history: tuple[str | None, ...]) -> float:
        if not history:
            return 1 / len(self.words)
        used = [i for i, h in enumerate(history) if h is not GAP]
        values = []
        for i in used if self.skips else used[:1]:
            shorter = [*history[:i], GAP, *history[i + 1 :]]
            while shorter and shorter[0] is GAP:
                shorter.pop(0)
            values.append(self.probability(word, tuple(shorter)))
        return sum(values) / len(values)
