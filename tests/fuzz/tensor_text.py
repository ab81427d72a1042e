"""Messages of the Open Inference Protocol, mostly valid ones."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["Shape", "message", "shapes"]

_NUMBERS: Final = ("0", "-0", "1", "-1.5", "2e3", "0.1", "123456789012345678901234567890")
_INTEGERS: Final = ("0", "1", "7", "123456789012345678901234567890")
_STRINGS: Final = (
    '""', '"a"', '"a,b"', '"[1,2]"', '"\\u00e9"', '"é"', '"\\"\\\\"', '"\\ud83d\\ude00"', '"]"',
)  # fmt: skip
_CHOICES: Final = {
    "INT64": (*_INTEGERS, "-0", "-5"),
    "UINT8": _INTEGERS,
    "BOOL": ("true", "false", "0", "1"),
    "BYTES": _STRINGS,
}
"""What the datatype allows; floats are any numbers."""
_ITEM_BYTES: Final = {"FP32": 4, "FP16": 2, "UINT8": 1, "INT64": 8, "BOOL": 1}
_MISFIT: Final = 0.05
"""How often numbers are of any kind, whatever the datatype."""
_SPACES: Final = ("", "", "", " ", "\n", "\t")
_FIELDS: Final = (
    '"parameters":{"binary_data_output":true}', '"parameters":{}', '"parameters":null',
    '"parameters":{"timeout":1}', '"outputs":[]', '"outputs":[{"name":"y"}]', '"outputs":null',
    '"outputs":[{"name":"y","parameters":{"shared_memory_region":"a"}}]', '"x":[1,{"a":2}]',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor without its rows."""

    name: str
    datatype: str
    tail: tuple[int, ...]
    form: str
    parameters: str


def shapes(rng: random.Random) -> list[Shape]:
    """Choose the tensors of a message."""
    return [
        Shape(
            rng.choice(("x", "x", "\\u0078", "é", "")),
            rng.choice((*_ITEM_BYTES, "BYTES", "BYTES")),
            tuple(rng.choice((1, 1, 2, 3)) for _ in range(rng.choice((0, 1, 1, 2, 3)))),
            rng.choice(("flat", "nested", "binary")),
            rng.choice(("", "", "", '"a":1', '"content_type":"str"')),
        )
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def message(rng: random.Random, kinds: Sequence[Shape], name: str, rows: int) -> tuple[bytes, int]:
    """Write a message with so many rows; return it and the length of its JSON, -1 without blobs."""
    gap = rng.choice(_SPACES)
    tensors, blobs = [], []
    for kind in kinds:
        count = rows * math.prod(kind.tail)
        fields = [
            f'"name":{gap}"{kind.name}"',
            f'"shape":{gap}[{f",{gap}".join(map(str, (rows, *kind.tail)))}]',
            f'"datatype":"{kind.datatype}"',
        ]
        parameters = [kind.parameters] if kind.parameters else []
        if kind.form == "binary":
            blob = _blob(rng, kind.datatype, count)
            blobs.append(blob)
            parameters.append(f'"binary_data_size":{len(blob)}')
        else:
            fields.append(f'"data":{_array(rng, kind, count, gap)}')
        if parameters:
            fields.append('"parameters":{' + ",".join(parameters) + "}")
        rng.shuffle(fields)
        tensors.append("{" + f",{gap}".join(fields) + "}")
    members = [f'"{name}":{gap}[' + f",{gap}".join(tensors) + "]"]
    if rng.random() < 0.5:
        members.insert(0, f'"id":"{rng.choice("abc")}"')
    if rng.random() < 0.3:
        field = rng.choice(_FIELDS)
        if name == "inputs" or "outputs" not in field:
            members.append(field)
    text = ("{" + gap + f",{gap}".join(members) + gap + "}").encode()
    return b"".join([text, *blobs]), len(text) if blobs else -1


def _blob(rng: random.Random, datatype: str, count: int) -> bytes:
    if datatype == "BYTES":
        texts = [rng.randbytes(rng.choice((0, 0, 1, 3))) for _ in range(count)]
        return b"".join([struct.pack("<I", len(text)) + text for text in texts])
    return rng.randbytes(count * _ITEM_BYTES[datatype])


def _array(rng: random.Random, kind: Shape, count: int, gap: str) -> str:
    choice = _CHOICES.get(kind.datatype, _NUMBERS)
    if rng.random() < _MISFIT:
        choice = _NUMBERS
    items = [rng.choice(choice) for _ in range(count)]
    if kind.form == "nested":
        for length in reversed(kind.tail):
            starts = range(0, len(items), length)
            items = [f"[{f',{gap}'.join(items[start : start + length])}]" for start in starts]
    return f"[{gap}{f',{gap}'.join(items)}{gap}]"
