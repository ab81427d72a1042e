"""Reading and joining requests of the v1 protocol."""

import contextlib
import functools
import itertools
import re
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.codecs import BadRequest, Bypass
from tests.unit.sidecar.codecs.jsontext import (
    elements_of,
    fields_of,
    render_array,
    render_object,
    spacer,
    strictly,
    tensors,
    values,
)
from tests.unit.sidecar.codecs.v1bytes import CODEC

NAMES: Final = st.sampled_from(
    [b'"parameters"', b'"signature_name"', b'"id"', b'"Instances"', '"é"'.encode(), b'"\\u00e9"']
)
HALF_A_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")

Member = tuple[bytes, list[bytes]]
"""A request's body, and its rows."""


@st.composite
def groups(draw: st.DrawFn, max_members: int = 4) -> tuple[list[Member], dict[str, bytes]]:
    """Requests that differ in their rows alone, and the fields they have in common."""
    others = draw(st.lists(st.tuples(NAMES, values()), max_size=3))
    members = []
    for _ in range(draw(st.integers(1, max_members))):
        rows = draw(st.lists(values(), min_size=1, max_size=4) | tensors())
        fields = list(others)
        space = spacer(draw)
        array = render_array(rows, space)
        fields.insert(draw(st.integers(0, len(others))), (b'"instances"', array))
        body = space() + render_object(fields, space) + space()
        members.append((body, rows))
    return members, dict(fields_of(render_object(others, bytes)))


def join(requests: list[Any], rows: tuple[int, int] | None = None) -> bytes:
    """Make one body of requests, whatever pieces it comes in."""
    return CODEC.join(requests, rows)


def echo(body: bytes) -> bytes:
    """Answer like a model that predicts what it is given."""
    return b'{ "predictions" : %b }' % dict(fields_of(body))["instances"]


def echo_fast(body: bytes) -> bytes:
    """Do the same for a body with no other field."""
    return body.replace(b"instances", b"predictions", 1)


def predictions(answer: bytes) -> list[bytes]:
    """Take the rows out of a caller's answer."""
    return elements_of(dict(fields_of(answer))["predictions"])


@given(groups())
def test_every_caller_gets_its_own_rows_byte_for_byte(
    group: tuple[list[Member], dict[str, bytes]],
) -> None:
    members, others = group
    requests = [CODEC.parse(bytearray(body)) for body, _ in members]
    assert [request.instances for request in requests] == [len(rows) for _, rows in members]
    joined = join(requests)
    fields = dict(fields_of(joined))
    assert elements_of(fields.pop("instances")) == [row for _, rows in members for row in rows]
    assert fields == others
    parts, dropped = CODEC.split(echo(joined), [len(rows) for _, rows in members])
    assert dropped == 0
    for part, (_, rows) in zip(parts, members, strict=True):
        assert predictions(part) == rows


@given(groups(max_members=1), st.integers(1, 5))
def test_pieces_of_one_request_are_reunited_byte_for_byte(
    group: tuple[list[Member], dict[str, bytes]], size: int
) -> None:
    [(body, rows)], others = group
    request = CODEC.parse(body)
    parts: list[Any] = []
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        piece = join([request], (start, stop))
        fields = dict(fields_of(piece))
        assert elements_of(fields.pop("instances")) == rows[start:stop]
        assert fields == others
        parts += CODEC.split(echo(piece), [stop - start], piece=True)[0]
    part, dropped = CODEC.reunite(parts)
    assert dropped == 0
    assert predictions(part) == rows


@given(groups(max_members=1))
def test_who_travels_alone_goes_as_it_came(group: tuple[list[Member], dict[str, bytes]]) -> None:
    [(body, _)], _ = group
    assert join([CODEC.parse(body)]) == body


@given(groups(), st.randoms())
def test_the_order_of_the_other_fields_does_not_matter(
    group: tuple[list[Member], dict[str, bytes]], random: Any
) -> None:
    [(_, rows), *_], others = group
    fields = [(b'"%b"' % name.encode(), value) for name, value in others.items()]
    fields.append((b'"instances"', render_array(rows, bytes)))
    key = CODEC.parse(render_object(fields, bytes)).key
    random.shuffle(fields)
    assert CODEC.parse(render_object(fields, bytes)).key == key


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        (b"", b',"parameters":{}'),
        (b',"parameters":{}', b',"parameters":{ }'),
        (b',"parameters":1', b',"parameters":1.0'),
        (b',"parameters":1', b',"signature_name":1'),
        (b',"parameters":null', b""),
        (b',"id":"a"', b',"id":"b"'),
        (b',"id":"a"', b',"ID":"a"'),
        (b',"id":"a"', b',"id":"\\u0061"'),
        (b',"id":1,"di":2', b',"id":2,"di":1'),
        (b',"id":1,"id":2', b',"id":2,"id":1'),
    ],
)
def test_who_differs_in_another_field_has_another_key(fields: bytes, others: bytes) -> None:
    first, second = (CODEC.parse(b'{"instances":[1]%b}' % rest) for rest in (fields, others))
    assert first.key != second.key


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        (
            b',"parameters":{"a":1},"signature_name":"x"',
            b',"signature_name":"x","parameters":{"a":1}',
        ),
        (b',"id":1', b' , "id" : 1 '),
        (b',"id":1', b',"\\u0069d":1'),
        (b',"id":0,"id":1', b',"id":1'),
    ],
)
def test_who_says_the_same_has_the_same_key(fields: bytes, others: bytes) -> None:
    first, second = (CODEC.parse(b'{"instances":[1]%b}' % rest) for rest in (fields, others))
    assert first.key == second.key


