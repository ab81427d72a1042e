"""Whatever is joined, each caller gets its own elements back, to the byte."""

import itertools
import json
import math
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher_sidecar.codecs import Content
from batcher_sidecar.codecs.v2 import V2Codec, V2Request
from tests.unit.sidecar.codecs.jsontext import fields_of, spaces
from tests.unit.sidecar.codecs.v2.messages import (
    DATATYPES,
    Form,
    Template,
    Tensor,
    json_bytes_of,
    read,
    templates,
    write,
)

CODEC: Final = V2Codec()
BATCH_ID: Final = b"0e6f4c1e-6a3c-4d05-9d40-1ac1b0f3a3c9"
IDS: Final = st.none() | st.sampled_from([b'""', b'"a"', b'"\\u0061\\""', '"é"'.encode()])
SHARED: Final = st.sampled_from(
    [
        {},
        {"parameters": b'{"binary_data_output": true}'},
        {"parameters": b"{ }", "outputs": b"[]"},
        {"outputs": b'[{"name":"y"},{"name":"z","parameters":{"binary_data":false}}]'},
        {"outputs": b"null", "parameters": b"null", "own": b'[1.0, {"a": "b"}]'},
        {"model_name": b'"m"', "parameters": b'{"a": 1}'},
    ]
)
FEWER: Final = settings(max_examples=60)


def pieces_of(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """A body as it comes over a connection."""
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
    return [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]


class Member:
    """A request, and what it holds."""

    def __init__(
        self, draw: st.DrawFn, template: Template, fields: dict[str, bytes], rows: int
    ) -> None:
        self.tensors = template.fill(draw, rows)
        self.rows = rows
        self.id = draw(IDS)
        own = {} if self.id is None else {"id": self.id}
        self.body, self.headers = write(
            self.tensors, {**own, **fields}, space=lambda: draw(spaces())
        )
        body: bytes | Content = self.body
        if draw(st.booleans()):
            body = Content(pieces_of(draw, self.body))
        self.parsed: V2Request = CODEC.parse(body, self.headers)


@st.composite
def members(draw: st.DrawFn, max_members: int = 4) -> tuple[list[Member], dict[str, bytes]]:
    """Requests that one call can serve, and the fields they have in common."""
    template = draw(templates())
    fields = draw(SHARED)
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=max_members))
    return [Member(draw, template, fields, rows) for rows in sizes], fields


def echoed(tensors: list[Tensor], form: Form | None = None) -> list[Tensor]:
    """The outputs of a model that answers with its inputs."""
    return [Tensor(f"y-{t.name}", t.datatype, t.tail, t.form, t.elements) for t in tensors]


@given(members(), st.data())
def test_every_caller_gets_its_own_elements_byte_for_byte(
    made: tuple[list[Member], dict[str, bytes]], data: st.DataObject
) -> None:
    asked, fields = made
    parsed = [member.parsed for member in asked]
    assert [one.instances for one in parsed] == [member.rows for member in asked]
    assert len({one.key for one in parsed}) == 1
    lines, pieces = CODEC.join(parsed, None)
    joined = b"".join(pieces)
    if len(asked) == 1:
        assert joined == asked[0].body
    got, tensors = read(joined, json_bytes_of(lines), "inputs")
    got.pop("id", None)
    assert got == fields
    wanted = [own[0].with_rows_of(*own) for own in zip(*(m.tensors for m in asked), strict=True)]
    assert [(t.name, t.datatype, t.tail, t.form, t.elements, t.parameters) for t in tensors] == [
        (t.name, t.datatype, t.tail, t.form, t.elements, t.parameters) for t in wanted
    ]

    outputs = echoed(tensors)
    common = {"model_name": b'"m"', "id": b'"of the server"', "parameters": b'{"p": 1.0}'}
    draw: Any = data.draw
    answer, headers = write(outputs, common, kind="outputs", space=lambda: draw(spaces()))
    [json_bytes] = headers.values() or [None]
    content = Content(pieces_of(draw, answer), json_bytes)
    messages, dropped = CODEC.split(content, parsed, BATCH_ID)
    assert dropped == 0
    for member, (own_lines, body) in zip(asked, messages, strict=True):
        own, answered = read(body, json_bytes_of(own_lines))
        expected_id = member.id if len(asked) > 1 else b'"of the server"'
        assert own.pop("id", None) == expected_id
        parameters = dict(fields_of(own.pop("parameters")))
        assert json.loads(parameters.pop("batch_id")) == BATCH_ID.decode()
        assert parameters == {"p": b"1.0"}
        assert own == {"model_name": b'"m"'}
        assert [t.elements for t in answered] == [t.elements for t in member.tensors]
        assert [(t.name, t.form) for t in answered] == [(t.name, t.form) for t in outputs]


