"""Requests that no well-meaning client sends, for models with the one input X of [n, 4] INT64.

Each is sent beside callers that mean well and share its batch key where it has one.
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.peers.kit.messages import HEADER_LENGTH, Message, blob

__all__ = ["BINARY_CASES", "JSON_CASES", "PAIRS", "SHARING", "STRING_CASES"]

GOOD: Final = [1, 2, 3, 4]
BLOB: Final = blob("INT64", GOOD)
INPUT: Final = {"name": "X", "shape": [1, 4], "datatype": "INT64"}
BEYOND: Final = 1 << 62


def of(inputs: Any, **more: Any) -> Message:
    """JSON with these inputs."""
    return text(json.dumps({"inputs": inputs, **more}))


def x(data: Any = GOOD, shape: Any = (1, 4), **more: Any) -> Message:
    """One input with this data of this shape; what is None is left out."""
    fields = {**INPUT, "shape": shape, "data": data, **more}
    return of([{name: value for name, value in fields.items() if value is not None}])


def text(body: str | bytes) -> Message:
    """A body as it stands."""
    encoded = body.encode() if isinstance(body, str) else body
    return Message(encoded, {"Content-Type": "application/json"}, 1)


def data(literal: str) -> Message:
    """Data as JSON text."""
    return text(json.dumps({"inputs": [{**INPUT, "data": 0}]}).replace("0}", literal + "}"))


JSON_CASES: Final[dict[str, Message]] = {
    "no data": x([]),
    "too little data": x([1, 2, 3]),
    "too much data": x([1, 2, 3, 4, 5]),
    "data of two rows": x(GOOD * 2),
    "nested data of two rows": x([GOOD, GOOD]),
    "nested data of another shape": x([[1, 2], [3, 4]]),
    "ragged data": x([[1, 2, 3], [4]]),
    "ragged data of two rows": x([[1, 2, 3], [4, 5, 6, 7, 8]], (2, 4)),
    "nested too deep": x([[[1, 2, 3, 4]]]),
    "flat and nested": x([1, 2, [3, 4]]),
    "null data": data("null"),
    "data that is no list": data("7"),
    "an object": data('{"a":1}'),
    "no data at all": x(None),
    "no rows": x([], (0, 4)),
    "no rows but data": x(GOOD, (0, 4)),
    "negative rows": x(GOOD, (-1, 4)),
    "two negative dimensions": x(GOOD, (-1, -4)),
    "rows beyond 64 bits": x(GOOD, (1 << 64, 4)),
    "a product beyond 64 bits": x([], (BEYOND, 4)),
    "a product that is four beyond 64 bits": x(GOOD, (1, (1 << 62) + 1, 4)),
    "a dimension with a fraction": x(GOOD, (1.5, 4)),
    "a dimension in quotes": x(GOOD, ("1", 4)),
    "a dimension that is true": x(GOOD, (True, 4)),
    "no shape": x(GOOD, None),
    "an empty shape": x([], ()),
    "a shape that is a number": x(GOOD, 4),
    "another width": x([1, 2, 3], (1, 3)),
    "one dimension": x(GOOD, (4,)),
    "another datatype": x(GOOD, datatype="INT32"),
    "an unknown datatype": x(GOOD, datatype="INT65"),
    "no datatype": x(GOOD, datatype=None),
    "another name": x(GOOD, name="Z"),
    "no name": x(GOOD, name=None),
    "a name that is a number": x(GOOD, name=7),
    "the input twice": of([{**INPUT, "data": GOOD}] * 2),
    "no inputs": of([]),
    "inputs that are null": text('{"inputs":null}'),
    "no inputs at all": text("{}"),
    "an unknown output": of([{**INPUT, "data": GOOD}], outputs=[{"name": "Q"}]),
    "outputs that are a text": of([{**INPUT, "data": GOOD}], outputs="Y"),
    "NaN": data("[1,2,3,NaN]"),
    "a text among numbers": data('[1,2,3,"4"]'),
    "null among numbers": data("[1,2,3,null]"),
    "true among numbers": data("[1,2,3,true]"),
    "a fraction": data("[1,2,3,4.5]"),
    "a number beyond 64 bits": data("[1,2,3,18446744073709551616]"),
    "a number out of range": data("[1,2,3,1e999]"),
    "a number the model refuses": data("[1,2,3,-4]"),
    "a missing bracket": text(x().body[:-2]),
    "an extra comma": data("[1,2,3,4,]"),
    "something behind the JSON": text(x().body + b" x"),
    "another document behind": text(x().body * 2),
    "bytes that are no UTF-8": text(x().body.replace(b'"X"', b'"X\xff"')),
    "data twice": data('[1,2,3,4],"data":[5,6,7,8,9,10,11,12]'),
    "shape twice": data('[5,6,7,8,9,10,11,12],"shape":[2,4]'),
    "a size but data in JSON": x(GOOD, parameters={"binary_data_size": 32}),
    "a negative sequence": of([{**INPUT, "data": GOOD}], parameters={"sequence_id": -1}),
    "parameters that are a list": of([{**INPUT, "data": GOOD}], parameters=[1]),
    "shared memory nobody made": of(
        [
            {
                **INPUT,
                "parameters": {"shared_memory_region": "none", "shared_memory_byte_size": 32},
            }
        ]
    ),
}


def bx(size: Any = 32, sent: bytes = BLOB, shape: Any = (1, 4)) -> Message:
    """One input in binary form with this size, and these bytes behind the JSON part."""
    fields = {**INPUT, "shape": shape, "parameters": {"binary_data_size": size}}
    head = of([fields]).body
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Message(head + sent, headers, 1)


def headed(value: str) -> Message:
    """What is right but for the header with the length of its JSON part."""
    good = bx()
    return Message(good.body, {**good.headers, HEADER_LENGTH: value}, 1)


def _json_bytes() -> int:
    return len(bx().body) - len(BLOB)


BINARY_CASES: Final[dict[str, Message]] = {
    "no bytes": bx(0, b""),
    "too few bytes": bx(24, BLOB[:24]),
    "too many bytes": bx(40, BLOB + BLOB[:8]),
    "bytes of two rows": bx(64, BLOB * 2),
    "a size beyond the body": bx(64, BLOB),
    "a size below the body": bx(24, BLOB),
    "bytes behind the last input": bx(32, BLOB * 2),
    "a size of no whole element": bx(31, BLOB[:31]),
    "a negative size": bx(-32, BLOB),
    "a huge size": bx(1 << 64, BLOB),
    "a size in quotes": bx("32", BLOB),
    "a size with a fraction": bx(32.0, BLOB),
    "a size that is null": bx(None, BLOB),
    "no rows": bx(0, b"", (0, 4)),
    "negative rows": bx(32, BLOB, (-1, 4)),
    "a product beyond 64 bits": bx(0, b"", (BEYOND, 4)),
    "a product that is four beyond 64 bits": bx(32, BLOB, (1, BEYOND + 1, 4)),
    "a length beyond the body": headed(str(len(bx().body) + 1)),
    "a length far beyond the body": headed(str(1 << 64)),
    "a length of the whole body": headed(str(len(bx().body))),
    "a length below the JSON part": headed(str(_json_bytes() - 1)),
    "a length above the JSON part": headed(str(_json_bytes() + 1)),
    "a negative length": headed("-1"),
    "a length that is no number": headed("all"),
    "an empty length": headed(""),
    "a length with a sign": headed(f"+{_json_bytes()}"),
    "a length in other digits": headed(f"{_json_bytes():#x}"),
}


PAIRS: Final[dict[str, tuple[Message, Message]]] = {
    "no elements and twice as many": (x([]), x(GOOD * 2)),
    "one too few and one too many": (x([1, 2, 3]), x([5, 6, 7, 8, 9])),
    "no bytes and twice as many": (bx(0, b""), bx(64, BLOB * 2)),
    "a size below and one beyond the bytes": (bx(24, BLOB), bx(40, BLOB)),
}
"""Two that would make up for each other if their data were put together."""


def strings(sent: bytes, size: int | None = None) -> Message:
    """For the model `types`: one row of 2 x 3 strings in binary form, as these bytes."""
    fields = {
        "name": "IN_BYTES",
        "shape": [1, 2, 3],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(sent) if size is None else size},
    }
    head = of([fields]).body
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Message(head + sent, headers, 1)


_STRINGS: Final = blob("BYTES", ["a", "bc", "", "def", "g", "h"])

STRING_CASES: Final[dict[str, Message]] = {
    "one string too few": strings(_STRINGS[:-5]),
    "one string too many": strings(_STRINGS + blob("BYTES", ["i"])),
    "no strings": strings(b""),
    "a string beyond the tensor": strings(_STRINGS[:-1]),
    "a length beyond the tensor": strings(_STRINGS[:-5] + b"\x02\x00\x00\x00h"),
    "the greatest length": strings(b"\xff\xff\xff\xff" + _STRINGS[4:]),
    "half a length behind": strings(_STRINGS + b"\x01\x00"),
    "bytes behind the last string": strings(_STRINGS + b"h"),
    "a size below the strings": strings(_STRINGS, len(_STRINGS) - 5),
    "bytes that are no UTF-8": strings(_STRINGS.replace(b"def", b"\xff\xfe\x00")),
}

SHARING: Final = frozenset(
    [
        "a number beyond 64 bits, JSON",
        "a number the model refuses, JSON",
        "bytes that are no UTF-8, strings",
    ]
)
"""Those that no look at shapes and datatypes tells from what others send."""
