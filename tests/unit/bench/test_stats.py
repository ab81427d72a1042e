"""Medians, percentiles, ratios and how numbers are written."""

import pytest

from tests.bench.stats import Spread, paired_ratios, percentile, significant, spread


def test_spread_is_median_and_range() -> None:
    assert spread([5, 1, 3]) == Spread(3, 1, 5)
    assert spread([4, 1]) == Spread(2.5, 1, 4)
    with pytest.raises(ValueError, match="no values"):
        spread([])


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 100), (99, 198), (99.5, 199), (99.6, 200), (100, 200), (0.1, 1)]
)
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(200, 0, -1)), percent) == expected


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_percentile_refuses_what_is_none(percent: float) -> None:
    with pytest.raises(ValueError, match="percent is"):
        percentile([1], percent)
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_ratios_pair_the_rounds_and_not_the_medians() -> None:
    assert paired_ratios({0: 1, 1: 4, 2: 30}, {0: 2, 1: 4, 2: 10}) == Spread(1, 0.5, 3)


def test_ratios_leave_out_rounds_that_one_side_lacks() -> None:
    assert paired_ratios({0: 1, 1: 4}, {1: 2, 2: 8}) == Spread(2, 2, 2)
    assert paired_ratios({0: 1}, {0: 0}) is None
    assert paired_ratios({}, {0: 1}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.05341, "0.0534"),
        (0.5, "0.500"),
        (9.996, "10.00"),
        (34.46, "34.5"),
        (105750, "106,000"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_are_written_with_three_significant_digits(value: float, expected: str) -> None:
    assert significant(value) == expected
