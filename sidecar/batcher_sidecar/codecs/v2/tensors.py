"""Tensor data as JSON: is it what its shape says, and where does each row end?

No number and no string is interpreted. Commas and brackets are counted where nothing but numbers
can stand between them; strings are told apart by the parser.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from batcher_sidecar.codecs.arrays import SPACE, array_form, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Form: TypeAlias = Literal["flat", "nested", "binary"]

MAX_DIMENSIONS: Final = 16
MAX_STRINGS: Final = 1 << 16
"""More strings than these in one request are not looked at one by one."""
BYTES: Final = "BYTES"
SIZES_BYTES: Final = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Of one element in binary form. ``BYTES`` has none: each element tells its own."""

_UNSIGNED: Final = frozenset([name for name in SIZES_BYTES if name.startswith("UINT")])
_INTEGERS: Final = _UNSIGNED | {name for name in SIZES_BYTES if name.startswith("INT")}
_BOOLS: Final = b"truefals01[]," + SPACE

_MAX_COMMAS: Final = 1 << 20
_LARGE_STRINGS_BYTES: Final = 1 << 20
"""Where more than this is strings, none is decoded to be told apart."""
_QUOTE: Final = ord('"')
_SPLIT_BELOW: Final = 16

_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode


def count_elements(shape: Sequence[int]) -> int:
    """Return how many elements a shape holds; 0 where it is not one that could be batched."""
    if not 0 < len(shape) <= MAX_DIMENSIONS or min(shape) < 1:
        return 0
    return math.prod(shape)


def form_of(data: bytes, shape: Sequence[int], elements: int, datatype: str) -> Form | None:
    """Return how a valid JSON array holds exactly the elements of its shape; None if it does not.

    ``flat`` or ``nested``, each level as long as its dimension; never something in between. Only
    numbers, where the datatype is one of integers without fraction and exponent, and where it is
    unsigned without sign; in a ``BOOL`` true, false, 0 and 1; in ``BYTES`` strings.
    """
    if datatype == BYTES:
        return _form_of_strings(data, shape, elements)
    if b'"' in data or b"{" in data:
        return None
    if datatype == "BOOL":
        # true and false, 0 and 1: of anything else servers make what they like, as of null.
        if data.translate(None, _BOOLS) or b"0e" in data or b"1e" in data:
            return None
    elif b"l" in data or b"u" in data:
        return None  # null, or true and false among numbers
    elif datatype in _INTEGERS and (b"." in data or b"e" in data or b"E" in data):
        return None  # no integer; some servers refuse it, and with it the whole call
    elif datatype in _UNSIGNED and b"-" in data:
        return None
    return array_form(data, shape, elements)


def _form_of_strings(data: bytes, shape: Sequence[int], elements: int) -> Form | None:
    if data.count(b",") > _MAX_COMMAS:
        return None
    # At least so many quotes are not part of a string: some of `\"` end one with a backslash.
    if data.count(b'"') - data.count(b'\\"') > 2 * elements:
        return None
    nested = len(shape) > 1 and data[1:].lstrip(SPACE)[:1] == b"["
    *outer, length = shape if nested else [elements]
    arrays: list[bytes | msgspec.Raw] = [data]
    try:
        # Level by level: no more arrays are looked at than the shape tells.
        for count in outer:
            inner: list[bytes | msgspec.Raw] = []
            for array in arrays:
                part = _decode_elements(array)
                if len(part) != count:
                    return None
                inner += part
            arrays = inner
        are_strings = _are_strings if len(data) > _LARGE_STRINGS_BYTES else _are_small_strings
        if not all(are_strings(array, length) for array in arrays):
            return None
    except msgspec.ValidationError:
        return None
    return "nested" if nested else "flat"


def _are_small_strings(array: bytes | msgspec.Raw, length: int) -> bool:
    return len(_decode_strings(array)) == length


def _are_strings(array: bytes | msgspec.Raw, length: int) -> bool:
    part = _decode_elements(array)
    return len(part) == length and all(memoryview(element)[0] == _QUOTE for element in part)


def cut_rows(data: bytes, counts: Sequence[int], per_row: int) -> list[bytes] | None:
    """Return what stands between the brackets for each count of rows, in order.

    ``per_row`` is how many elements a row holds in flat form. None where it is no array, or one
    that holds neither as many rows nor as many elements as that.
    """
    if data[:1] != b"[":
        return None
    total = sum(counts)
    inner = data[1:-1]
    if not per_row and not inner.strip(SPACE):
        return [b""] * len(counts)
    step = 1
    plain = per_row and b'"' not in inner and b"{" not in inner and b"[" not in inner
    if plain:
        if inner.count(b",") != total * per_row - 1 or not inner.strip(SPACE):
            return None
        if len(counts) == 1:
            return [inner]
        if per_row >= _SPLIT_BELOW:
            return _cut_plain(inner, counts, per_row)
        elements: Sequence[Any] = inner.split(b",")
        step = per_row
    else:
        elements = _decode_elements(data)
        if len(elements) == total * per_row and bytes(elements[0])[:1] != b"[":
            step = per_row
        elif len(elements) != total:
            return None
    ends = [0, *accumulate(counts)]
    return [b",".join(elements[step * start : step * stop]) for start, stop in pairwise(ends)]


def _cut_plain(inner: bytes, counts: Sequence[int], per_row: int) -> list[bytes]:
    """Cut numbers with commas between them; no object is made for each of them."""
    parts = []
    start = 0
    for count in counts:
        if not count:
            parts.append(b"")
            continue
        match = run_of(count * per_row).match(inner, start)
        stop = match.end() if match else len(inner)
        parts.append(inner[start:stop])
        start = stop + 1
    return parts


class ElementRows:
    """The rows of an array of anything, to be taken out as ranges; it is taken apart once."""

    __slots__ = ("_elements", "_per_row")

    def __init__(self, data: msgspec.Raw, per_row: int) -> None:
        """``per_row`` is how many of the array's elements a row is: 1 in nested form."""
        self._elements = _decode_elements(data)
        self._per_row = per_row

    def cut(self, start: int, stop: int) -> list[bytes]:
        """Return the rows from ``start`` to ``stop``, with commas between their elements."""
        return [b",".join(self._elements[start * self._per_row : stop * self._per_row])]