@FEWER
@given(members(max_members=1), st.integers(1, 3), st.data())
def test_pieces_of_one_request_are_put_together_again(
    made: tuple[list[Member], dict[str, bytes]], size: int, data: st.DataObject
) -> None:
    [member], fields = made
    parts: list[Any] = []
    for start in range(0, member.rows, size):
        rows = (start, min(start + size, member.rows))
        lines, pieces = CODEC.join([member.parsed], rows)
        got, tensors = read(b"".join(pieces), json_bytes_of(lines), "inputs")
        assert got == fields
        assert [t.elements for t in tensors] == [t.cut(*rows).elements for t in member.tensors]
        answer, headers = write(echoed(tensors), {"n": b"%d" % start}, kind="outputs")
        [json_bytes] = headers.values() or [None]
        part, dropped = CODEC.split(Content([answer], json_bytes), [member.parsed], BATCH_ID, rows)
        assert dropped == 0
        parts += part
    (lines, body), dropped = CODEC.reunite(parts, member.parsed, BATCH_ID)
    assert dropped == 0
    own, answered = read(body, json_bytes_of(lines))
    assert own.pop("id", None) == member.id
    assert own == {"n": b"%d" % start, "parameters": b'{"batch_id":"%b"}' % BATCH_ID}
    assert [t.elements for t in answered] == [t.elements for t in member.tensors]


@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=15)
@given(st.data())
def test_any_datatype_is_cut_and_put_together_in_any_form(
    datatype: str, form: Form, data: st.DataObject
) -> None:
    draw: Any = data.draw
    tail = tuple(draw(st.lists(st.integers(1, 20), min_size=form == "nested", max_size=2)))
    rows = draw(st.integers(1, 9))
    [tensor] = Template((Tensor("x", datatype, tail, form, ()),)).fill(draw, rows)
    space = spacer_of(draw)
    body, headers = write([tensor], space=space)
    parsed = CODEC.parse(Content(pieces_of(draw, body)), headers)
    size = draw(st.integers(1, rows))
    parts: list[Any] = []
    for start in range(0, rows, size):
        own = (start, min(start + size, rows))
        lines, pieces = CODEC.join([parsed], own)
        _, [cut] = read(b"".join(pieces), json_bytes_of(lines), "inputs")
        assert cut.elements == tensor.cut(*own).elements
        answer, headers = write(echoed([cut]), kind="outputs", space=space)
        [json_bytes] = headers.values() or [None]
        parts += CODEC.split(Content([answer], json_bytes), [parsed], BATCH_ID, own)[0]
    (lines, body), _ = CODEC.reunite(parts, parsed, BATCH_ID)
    _, [whole] = read(body, json_bytes_of(lines))
    assert (whole.elements, whole.form, whole.rows) == (tensor.elements, form, rows)


def spacer_of(draw: Any) -> Callable[[], bytes]:
    gap = draw(spaces())
    return lambda: gap


def numbers_of(rows: int) -> tuple[bytes, bytes]:
    data = b"1.5," * (4 * rows)
    tensor = b'{"name":"x","shape":[%d,4],"datatype":"FP32","data":[%b]}'
    return b'{"inputs":[%b]}' % (tensor % (rows, data[:-1])), b""


