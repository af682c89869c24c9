from hypothesis import given
from hypothesis import strategies as st

from steelyard.reporting.scales import (
    Anchor,
    Box,
    Scale,
    linear_ticks,
    log_ticks,
    place_labels,
    scale_for,
)

positive = st.floats(1e-6, 1e9)


@given(positive, st.floats(1.01, 1e6), st.integers(2, 9))
def test_ticks_lie_inside_and_are_few(low: float, factor: float, count: int) -> None:
    high = low * factor
    for ticks in (linear_ticks(low, high, count), log_ticks(low, high, count)):
        assert 1 <= len(ticks) <= count
        assert ticks == sorted(set(ticks))
        assert all(low * (1 - 1e-6) <= t <= high * (1 + 1e-6) for t in ticks)


def test_ticks_are_round() -> None:
    assert linear_ticks(0.13, 0.92, 5) == [0.2, 0.4, 0.6, 0.8]
    assert log_ticks(8, 300) == [10, 20, 50, 100, 200]
    assert log_ticks(23, 170) == [30, 50, 70, 100, 150]


@given(st.lists(positive, min_size=1, max_size=20))
def test_scales_keep_order_and_stay_inside(values: list[float]) -> None:
    scale = scale_for(values, (10.0, 400.0), positive=True)
    pixels = [scale(v) for v in sorted(values)]
    assert pixels == sorted(pixels)
    assert all(10 <= p <= 400 for p in pixels)


def test_a_wide_positive_range_is_logarithmic() -> None:
    assert scale_for([1, 10], (0, 1), positive=True).log
    assert not scale_for([1, 2], (0, 1), positive=True).log
    assert not scale_for([0, 10], (0, 1), positive=True).log
    assert not scale_for([1, 10], (0, 1)).log


def test_values_outside_the_domain_land_on_the_edge() -> None:
    scale = Scale((0.0, 1.0), (100.0, 0.0))
    assert (scale(float("-inf")), scale(0.25), scale(7)) == (100, 75, 0)


anchors = st.builds(
    Anchor,
    st.floats(0, 900),
    st.floats(0, 400),
    st.floats(3, 15),
    st.floats(20, 200),
    st.just(16.0),
    st.booleans(),
)


@given(st.lists(anchors, max_size=12))
def test_labels_overlap_nothing(wanted: list[Anchor]) -> None:
    bounds = Box(0, 0, 900, 400)
    dots = [Box(a.x - a.radius, a.y - a.radius, a.x + a.radius, a.y + a.radius) for a in wanted]
    placed = place_labels(wanted, dots, bounds)
    boxes = [b for b in placed if b is not None]
    assert len(placed) == len(wanted)
    assert all(b.inside(bounds) for b in boxes)
    assert not any(a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for anchor, box in zip(wanted, placed, strict=True):
        if box is not None and not anchor.must:
            assert not any(box.overlap(dot) for dot in dots)


def test_a_label_alone_sits_to_the_right_and_soft_obstacles_push_it_away() -> None:
    bounds, anchor = Box(0, 0, 400, 400), Anchor(200, 200, 8, 60, 16)
    (alone,) = place_labels([anchor], [], bounds)
    assert alone is not None
    assert alone.left > 208
    assert alone.top < 200 < alone.bottom
    (moved,) = place_labels([anchor], [], bounds, soft=[Box(209, 150, 300, 250)])
    assert moved is not None
    assert not moved.overlap(Box(209, 150, 300, 250))
    (kept,) = place_labels([anchor], [], bounds, soft=[bounds])
    assert kept is not None
    assert place_labels([anchor], [bounds], bounds) == [None]
    assert place_labels([anchor._replace(must=True)], [bounds], bounds) != [None]
