"""Messages of the Open Inference Protocol: generated, written in any form, and read back.

Nothing here knows the codec: JSON is read by the standard library, blobs by ``struct``.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from hypothesis import strategies as st

from tests.unit.sidecar.codecs.jsontext import (
    elements_of,
    fields_of,
    render_array,
    render_object,
)

Form = Literal["flat", "nested", "binary"]
Space = Callable[[], bytes]

SIZES_BYTES: Final = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2,
    "INT32": 4, "INT64": 8, "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
DATATYPES: Final = (*SIZES_BYTES, "BYTES")
HEADER: Final = "inference-header-content-length"

_NUMBERS: Final = st.sampled_from(
    [b"0", b"-0", b"1.0", b"1.50", b"9007199254740993", b"1e400", b"-1E+4", b"2e-05"]
) | st.integers().map(lambda number: str(number).encode())
_STRINGS: Final = st.sampled_from(
    [b'""', b'"a"', b'"\\u0061"', b'"\\"],[\\\\"', b'"{"', b'"[1,2]"', b'","', '"é"'.encode()]
) | st.text(st.characters(codec="utf-8"), max_size=5).map(lambda text: json.dumps(text).encode())
_INTEGERS: Final = st.integers().map(lambda number: b"%d" % number)
_JSON_ELEMENTS: Final = {
    name: st.integers(0).map(lambda number: b"%d" % number) if name[0] == "U"
    else _INTEGERS if name[0] == "I"
    else _NUMBERS
    for name in DATATYPES
} | {"BOOL": st.sampled_from([b"true", b"false", b"0", b"1"]), "BYTES": _STRINGS}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One input or output. Elements are JSON texts, or in binary form each one's bytes."""

    name: str
    datatype: str
    tail: tuple[int, ...]
    """Its dimensions but the first."""
    form: Form
    elements: tuple[bytes, ...]
    parameters: Mapping[str, bytes] = field(default_factory=dict)
    """As they are written; without the size of the blob."""

    @property
    def per_row(self) -> int:
        return math.prod(self.tail)

    @property
    def rows(self) -> int:
        return len(self.elements) // self.per_row

    @property
    def blob(self) -> bytes:
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(own)) + own for own in self.elements)
        return b"".join(self.elements)

    def with_rows_of(self, *others: "Tensor") -> "Tensor":
        """The same tensor with the rows of these after one another."""
        return replace(self, elements=tuple(one for other in others for one in other.elements))

    def cut(self, start: int, stop: int) -> "Tensor":
        return replace(self, elements=self.elements[start * self.per_row : stop * self.per_row])

    def write(self, space: Space) -> bytes:
        """Its JSON, in which its blob is announced if it has one."""
        parameters = dict(self.parameters)
        if self.form == "binary":
            parameters["binary_data_size"] = b"%d" % len(self.blob)
        shape = [b"%d" % length for length in (self.rows, *self.tail)]
        fields = [
            ("name", json.dumps(self.name).encode()),
            ("shape", render_array(shape, space)),
            ("datatype", b'"%b"' % self.datatype.encode()),
        ]
        if parameters:
            fields.append(("parameters", written(parameters, space)))
        if self.form == "flat":
            fields.append(("data", render_array(list(self.elements), space)))
        elif self.form == "nested":
            fields.append(("data", _nest(list(self.elements), self.tail, space)))
        return render_object([(f'"{name}"'.encode(), value) for name, value in fields], space)


def written(fields: Mapping[str, bytes], space: Space = bytes) -> bytes:
    """An object of written values."""
    named = [(json.dumps(name).encode(), value) for name, value in fields.items()]
    return render_object(named, space)


def _nest(elements: list[bytes], tail: tuple[int, ...], space: Space) -> bytes:
    for length in reversed(tail):
        elements = [
            render_array(elements[start : start + length], space)
            for start in range(0, len(elements), length)
        ]
    return render_array(elements, space)


def write(
    tensors: Sequence[Tensor],
    fields: Mapping[str, bytes] | None = None,
    *,
    kind: str = "inputs",
    space: Space = bytes,
) -> tuple[bytes, dict[bytes, bytes]]:
    """A whole message, and its header if it has blobs."""
    listed = render_array([tensor.write(space) for tensor in tensors], space)
    text = written({**(fields or {}), kind: listed}, space)
    blobs = [tensor.blob for tensor in tensors if tensor.form == "binary"]
    headers = {HEADER.encode(): b"%d" % len(text)} if blobs else {}
    return b"".join([text, *blobs]), headers