def nested_of(rows: int) -> tuple[bytes, bytes]:
    data = b"[1,2],[3,4]," * (rows // 2)
    tensor = b'{"name":"x","shape":[%d,2],"datatype":"INT8","data":[%b]}'
    return b'{"inputs":[%b]}' % (tensor % (rows, data[:-1])), b""


def texts_of(rows: int) -> tuple[bytes, bytes]:
    data = b'"a,b",' * rows
    tensor = b'{"name":"x","shape":[%d],"datatype":"BYTES","data":[%b]}'
    return b'{"inputs":[%b]}' % (tensor % (rows, data[:-1])), b""


def strings_of(rows: int) -> tuple[bytes, bytes]:
    tensor = b'{"name":"x","shape":[%d],"datatype":"BYTES","parameters":{"binary_data_size":%d}}'
    return b'{"inputs":[%b]}' % (tensor % (rows, 4 * rows)), bytes(4 * rows)


def blobs_of(rows: int) -> tuple[bytes, bytes]:
    tensor = b'{"name":"x","shape":[%d],"datatype":"FP64","parameters":{"binary_data_size":%d}}'
    return b'{"inputs":[%b]}' % (tensor % (rows, 8 * rows)), bytes(8 * rows)


def seconds_to_cut(text: bytes, data: bytes, rows: int) -> float:
    """How long it takes to make all pieces of 32 rows of a request that came in small pieces."""
    whole = text + data
    chunks = [whole[start : start + 4096] for start in range(0, len(whole), 4096)]
    headers = {b"inference-header-content-length": b"%d" % len(text)}
    parsed = CODEC.parse(Content(chunks), headers)
    assert parsed.instances == rows
    started_s = time.process_time()
    for start in range(0, rows, 32):
        CODEC.join([parsed], (start, min(start + 32, rows)))
    return time.process_time() - started_s


@pytest.mark.parametrize("request_of", [numbers_of, nested_of, texts_of, strings_of, blobs_of])
def test_a_request_cut_in_many_pieces_is_looked_at_once(
    request_of: Callable[[int], tuple[bytes, bytes]],
) -> None:
    few, many = 6_000, 60_000
    once_s = seconds_to_cut(*request_of(few), few)
    assert seconds_to_cut(*request_of(many), many) < 25 * once_s + 0.5


@pytest.mark.parametrize("tail", [(), (1,), (20,)])
@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
@pytest.mark.parametrize("datatype", ["BYTES", "INT64"])
@pytest.mark.parametrize("step", [1, -1])
def test_any_rows_can_be_taken_out_in_any_order(
    tail: tuple[int, ...], form: Form, datatype: str, step: int
) -> None:
    size = math.prod(tail)
    numbers = range(3 * size)
    if form != "binary":
        quote = b'"' if datatype == "BYTES" else b""
        elements = [quote + b"%d" % number + quote for number in numbers]
    elif datatype == "BYTES":
        elements = [b"x" * (number % 5) for number in numbers]
    else:
        elements = [struct.pack("<q", number) for number in numbers]
    tensor = Tensor("x", datatype, tail, form, tuple(elements))
    body, headers = write([tensor])
    parsed = CODEC.parse(body, headers)
    for start, stop in [*itertools.combinations(range(4), 2)][:: step]:
        lines, pieces = CODEC.join([parsed], (start, stop))
        _, [cut] = read(b"".join(pieces), json_bytes_of(lines), "inputs")
        assert cut.elements == tensor.cut(start, stop).elements
        assert cut.rows == stop - start


@given(templates(), templates(), st.data())
def test_requests_with_different_tensors_never_share(
    one: Template, other: Template, data: st.DataObject
) -> None:
    draw: Any = data.draw
    first, second = (Member(draw, template, {}, 2).parsed for template in (one, other))
    assert (first.key == second.key) == (one == other)


@FEWER
@given(templates(), st.data(), SHARED, SHARED)
def test_requests_that_ask_for_something_else_never_share(
    template: Template, data: st.DataObject, fields: dict[str, bytes], others: dict[str, bytes]
) -> None:
    draw: Any = data.draw
    first = Member(draw, template, fields, 1).parsed
    second = Member(draw, template, others, 2).parsed
    assert (first.key == second.key) == (fields == others)
