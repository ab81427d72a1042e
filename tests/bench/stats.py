"""The little statistics the reports need; all pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value it stands for."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and range; ValueError without values."""
    if not values:
        raise ValueError("no values to summarise")
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that `percent` % of all do not exceed.

    ValueError without values, or with `percent` outside 0 < percent <= 100.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}, must be above 0 and at most 100")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def paired_ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread | None:
    """Median and range of ours/theirs, round by round; None if no round has both.

    Rounds pair measurements that were taken one after the other, so that what slows the machine
    for a while slows both. A round in which theirs is zero has no ratio.
    """
    ratios = [
        ours[number] / theirs[number]
        for number in sorted(ours.keys() & theirs.keys())
        if theirs[number]
    ]
    return spread(ratios) if ratios else None


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, thousands separated, never in exponents."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}"
