"""JSON as bytes: generated in every spelling, and taken apart by the standard library."""

import json
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from hypothesis import strategies as st

LARGE = b" " * 66_000
"""More than what is copied without a thought."""
_SPACES = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\t \r\n"])
_NUMBERS = st.sampled_from(
    [
        b"0", b"-0", b"1.0", b"1.50", b"-0.0", b"9007199254740993", b"0.1000000000000000055511151",
        b"1e400", b"-1E+400", b"1e-400", b"123456789012345678901234567890", b"5E0", b"2e05",
    ]
)  # fmt: skip
_STRINGS = st.sampled_from(
    [
        b'""', b'"a"', b'"\\u0061"', b'"\\/"', b'"/"', b'"\\"],[\\\\"', b'"{\\"instances\\":[1]}"',
        b'"\\ud83d\\ude00"', "\"\U0001f600\"".encode(), "\"é\"".encode(), b'"\\u00e9"', b'"\x7f"',
        b'"NaN"', b'"-Infinity"', b'"\\b\\f\\n\\r\\t"', b'"\\u0000"',
    ]
)  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from([b"null", b"true", b"false"]),
    _NUMBERS,
    st.integers().map(lambda number: str(number).encode()),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: repr(number).encode()),
    _STRINGS,
    st.text(st.characters(codec="utf-8")).map(lambda text: json.dumps(text).encode()),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])).map(
        lambda text: json.dumps(text, ensure_ascii=False).encode()
    ),
)
_KEYS = st.sampled_from([b'"a"', b'"b"', b'"\\u0061"', b'""', b'"instances"']) | _STRINGS


Tree: TypeAlias = "bytes | list[Tree] | tuple[tuple[bytes, Tree], ...]"
"""A JSON value before it is written: a scalar, an array or an object, whose names may repeat."""


def trees() -> st.SearchStrategy[Tree]:
    """Any JSON value, to be written by ``render``."""
    return st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=4) | st.lists(st.tuples(_KEYS, inner), max_size=4).map(tuple)
        ),
        max_leaves=8,
    )


def render(tree: Tree, space: Callable[[], bytes]) -> bytes:
    """Write a value with white space inside wherever it may stand."""
    if isinstance(tree, bytes):
        return tree
    if isinstance(tree, list):
        return render_array([render(element, space) for element in tree], space)
    return render_object([(name, render(value, space)) for name, value in tree], space)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """Any JSON value, without white space around it."""
    return render(draw(trees()), lambda: draw(_SPACES))


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Any JSON object."""
    fields = draw(st.lists(st.tuples(_KEYS, values()), max_size=3))
    return render_object(fields, lambda: draw(_SPACES))


@st.composite
def tensors(draw: st.DrawFn) -> list[bytes]:
    """A few rows, all of them arrays of arrays of numbers."""
    leaves = st.lists(_NUMBERS, min_size=1, max_size=3)
    row = st.lists(leaves.map(lambda row: render_array(row, bytes)), min_size=1, max_size=3)
    rows = draw(st.lists(row, min_size=1, max_size=4))
    return [render_array(row, lambda: draw(_SPACES)) for row in rows]


def spaces() -> st.SearchStrategy[bytes]:
    """White space, most often none."""
    return _SPACES


def spacer(draw: st.DrawFn) -> Callable[[], bytes]:
    """White space for one body; now and then so much in one place that the body is a large one."""
    large_at = draw(st.none() | st.none() | st.integers(0, 12))
    count = 0

    def space() -> bytes:
        nonlocal count
        count += 1
        return LARGE if count == large_at else draw(_SPACES)

    return space


def render_array(elements: list[bytes], space: Callable[[], bytes]) -> bytes:
    """Write an array, with white space wherever it may stand."""
    inner = b",".join([space() + element + space() for element in elements]) or space()
    return b"[" + inner + b"]"


def render_object(fields: list[tuple[bytes, bytes]], space: Callable[[], bytes]) -> bytes:
    """Write an object of rendered names and values, with white space wherever it may stand."""
    inner = [space() + name + space() + b":" + space() + value + space() for name, value in fields]
    return b"{" + (b",".join(inner) or space()) + b"}"


def elements_of(array: bytes) -> list[bytes]:
    """Take an array apart, byte for byte."""
    text = array.decode()
    assert text[0] == "[", text
    return [text[start:stop].encode() for start, stop in _spans(text, named=False)]


def fields_of(text: bytes) -> list[tuple[str, bytes]]:
    """Take an object apart: decoded names, and values byte for byte."""
    whole = text.decode()
    begin = _skip(whole, 0)
    assert whole[begin] == "{", whole
    spans = list(_spans(whole[begin:], named=True))
    fields = []
    for name, value in zip(spans[::2], spans[1::2], strict=True):
        fields.append(
            (json.loads(whole[begin:][slice(*name)]), whole[begin:][slice(*value)].encode())
        )
    return fields


def strictly(text: bytes) -> object:
    """Parse JSON as RFC 8259 has it; every number stays text. ValueError if it is not valid."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text.decode(), parse_constant=refuse, parse_int=str, parse_float=str)


_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def _spans(text: str, *, named: bool) -> Iterator[tuple[int, int]]:
    """Yield where each value (and each name, if ``named``) of a container begins and ends."""
    position = _skip(text, 1)
    while text[position] not in "]}":
        for separator in ":," if named else ",":
            _, stop = _DECODER.raw_decode(text, position)
            yield position, stop
            position = _skip(text, stop)
            if text[position] == separator:
                position = _skip(text, position + 1)
    assert not text[position + 1 :].strip(" \t\r\n")


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()
