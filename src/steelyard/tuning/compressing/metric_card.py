"""The metric card of a compression: size, bits, operations, speed and loss, the same for every method."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from steelyard.compression.sizes import Sizes
from steelyard.contracts import Interval
from steelyard.evaluation.measurement import Table
from steelyard.evaluation.statistics import interval_record
from steelyard.tuning.compressing.quality import Paired, Quality
from steelyard.tuning.compressing.speed import Speed

COLUMNS = ("metric", "original", "compressed", "change")
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class MetricCard:
    """What a compression changed.

    ``before`` and ``after`` are counted from the models; counting the saved folder gives ``after`` again.
    ``speed`` and ``quality`` are None where nothing was measured. A model set against itself has ratio 1.

    Source:
        The metrics of "A Survey on Model Compression for Large Language Models", section 2.2.
    """

    before: Sizes
    after: Sizes
    speed: Speed | None = None
    quality: Quality | None = None

    @property
    def compression_ratio(self) -> float:
        """Stored bytes before / after: above 1 is smaller."""
        return self.before.stored_bytes / self.after.stored_bytes

    @property
    def memory_ratio(self) -> float:
        """Bytes in memory after / before: below 1 is smaller."""
        return self.after.memory_bytes / self.before.memory_bytes

    @property
    def parameter_ratio(self) -> float:
        """Parameters after / before."""
        return self.after.parameters / self.before.parameters

    def to_record(self) -> dict[str, Any]:
        """The JSON form, written as ``metric_card.json`` into the saved folder."""
        quality = self.quality
        measured = {} if quality is None else {name: paired_record(p) for name, p in losses(quality).items()}
        return {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "compression_ratio": self.compression_ratio,
            "memory_ratio": self.memory_ratio,
            "parameter_ratio": self.parameter_ratio,
            "speed": None if self.speed is None else self.speed.to_record(),
            "quality": measured or None,
        }

    def table(self) -> Table:
        """The card in words, a row a metric."""
        rows = [*self._size_rows(), *self._speed_rows(), *self._quality_rows()]
        note = (
            "Intervals at 95%; quality is paired, both models on the same samples. Bits a weight are those of"
            " everything stored; operations leave attention over the context out."
        )
        return Table("Metric card", COLUMNS, tuple(rows), note)

    def _size_rows(self) -> list[tuple[str, ...]]:
        one, two = self.before, self.after
        return [
            ("parameters", f"{one.parameters:,}", f"{two.parameters:,}", _times(self.parameter_ratio)),
            ("not zero", f"{one.nonzero:,}", f"{two.nonzero:,}", f"{two.sparsity:.1%} are zero"),
            (
                "weights on disk",
                megabytes(one.stored_bytes),
                megabytes(two.stored_bytes),
                f"compression ratio {self.compression_ratio:.2f}",
            ),
            ("memory", megabytes(one.memory_bytes), megabytes(two.memory_bytes), _times(self.memory_ratio)),
            ("bits a weight", f"{one.bits_per_weight:.2f}", f"{two.bits_per_weight:.2f}", ""),
            (
                "operations a token",
                _giga(one.flops_per_token),
                _giga(two.flops_per_token),
                _times(two.flops_per_token / one.flops_per_token) if one.flops_per_token else "",
            ),
        ]

    def _speed_rows(self) -> list[tuple[str, ...]]:
        if self.speed is None:
            return [("speed", "", "", NOT_MEASURED)]
        rows: list[tuple[str, ...]] = []
        for name, timing in (("reading", self.speed.reading), ("writing a token", self.speed.writing)):
            if timing is None:
                continue
            ratio = timing.ratio
            bounds = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio["low"] is not None else ""
            change = f"{ratio['value']:.2f}{bounds} times the seconds"
            rows.append((name, "", f"{timing.p50 * 1000:.1f} ms (median of {timing.n})", change))
        return rows

    def _quality_rows(self) -> list[tuple[str, ...]]:
        if self.quality is None:
            return [("quality", "", "", NOT_MEASURED)]
        return [
            (name, _value(p.before, name), _value(p.after, name), loss_text(name, p))
            for name, p in losses(self.quality).items()
        ]


def losses(quality: Quality) -> dict[str, Paired]:
    """The measures of quality by name."""
    found = {"bits per byte": quality.bits_per_byte, "perplexity": quality.perplexity}
    return found if quality.accuracy is None else {**found, "quick-suite accuracy": quality.accuracy}


def paired_record(paired: Paired) -> dict[str, Any]:
    """The JSON form of a paired measure."""
    sides = ("before", "after", "difference", "loss")
    return {
        **{side: interval_record(getattr(paired, side)) for side in sides},
        "p_value": paired.p_value,
        "test": paired.test,
    }


def loss_text(name: str, paired: Paired) -> str:
    """A change in words: ``"+3.1% [+2.5%, +3.8%], p = 0.0001"``, or in points for accuracy."""
    if name.endswith("accuracy"):
        value, low, high, _ = (100 * end for end in paired.difference)
        change = f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"
    else:
        value, low, high, _ = (100 * end for end in paired.loss)
        change = f"{value:+.1f}% [{low:+.1f}, {high:+.1f}]"
    return f"{change}, p = {paired.p_value:.2g}, n = {paired.loss.n}"


def megabytes(size: int) -> str:
    """A size in decimal megabytes."""
    return f"{size / 1e6:,.1f} MB"


def _value(interval: Interval, name: str) -> str:
    return f"{interval.value:.1%}" if name.endswith("accuracy") else f"{interval.value:.4g}"


def _giga(count: float) -> str:
    return f"{count / 1e9:.3g} G" if count >= 1e7 else f"{count:,.0f}"


def _times(ratio: float) -> str:
    return f"{ratio:.3f}x"
