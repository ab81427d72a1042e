"""Row signatures: which rows a model server can take in one call (rule 1).

A server turns the instances of one call into one array, so rows of different shapes break it. A
signature is a short text: ``n`` number, ``s`` string, ``b`` bool, ``z`` null, ``[`` with the number
of leaves (or elements) and what the first of them is, ``{`` with sorted names. Numbers are counted
along the first element of each level. Contents never count. Reading it costs a fraction of parsing:
commas are counted, no element is looked at.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

RowSignature: TypeAlias = Literal["shape", "type"]

_SCALARS = {
    ord('"'): "s",
    ord("t"): "b",
    ord("f"): "b",
    ord("n"): "z",
    ord("-"): "n",
} | dict.fromkeys(b"0123456789", "n")

_QUOTE, _COMMA, _BRACKET, _BRACE = b'",[{'
_OPENING = re.compile(rb"[\[\s]*")
_COUNTS = re.compile(r"\[(\d+)")
_MAX_DEPTH = 16
_CLOSINGS = [re.compile(rb"\]" + rb"\s*\]" * (level - 1)) for level in range(1, _MAX_DEPTH)]
_CLOSINGS.insert(0, re.compile(b""))
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_dict = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def row_signature(row: bytes, mode: RowSignature, depth: int = 0) -> str:
    """Return the signature of one valid JSON value without surrounding white space.

    ``mode`` ``shape`` counts lengths, ``type`` does not (for models that pad).
    """
    first = row[0]
    plain = first == _BRACKET and _QUOTE not in row and _BRACE not in row
    if plain and mode == "shape":
        leaf = _SCALARS.get(row[1])
        if leaf is not None:  # a flat array, the commonest row of all
            return f"[{row.count(_COMMA) + 1}{leaf}"
    scalar = _SCALARS.get(first)
    if scalar is not None:
        return scalar
    if depth >= _MAX_DEPTH:
        return "…"
    if plain:
        return _plain_array(row, mode)
    if first == _BRACE:
        fields = sorted(_decode_dict(row).items())
        inner = ",".join(
            [f"{name!r}:{row_signature(bytes(value), mode, depth + 1)}" for name, value in fields]
        )
        return "{" + inner + "}"
    elements = _decode_list(row)
    if not elements:
        return "[0" if mode == "shape" else "["
    inner = row_signature(bytes(elements[0]), mode, depth + 1)
    return f"[{len(elements)}{inner}" if mode == "shape" else f"[{inner}"


def _plain_array(row: bytes, mode: RowSignature) -> str:
    """Return the signature of an array that holds no string and no object.

    Commas then separate elements and nothing else. The first element of a level ends at the first
    run of as many closing brackets, so the commas before it count that level's leaves.
    """
    opening = _OPENING.match(row)
    end = opening.end() if opening else 0
    depth = row.count(b"[", 0, end)
    leaf = _SCALARS.get(row[end], "")  # "" for an empty array
    if mode == "type":
        return "[" * depth + leaf
    counts = [row.count(b",") + 1]
    stop = len(row)
    for level in range(min(depth, _MAX_DEPTH) - 1, 0, -1):
        closing = _CLOSINGS[level].search(row, end, stop)
        if closing is not None:  # else this level has one element, and ends with the one above
            stop = closing.start()
        counts.append(row.count(b",", end, stop) + 1)
    return "".join([f"[{count}" for count in counts]) + "[" * (depth - len(counts)) + leaf


def first_numbers(rows: bytes) -> tuple[bytes, tuple[int, ...], int] | None:
    """Return the first of an array's rows, its shape, and how many numbers it holds.

    The shape counts along the first element of each level, and is that of a scalar too. None where
    there is anything but numbers, or the row is not what an array of a shape begins with.
    """
    if b'"' in rows or b"{" in rows or b"l" in rows or b"u" in rows:
        return None
    opening = _OPENING.match(rows)
    depth = rows.count(b"[", 0, opening.end() if opening else 0) - 1
    if not depth:
        return b"0", (), 1
    if depth >= _MAX_DEPTH:
        return None
    closing = _CLOSINGS[depth].search(rows)
    first = rows[rows.index(b"[", 1) : closing.end() if closing else -1]
    counts = [int(count) for count in _COUNTS.findall(row_signature(first, "shape"))]
    shape = tuple([outer // inner for outer, inner in pairwise([*counts, 1])])
    if len(shape) != depth or 0 in shape:
        return None
    return first, shape, counts[0]