def read(
    body: bytes, json_bytes: int | None, kind: str = "outputs"
) -> tuple[dict[str, bytes], list[Tensor]]:
    """The fields of a message as they are written, and its tensors."""
    text = body if json_bytes is None else body[:json_bytes]
    named = fields_of(text)
    fields = dict(named)
    assert len(fields) == len(named), "a field is named twice"
    offset = len(text)
    tensors = []
    for written_tensor in elements_of(fields.pop(kind)):
        own = dict(fields_of(written_tensor))
        shape = json.loads(own["shape"])
        parameters = dict(fields_of(own["parameters"])) if "parameters" in own else {}
        size = int(parameters.pop("binary_data_size", b"-1"))
        datatype = json.loads(own["datatype"])
        form: Form = "binary"
        if size < 0:
            elements, form = _flatten(own["data"], shape)
        else:
            assert "data" not in own
            elements = _take_blob(body[offset : offset + size], datatype)
            offset += size
        assert len(elements) == math.prod(shape)
        tensors.append(
            Tensor(
                json.loads(own["name"]),
                datatype,
                tuple(shape[1:]),
                form,
                tuple(elements),
                parameters,
            )
        )
    assert offset == len(body)
    return fields, tensors


def _flatten(data: bytes, shape: list[int]) -> tuple[list[bytes], Form]:
    elements = elements_of(data)
    if len(shape) == 1 or not elements or elements[0][:1] != b"[":
        return elements, "flat"
    assert len(elements) == shape[0]
    inner = [_flatten(element, shape[1:])[0] for element in elements]
    assert {len(own) for own in inner} == {math.prod(shape[1:])}
    return [leaf for own in inner for leaf in own], "nested"


def _take_blob(blob: bytes, datatype: str) -> list[bytes]:
    if datatype != "BYTES":
        size = SIZES_BYTES[datatype]
        assert len(blob) % size == 0
        return [blob[start : start + size] for start in range(0, len(blob), size)]
    elements = []
    start = 0
    while start < len(blob):
        [length] = struct.unpack_from("<I", blob, start)
        elements.append(blob[start + 4 : start + 4 + length])
        start += 4 + length
    assert start == len(blob)
    return elements


def one_element(datatype: str, form: Form) -> st.SearchStrategy[bytes]:
    if form != "binary":
        return _JSON_ELEMENTS[datatype]
    if datatype == "BYTES":
        return st.binary(max_size=6)
    size = SIZES_BYTES[datatype]
    return st.binary(min_size=size, max_size=size)


@dataclass(frozen=True)
class Template:
    """What members of a batch have in common: tensors without rows."""

    tensors: tuple[Tensor, ...]

    def fill(self, draw: st.DrawFn, rows: int) -> list[Tensor]:
        filled = []
        for tensor in self.tensors:
            count = rows * tensor.per_row
            element = one_element(tensor.datatype, tensor.form)
            elements = draw(st.lists(element, min_size=count, max_size=count))
            filled.append(replace(tensor, elements=tuple(elements)))
        return filled


@st.composite
def templates(draw: st.DrawFn, forms: Sequence[Form] = ("flat", "nested", "binary")) -> Template:
    tensors = []
    for index in range(draw(st.integers(1, 3))):
        tail = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
        form: Form = draw(st.sampled_from(forms))
        if form == "nested" and not tail:
            form = "flat"
        parameters = draw(
            st.sampled_from([{}, {}, {"content_type": b'"np"'}, {"a": b"1.0", "b": b"true"}])
        )
        datatype = draw(st.sampled_from(DATATYPES))
        name = draw(st.sampled_from(["x", 'quoted"', "é", ""])) + str(index)
        tensors.append(Tensor(name, datatype, tail, form, (), parameters))
    return Template(tuple(tensors))


def json_bytes_of(lines: bytes) -> int | None:
    """What the codec's header lines say; their form is checked."""
    parts = [line.partition(b": ") for line in lines.split(b"\r\n")]
    assert parts.pop() == (b"", b"", b"")
    headers = {name.lower().decode(): value for name, _, value in parts}
    if HEADER in headers:
        assert headers.pop("content-type") == b"application/octet-stream"
        length = int(headers.pop(HEADER))
    else:
        assert headers.pop("content-type") == b"application/json"
        length = -1
    assert not headers
    return None if length < 0 else length


def plain(value: Any) -> bytes:
    """Write a value as JSON."""
    return json.dumps(value).encode()
