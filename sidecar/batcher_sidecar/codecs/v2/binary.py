"""Tensor data in binary form: blobs behind the JSON, in the order of their tensors.

Elements of fixed size lie one behind the other in little-endian order; each element of a ``BYTES``
tensor is its length, four bytes of little-endian order, and then as many bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX_BYTES: Final = 4
_unpack_length = struct.Struct("<I").unpack_from


class Rope:
    """Bytes that lie in several pieces, addressed as if they were one; never copied here."""

    __slots__ = ("_pieces", "_starts", "size_bytes")

    def __init__(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        ends = [0, *accumulate([len(piece) for piece in self._pieces])]
        self.size_bytes = ends.pop()
        self._starts = ends

    def cut(self, start: int, stop: int) -> list[memoryview]:
        """Return the bytes from ``start`` to ``stop``, which must be there."""
        views: list[memoryview] = []
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            offset = start - self._starts[index]
            view = memoryview(self._pieces[index])[offset : offset + stop - start]
            views.append(view)
            start += len(view)
            index += 1
        return views

    def string_ends(self, start: int, stop: int, counts: Sequence[int]) -> list[int] | None:
        """Return where each count of ``BYTES`` elements ends; None unless the last is ``stop``."""
        ends: list[int] = []
        piece: bytes | bytearray | memoryview = b""
        base = base_end = 0
        for count in counts:
            for _ in range(count):
                body = start + _PREFIX_BYTES
                if body > stop:
                    return None
                if not (base <= start and body <= base_end):
                    index = bisect_right(self._starts, start) - 1
                    piece, base = self._pieces[index], self._starts[index]
                    base_end = base + len(piece)
                if body <= base_end:
                    start = body + _unpack_length(piece, start - base)[0]
                else:
                    start = body + _unpack_length(b"".join(self.cut(start, body)))[0]
            ends.append(start)
        return ends if start == stop else None


class StrideRows:
    """The rows of a blob with elements of fixed size, to be taken out as ranges."""

    __slots__ = ("_rope", "_row_bytes")

    def __init__(self, blob: Sequence[memoryview], row_bytes: int) -> None:
        self._rope = Rope(blob)
        self._row_bytes = row_bytes

    def cut(self, start: int, stop: int) -> list[memoryview]:
        """Return the rows from ``start`` to ``stop``."""
        return self._rope.cut(start * self._row_bytes, stop * self._row_bytes)


class StringRows:
    """The rows of a ``BYTES`` blob, to be taken out as ranges; it is walked once."""

    __slots__ = ("_ends", "_rope")

    def __init__(self, blob: Sequence[memoryview], rows: int, per_row: int) -> None:
        """The blob must hold ``rows`` times ``per_row`` elements."""
        self._rope = Rope(blob)
        ends = self._rope.string_ends(0, self._rope.size_bytes, [per_row] * rows)
        self._ends = [0, *(ends or ())]

    def cut(self, start: int, stop: int) -> list[memoryview]:
        """Return the rows from ``start`` to ``stop``."""
        return self._rope.cut(self._ends[start], self._ends[stop])
