"""JSON as hostile and honest clients write it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

__all__ = ["answer_body", "request_body", "strict_loads"]

_SCALARS: Final = (
    "0", "-0", "1", "-1.5", "2e3", "1E+2", "0.1", "1e400", "123456789012345678901234567890", "true",
    "false", "null", '""', '"a"', '"NaN"', '"\\u00e9"', '"é"', '"\\ud83d\\ude00"', '"\\ud800"',
    '"a,b]}"', '"\\"\\\\"', '" "', '"\u2028"', '"\U0001f600"',
)  # fmt: skip
_NAMES: Final = ("a", "b", "", "é", "\\u0061", "a\\u0000", "instances", "predictions", "inputs")
_FIELDS: Final = (
    "signature_name", "parameters", "inputs", "x", "", "é", "predictions", "instances", "id",
    "message", "batchId", "sig\\u006eature_name",
)  # fmt: skip
_SURROGATE: Final = re.compile(rb"\\u[dD]")
_MAX_DIGITS: Final = 4000
"""Python refuses to read longer integers; they are compared as text."""
_SPACES: Final = ("", "", "", " ", "\n", "\t", " \r\n ")


def strict_loads(body: bytes) -> Any:
    """Read JSON as RFC 8259 has it: UTF-8, no NaN, nothing after the value.

    Half a surrogate pair, which the RFC leaves open, is refused, as msgspec does.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deeply to tell.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        json.dumps(pairs, ensure_ascii=False).encode()
        return dict(pairs)

    def number(digits: str) -> int | str:
        return int(digits) if len(digits) < _MAX_DIGITS else digits

    if _SURROGATE.search(body) is None:
        return json.loads(body.decode(), parse_constant=refuse, parse_int=number)
    value = json.loads(
        body.decode(), parse_constant=refuse, parse_int=number, object_pairs_hook=whole
    )
    whole([("", value)])
    return value


def _value(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return rng.choice(_SCALARS)
    gap = rng.choice(_SPACES)
    count = rng.choice((0, 1, 1, 2, 3, 5))
    if kind < 0.8:
        alike = _value(rng, depth - 1) if rng.random() < 0.5 else None
        items = [alike or _value(rng, depth - 1) for _ in range(count)]
        return f"[{gap}" + f"{gap},".join(items) + f"{gap}]"
    fields = [f'"{rng.choice(_NAMES)}"{gap}:{_value(rng, depth - 1)}' for _ in range(count)]
    return "{" + gap + f",{gap}".join(fields) + "}"


def _tensor(rng: random.Random) -> str:
    """Write an array of arrays of numbers, mostly an even one."""
    width, depth = rng.choice((1, 2, 3)), rng.choice((1, 2, 3))
    value = rng.choice(("1", "-0.5", "1e5", "true", "null"))
    for _ in range(depth):
        value = "[" + ",".join([value] * width) + "]"
        width = rng.choice((0, 1, 2, 3)) if rng.random() < 0.1 else width
    return value


def _rows(rng: random.Random, count: int) -> str:
    gap = rng.choice(_SPACES)
    depth = rng.choice((0, 0, 1, 2, 4))
    if rng.random() < 0.2:
        rows = [_tensor(rng)] * count
    elif rng.random() < 0.7:  # alike, so that they can share a batch
        row = _value(rng, depth)
        rows = [row] * count
    else:
        rows = [_value(rng, depth) for _ in range(count)]
    if rng.random() < 0.01:  # large, without a row that is
        gap = " " * 70_000
    return f"[{gap}" + f",{gap}".join(rows) + f"{gap}]"


def _object(rng: random.Random, name: str, value: str) -> bytes:
    """Write an object with that field, mostly alone."""
    gap = rng.choice(_SPACES)
    fields = [f'"{name}":{gap}{value}']
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        extra = f'"{rng.choice(_FIELDS)}"{gap}:{_value(rng, 2)}'
        fields.insert(rng.randint(0, len(fields)), extra)
    text = "{" + gap + f"{gap},".join(fields) + gap + "}" + rng.choice(_SPACES)
    return text.encode()


def request_body(rng: random.Random) -> bytes:
    """Write a v1 request, mostly a valid one."""
    if rng.random() < 0.03:
        return _value(rng, 3).encode()
    name = rng.choice(("instances", "instances", "instances", "inst\\u0061nces"))
    value = _rows(rng, rng.choice((0, 1, 1, 1, 2, 3, 7)))
    return _object(rng, name, value if rng.random() < 0.95 else _value(rng, 2))


def answer_body(rng: random.Random, count: int) -> bytes:
    """Write a v1 answer, mostly one with that many predictions."""
    if rng.random() < 0.03:
        return _value(rng, 3).encode()
    if rng.random() < 0.1:
        count += rng.choice((-1, 1))
    value = _rows(rng, max(0, count))
    return _object(rng, "predictions", value if rng.random() < 0.95 else _value(rng, 2))