def test_of_fields_given_twice_the_last_one_counts() -> None:
    request = CODEC.parse(b'{"instances":[1],"id":1,"instances":[2,3],"id":2}')
    assert request.instances == 2
    assert join([request, request]) == b'{"instances":[2,3,2,3],"id":2}'


@pytest.mark.parametrize("name", [b"instances", b"\\u0069nstances", b"instance\\u0073"])
def test_names_may_be_escaped(name: bytes) -> None:
    assert CODEC.parse(b'{"%b":[1,2]}' % name).instances == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "can't Unmarshal body"),
        (b" ", "can't Unmarshal body"),
        (b"{", "can't Unmarshal body"),
        (b'{"instances":[1]', "can't Unmarshal body"),
        (b'{"instances":[1]}}', "can't Unmarshal body"),
        (b'{"instances":[1]} {}', "can't Unmarshal body"),
        (b'{"instances":[1,]}', "can't Unmarshal body"),
        (b'{"instances":[1],}', "can't Unmarshal body"),
        (b'{"instances":[01]}', "can't Unmarshal body"),
        (b'{"instances":[+1]}', "can't Unmarshal body"),
        (b'{"instances":[.5]}', "can't Unmarshal body"),
        (b'{"instances":[1.]}', "can't Unmarshal body"),
        (b'{"instances":[0x1]}', "can't Unmarshal body"),
        (b'{"instances":[nan]}', "can't Unmarshal body"),
        (b'{"instances":[True]}', "can't Unmarshal body"),
        (b'{"instances":["a\nb"]}', "can't Unmarshal body"),
        (b'{"instances":["\\x"]}', "can't Unmarshal body"),
        (b"{'instances':[1]}", "can't Unmarshal body"),
        (b"{instances:[1]}", "can't Unmarshal body"),
        (b'{"instances":[1]/**/}', "can't Unmarshal body"),
        (b'{"instances":[1]}\0', "can't Unmarshal body"),
        (b'\xef\xbb\xbf{"instances":[1]}', "can't Unmarshal body"),
        ('{"instances":[1]}'.encode("utf-16"), "UTF-8"),
        (b'{"instances":["\xff"]}', "UTF-8 at byte 15"),
        (b'{"instances":[1],"id":"\xc3"}', "UTF-8"),
        (b'{"instances":["\xed\xa0\x80"]}', "UTF-8"),
        (b'{"instances":["\xc0\xaf"]}', "UTF-8"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'"instances"', "no JSON object"),
        (b"1", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"instances":null}', "is no list"),
        (b'{"instances":{}}', "is no list"),
        (b'{"instances":"[1]"}', "is no list"),
        (b'{"instances":1,"id":1}', "is no list"),
        (b'{"instances":[1],"instances":1}', "is no list"),
        (b'{"instances":[]}', "no instances in the request"),
        (b'{"instances":[ ],"id":1}', "no instances in the request"),
    ],
)
def test_what_is_malformed_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(words)):
        CODEC.parse(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "no_instances"),
        (b'{"id":1}', "no_instances"),
        (b'{"Instances":[1]}', "no_instances"),
        (b'{"inputs":[1]}', "columnar"),
        (b'{"inputs":{"a":[1]},"signature_name":"x"}', "columnar"),
        (b'{"instances":[NaN]}', "nan"),
        (b'{"instances":[[1.0,-Infinity]]}', "nan"),
        (b'{"instances":[1],"id":Infinity}', "nan"),
        (b'{"instances":["\\ud800"]}', "surrogate"),
        (b'{"instances":["\\uDFFF\\uD83D"]}', "surrogate"),
        (b'{"instances":[{"\\ud83da":1}]}', "surrogate"),
        (b'{"instances":[1],"\\ude00":1}', "surrogate"),
        (b'{"instances":[%b1%b]}' % (b"[" * 100_000, b"]" * 100_000), "nesting"),
        (b'{"instances":[%b1%b]}' % (b'{"a":' * 100_000, b"}" * 100_000), "nesting"),
        (b'{"instances":[1],"id":%b%b}' % (b"[" * 100_000, b"]" * 100_000), "nesting"),
        (b'{"instances":%b%b}' % (b"[" * 100_000, b"]" * 100_000), "nesting"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_not_for_batching_is_left_to_the_model_server(body: bytes, reason: str) -> None:
    with pytest.raises(Bypass) as caught:
        CODEC.parse(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_rows_are_batched_as_far_as_the_parser_goes(opening: bytes) -> None:
    row = opening * 500 + b"1" + (b"]" if opening == b"[" else b"}") * 500
    request = CODEC.parse(b'{"instances":[%b]}' % row)
    assert join([request, request]) == b'{"instances":[%b,%b]}' % (row, row)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("leaf", [b"1", b'"a"'])
def test_whatever_the_depth_a_row_is_batched_or_left(opening: bytes, leaf: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for depth in range(500, 1100):
        row = opening * depth + leaf + closing * depth
        for rows in (row, row + b"," + row):
            try:
                CODEC.parse(b'{"instances":[%b]}' % rows)
            except Bypass as bypass:
                assert bypass.reason == "nesting"


def deeper(frames: int, run: Callable[[], object]) -> None:
    """Run from further down the stack, which counts where the parser limits nesting."""
    if frames:
        deeper(frames - 1, run)
    else:
        run()


def test_whatever_the_depth_of_the_stack_rows_are_taken_apart_or_left() -> None:
    for depth in range(880, 1000):
        rows = b",".join([b"[" * depth + b"1" + b"]" * depth] * 100)
        with contextlib.suppress(Bypass):
            request = CODEC.parse(b'{"instances":[%b]}' % rows)
            assert request.instances == 100
            deeper(50, functools.partial(join, [request], (0, 1)))


@pytest.mark.parametrize("row_bytes", [10, 4095, 4096, 4097, 20_000, 70_000])
@pytest.mark.parametrize("counts", [(1, 1), (1, 3), (3, 1, 2)])
def test_rows_of_any_size_are_joined_in_order(row_bytes: int, counts: tuple[int, ...]) -> None:
    numbers = itertools.count()
    members = [
        b",".join([b'"%0*d"' % (row_bytes - 2, next(numbers)) for _ in range(count)])
        for count in counts
    ]
    requests = [CODEC.parse(b'{"instances":[%b],"id":7}' % rows) for rows in members]
    assert join(requests) == b'{"instances":[%b],"id":7}' % b",".join(members)


@pytest.mark.parametrize("row", [b"[1,2]", b"[[1,2]]"])
def test_a_request_sent_in_many_pieces_is_read_once(row: bytes) -> None:
    count, size = 100_000, 100
    request = CODEC.parse(b'{"instances":[%b]}' % b",".join([row] * count))
    started_s = time.process_time()
    parts: list[Any] = []
    for start in range(0, count, size):
        piece = join([request], (start, start + size))
        parts += CODEC.split(echo_fast(piece), [size], piece=True)[0]
    CODEC.reunite(parts)
    assert time.process_time() - started_s < 2


SNIPPETS: Final = [
    b"NaN", b"Infinity", b"-", b",", b"]", b"[", b"{", b"}", b":", b'"', b"\\", b"\\u", b"\\ud800",
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b"\x1f", b"'", b"0", b"1e", b".",
    b"+1", b"tru", b'"instances":[9],', b',"instances":[]', b'"inputs":1,', b"[" * 50, b" ", b"//",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body of which bytes were lost, put in or repeated."""
    [(body, _)], _ = draw(groups(max_members=1))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        stop = draw(st.just(start) | st.integers(start, min(len(body), start + 6)))
        snippet = draw(st.just(b"") | st.sampled_from(SNIPPETS) | st.binary(max_size=3))
        body = body[:start] + snippet + body[stop:]
    return body


@given(damaged())
def test_damaged_bodies_are_judged_as_the_standard_library_does(body: bytes) -> None:
    try:
        parsed = strictly(body)
    except ValueError:
        parsed = None
    instances = parsed.get("instances") if isinstance(parsed, dict) else None
    try:
        request = CODEC.parse(body)
    except BadRequest as error:
        assert str(error)
        assert not (isinstance(instances, list) and instances), "refused although it is valid"
    except Bypass as bypass:
        if bypass.reason == "nan":
            assert parsed is None or HALF_A_PAIR.search(body)
        elif bypass.reason == "surrogate":
            assert HALF_A_PAIR.search(body)
        else:
            assert bypass.reason in ("columnar", "no_instances")
            assert isinstance(parsed, dict)
            assert "instances" not in parsed
    else:
        assert isinstance(instances, list), "accepted although it is not valid"
        assert request.instances == len(instances)
        joined = strictly(join([request, request]))
        assert isinstance(joined, dict)
        assert joined == {**joined, "instances": [*instances, *instances]}
