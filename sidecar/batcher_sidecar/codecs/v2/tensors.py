"""Tensor data as JSON: is it what its shape says, and where does each row end?

No number and no string is interpreted. Commas and brackets are counted where nothing but numbers
can stand between them; strings are told apart by the parser.
"""

from __future__ import annotations

import functools
import math
import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Form: TypeAlias = Literal["flat", "nested", "binary"]

MAX_DIMENSIONS: Final = 16
MAX_STRINGS: Final = 1 << 16
"""More strings than these in one tensor are not looked at one by one."""
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

_MAX_COMMAS: Final = 1 << 20
_SPACE: Final = b" \t\r\n"
# All that numbers, true, false and null are made of, and white space.
_LEAVES: Final = b"0123456789+-.eEtrufalsn" + _SPACE
_SPLIT_BELOW: Final = 16

_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def count_elements(shape: Sequence[int]) -> int:
    """Return how many elements a shape holds; 0 where it is not one that could be batched."""
    if not 0 < len(shape) <= MAX_DIMENSIONS or min(shape) < 1:
        return 0
    return math.prod(shape)


def form_of(data: bytes, shape: Sequence[int], elements: int, datatype: str) -> Form | None:
    """Return how a valid JSON array holds exactly the elements of its shape; None if it does not.

    ``flat`` or ``nested``, each level as long as its dimension; never something in between. Only
    numbers, in a ``BOOL`` also true and false, in ``BYTES`` only strings.
    """
    if datatype == BYTES:
        return _form_of_strings(data, shape, elements)
    if data.count(b",") != elements - 1 or b'"' in data or b"{" in data:
        return None
    if b"n" in data if datatype == "BOOL" else b"l" in data or b"u" in data:
        return None  # null, or true and false among numbers: servers make of it what they like
    if data.rfind(b"[") == 0:
        return "flat" if elements > 1 or data[1:-1].strip(_SPACE) else None
    if data.count(b"[") != 1 + sum(accumulate(shape[:-1], int.__mul__)):
        return None
    if data.translate(None, _LEAVES) != _skeleton(shape):
        return None
    if shape[-1] == 1 and b"[]" in data.translate(None, _SPACE):
        return None
    return "nested"


def _skeleton(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of nested arrays; no more than are in the data."""
    skeleton = b"[" + b"," * (shape[-1] - 1) + b"]"
    for length in reversed(shape[:-1]):
        skeleton = b"[" + (skeleton + b",") * (length - 1) + skeleton + b"]"
    return skeleton


def _form_of_strings(data: bytes, shape: Sequence[int], elements: int) -> Form | None:
    if elements > MAX_STRINGS or data.count(b",") > _MAX_COMMAS:
        return None
    depth = len(shape)
    if depth > 1 and data[1:].lstrip(_SPACE)[:1] == b"[":
        try:
            levels: list[Any] = [_strings_decoder(depth).decode(data)]
        except msgspec.ValidationError:
            return None
        for length in shape:
            if any(len(level) != length for level in levels):
                return None
            levels = [element for level in levels for element in level]
        return "nested"
    try:
        return "flat" if len(_strings_decoder(1).decode(data)) == elements else None
    except msgspec.ValidationError:
        return None


@functools.lru_cache(MAX_DIMENSIONS)
def _strings_decoder(depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = str
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def cut_rows(data: bytes, counts: Sequence[int], per_row: int) -> list[bytes] | None:
    """Return what stands between the brackets for each count of rows, in order.

    ``per_row`` is how many elements a row holds in flat form. None where it is no array, or one
    that holds neither as many rows nor as many elements as that.
    """
    if data[:1] != b"[":
        return None
    total = sum(counts)
    inner = data[1:-1]
    if not per_row and not inner.strip(_SPACE):
        return [b""] * len(counts)
    step = 1
    plain = per_row and b'"' not in inner and b"{" not in inner and b"[" not in inner
    if plain:
        if inner.count(b",") != total * per_row - 1 or not inner.strip(_SPACE):
            return None
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
        match = _run_of(count * per_row).match(inner, start)
        stop = match.end() if match else len(inner)
        parts.append(inner[start:stop])
        start = stop + 1
    return parts


@functools.lru_cache(64)
def _run_of(elements: int) -> re.Pattern[bytes]:
    return re.compile(rb"(?:[^,]*+,){%d}+[^,]*+" % (elements - 1))
