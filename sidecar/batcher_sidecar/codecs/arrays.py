"""Arrays of numbers as JSON: are they what a shape says, and where does each row end?

No number is interpreted. Commas and brackets are counted, and nothing but numbers (or true, false
and null) stands between them.
"""

from __future__ import annotations

import functools
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE: Final = b" \t\r\n"
# All that numbers, true, false and null are made of, and white space.
_LEAVES: Final = b"0123456789+-.eEtrufalsn" + SPACE


def array_form(
    data: bytes, shape: Sequence[int], elements: int
) -> Literal["flat", "nested"] | None:
    """Return how a valid JSON array without strings and objects holds the elements of a shape.

    ``flat`` or ``nested``, each level as long as its dimension; None for anything else.
    ``elements`` is the product of the dimensions, each at least 1.
    """
    if data.count(b",") != elements - 1:
        return None
    if data.rfind(b"[") == 0:
        return "flat" if elements > 1 or data[1:-1].strip(SPACE) else None
    if data.count(b"[") != 1 + sum(accumulate(shape[:-1], int.__mul__)):
        return None
    if data.translate(None, _LEAVES) != _skeleton(shape):
        return None
    if shape[-1] == 1 and b"[]" in data.translate(None, SPACE):
        return None
    return "nested"


def _skeleton(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of nested arrays; no more than are in the data."""
    skeleton = b"[" + b"," * (shape[-1] - 1) + b"]"
    for length in reversed(shape[:-1]):
        skeleton = b"[" + (skeleton + b",") * (length - 1) + skeleton + b"]"
    return skeleton


@functools.lru_cache(64)
def run_of(elements: int) -> re.Pattern[bytes]:
    """Return a pattern of so many numbers (at least 1) and the commas between them."""
    return re.compile(rb"(?:[^,]*+,){%d}+[^,]*+" % (elements - 1))


class NumberRows:
    """The rows of an array, all with as many numbers, to be taken out as ranges.

    Where ranges are asked for in order, every byte is looked at once: each begins where the last
    one ended. Nothing is kept for each row.
    """

    __slots__ = ("_inner", "_offset", "_per_row", "_row")

    def __init__(self, inner: memoryview, per_row: int) -> None:
        """``inner`` is what stands between the array's brackets; rows may be arrays themselves."""
        self._inner = inner
        self._per_row = per_row
        self._row = self._offset = 0

    def cut(self, start: int, stop: int) -> list[memoryview]:
        """Return the rows from ``start`` to ``stop`` (at least one), with commas between them."""
        if start < self._row:
            self._row = self._offset = 0
        begin = self._offset
        if start > self._row:
            begin = self._end_of(start - self._row, begin) + 1
        end = self._end_of(stop - start, begin)
        self._row, self._offset = stop, end + 1
        return [self._inner[begin:end]]

    def _end_of(self, rows: int, offset: int) -> int:
        match = run_of(rows * self._per_row).match(self._inner, offset)
        return match.end() if match else len(self._inner)
