import math
import xml.etree.ElementTree as ET

from reporting.example_pages import calibration
from steelyard.contracts import Interval
from steelyard.reporting.calibration_views import calibration_view
from steelyard.reporting.interval_plots import DotPlot, DotRow, dot_plots, percent, points, shortened

PLOT = DotPlot("k", "title", "Accuracy", (0.0, 1.0), 0.5, "all 50%", percent)


def drawings(plot: DotPlot, values: list[DotRow]) -> tuple[str, str]:
    found = dot_plots(plot, values)
    assert found is not None
    return found.wide, found.narrow


def rows(*values: float) -> list[DotRow]:
    return [DotRow(f"row {i}", Interval(v, v - 0.1, v + 0.1, 30), f"text {i}") for i, v in enumerate(values)]


def dots(svg: ET.Element) -> list[ET.Element]:
    return [e for e in svg.iter("circle") if e.get("class") == "dot"]


def test_rows_stand_in_order_and_values_on_one_scale() -> None:
    drawn = drawings(PLOT, rows(0.2, 0.8, 0.5))
    for svg in map(ET.fromstring, drawn):
        assert [float(d.get("cy", 0)) for d in dots(svg)] == sorted(float(d.get("cy", 0)) for d in dots(svg))
        low, high, middle = (float(d.get("cx", 0)) for d in dots(svg))
        assert low < middle < high
        assert abs(middle - (low + high) / 2) < 0.2
        line = next(e for e in svg.iter("line") if e.get("class") == "against")
        assert abs(float(line.get("x1", 0)) - middle) < 0.2
        assert "all 50%" in [e.text for e in svg.iter("text")]


def test_one_row_is_no_plot() -> None:
    assert dot_plots(PLOT, rows(0.2)) is None


def test_many_rows_are_folded_away() -> None:
    for count, folded in ((40, False), (41, True)):
        found = dot_plots(PLOT, rows(*([0.5] * count)))
        assert found is not None
        assert found.folded == folded


def test_the_two_sizes_have_identifiers_of_their_own() -> None:
    drawn = drawings(PLOT, rows(0.2, 0.4))
    known = [e.get("id") for svg in drawn for e in ET.fromstring(svg).iter() if e.get("id")]
    assert len(known) == len(set(known)) == 4


def test_unknown_ends_and_hostile_names_can_be_drawn() -> None:
    bad = '"><script>alert(1)</script>'
    drawn = drawings(PLOT, [DotRow(bad, Interval(0.5, -math.inf, math.inf, 1), bad), *rows(0.2)])
    for svg in drawn:
        assert "<script" not in svg
        assert "inf" not in svg
        assert any(bad in (e.text or "") for e in ET.fromstring(svg).iter("title"))


def test_long_names_are_cut_and_kept_whole_in_the_tooltip() -> None:
    name = "a very long name of a group " * 5
    svg = ET.fromstring(drawings(PLOT, [DotRow(name, Interval(0.5, 0.4, 0.6, 9), "t"), *rows(0.2)])[0])
    shown = next(e.text or "" for e in svg.iter("text") if (e.text or "").endswith("…"))
    assert len(shown) < len(name)
    assert any((e.text or "").startswith(name) for e in svg.iter("title"))
    assert shortened("short", 100) == "short"


def test_ticks_of_shares_and_differences() -> None:
    assert (percent(0.25), points(-0.05), points(0.1), points(0.0)) == ("25%", "−5", "+10", "0")


def test_a_reliability_diagram_puts_accuracy_over_confidence() -> None:
    record = calibration(400)
    view = calibration_view(record)
    assert view is not None
    svg = ET.fromstring(view.diagram)
    assert len(dots(svg)) == len(view.bins) == len(record["bins"])
    places = [(float(d.get("cx", 0)), float(d.get("cy", 0))) for d in dots(svg)]
    expected = [(b["confidence"], b["accuracy"]["value"]) for b in record["bins"]]
    for (x, y), (confidence, accuracy) in zip(places, expected, strict=True):
        assert abs(x - (58 + confidence * (408 - 58))) < 0.1
        assert abs(y - (324 - accuracy * (324 - 12))) < 0.1
    assert sum(int(b.cells[3]) for b in view.bins) == 400
    assert calibration_view(None) is None
    assert calibration_view({"bins": [], "ece": record["ece"]}) is None
