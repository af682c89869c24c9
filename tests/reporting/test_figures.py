import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from steelyard.contracts import Interval
from steelyard.reporting import figures
from steelyard.reporting.figures import Axis, Plot, Point
from steelyard.reporting.formatting import SECONDS

PLOT = Plot("p", 920, 440, Axis("Latency", SECONDS), Axis("Accuracy"), (0, 1), True, True, "title", "description")


def point(index: int, cost: float, quality: float, status: str = "kept", memory: float = 1e8) -> Point:
    return Point(
        anchor=f"system-{index}",
        index=index,
        label=f"label {index}",
        name=f"name {index}",
        x=Interval(cost, cost, cost, 0),
        quality=Interval(quality, quality - 0.1, quality + 0.1, 50),
        memory=memory,
        status=status,
        lines=("fact",),
    )


def test_the_front_leaves_out_what_is_beaten_on_this_axis() -> None:
    points = [point(0, 1, 0.5), point(1, 2, 0.7), point(2, 3, 0.6), point(3, 4, 0.9)]
    assert [p.index for p in figures.pareto_front(points, (0, 1, 2, 3), True)] == [0, 1, 3]
    assert [p.index for p in figures.pareto_front(points, (0, 1, 2), True)] == [0, 1]
    assert [p.index for p in figures.pareto_front(points, (0, 1, 2, 3), False)] == [0]


def test_the_plot_is_well_formed_and_every_point_is_a_link() -> None:
    points = [point(0, 0.01, 0.5, "winner"), point(1, 0.2, 0.7, "frontier"), point(2, 0.1, 0.3, "dropped")]
    svg = ET.fromstring(figures.frontier_plot(PLOT, points))
    links = [e for e in svg.iter("a")]
    assert {e.get("href") for e in links} == {"#system-0", "#system-1", "#system-2"}
    assert all(e.get("aria-label", "").startswith("name ") for e in links)
    assert svg.findtext("title") == "title"
    assert svg.findtext("desc") == "description"
    texts = [e.text for e in svg.iter("text")]
    assert "label 0" in texts
    assert "Latency, log scale" in texts
    assert "50%" in texts
    assert "label 2" not in texts  # only the winner and the frontier are labelled


def test_larger_memory_makes_a_larger_point() -> None:
    points = [point(0, 1, 0.5, memory=1e8), point(1, 2, 0.5, memory=4e8)]
    svg = ET.fromstring(figures.frontier_plot(PLOT, points))
    radii = {
        e.get("data-index"): float(c.get("r", 0)) for e in svg.iter("a") for c in e if c.get("class") == "dot"
    }
    assert radii["1"] > radii["0"]


def test_texts_in_a_drawing_are_escaped() -> None:
    bad = '"><script>alert(1)</script>'
    drawn = figures.frontier_plot(
        replace(PLOT, title=bad), [replace(point(0, 1, 0.5, "winner"), label=bad, name=bad, lines=(bad,))]
    )
    assert "<script" not in drawn
    assert bad in [e.text for e in ET.fromstring(drawn).iter("text")]


def test_limits_and_targets_are_drawn_where_they_fit() -> None:
    points = [point(0, 0.1, 0.5), point(1, 0.2, 0.6)]
    near = replace(
        PLOT, x=Axis("Latency", SECONDS, 0.3, "limit 300 ms"), y=Axis("Accuracy", (), 0.55, "target 55%")
    )
    far = replace(PLOT, x=Axis("Latency", SECONDS, 30.0, "limit 30 s"))
    assert "limit 300 ms" in figures.frontier_plot(near, points)
    assert "target 55%" in figures.frontier_plot(near, points)
    assert "limit 30 s" not in figures.frontier_plot(far, points)


def test_unbounded_intervals_can_be_drawn() -> None:
    odd = replace(point(0, 0.1, 0.5), quality=Interval(0.5, float("-inf"), float("inf"), 1))
    drawn = figures.frontier_plot(PLOT, [odd, point(1, 0.2, 0.6)])
    assert not re.search(r"\b(inf|nan)\b", drawn)
