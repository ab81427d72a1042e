"""What a request of the v1 protocol may cost."""

import time
from typing import Any, Final

import pytest

from batcher_sidecar.codecs import BadRequest, Bypass
from tests.unit.sidecar.codecs.jsontext import elements_of, fields_of
from tests.unit.sidecar.codecs.v1bytes import CODEC


def join(requests: list[Any], rows: tuple[int, int] | None = None) -> bytes:
    """Make one body of requests."""
    return CODEC.join(requests, rows)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[%b]}' % b",".join([b"[1]"] * 250_000),
        b'{"instances":[%b]}' % b",".join([b'{"a":""}'] * 110_000),
        b'{"instances":[[%b]]}' % b",".join([b'""'] * 333_000),
        b'{"instances":[[%b]]}' % b",".join([b"[]"] * 333_000),
        b'{"instances":[%b]}' % b",".join([b"[[[]],[[[]]]]"] * 70_000),
        b'{"instances":[{%b}]}' % b",".join([b'"%d":{}' % number for number in range(90_000)]),
        b'{"instances":[%b{%b}%b]}' % (
            b'{"a":' * 14, b",".join([b'"":"[{"'] * 90_000), b"}" * 14,
        ),
        b'{"instances":[%b%b%b]}' % (
            b"[" * 16, b",".join([b"[" * 13 + b"]" * 13] * 35_000), b"]" * 16,
        ),
        b'{"instances":[%b1%b]}' % (b"[" * 16, (b"]" + b" " * 60_000) * 16),
        b'{"instances":[1]%b}' % b"".join([b',"%d":1' % number for number in range(90_000)]),
        b'{"instances":[1],"id":"%b"}' % (b"\\u0000" * 160_000),
        b'{"instances":[%b]}' % (b"9" * 1_000_000),
        b'{%b"instances":[1]}' % (b" " * 1_000_000),
        b'{"instances":[1]%b}' % (b',"instances":[1]' * 60_000),
    ],
    ids=lambda body: str(body[:40]),
)  # fmt: skip
def test_a_megabyte_is_read_in_bounded_time(body: bytes) -> None:
    started_s = time.process_time()
    request = CODEC.parse(body)
    join([request, request])
    assert time.process_time() - started_s < 5


MANY: Final = (1 << 20) + 2
"""Values of which no object is made for each."""
LARGE_ROWS: Final = [b"1", b"-1.5e3", b"[1]", b"[ 1 , 2 ]", b"[[1,2],[3,4],[5,6]]", b"[[1],[2]]"]


@pytest.mark.parametrize("row", LARGE_ROWS)
def test_many_rows_of_numbers_are_batched_without_looking_at_each(row: bytes) -> None:
    count = MANY // (row.count(b",") + 1) + 1
    started_s = time.process_time()
    request = CODEC.parse(b'{ "instances" : [%b],"parameters":{}}' % b",".join([row] * count))
    for start in range(0, count, 512):
        join([request], (start, min(start + 512, count)))
    assert time.process_time() - started_s < 3
    few = CODEC.parse(b'{"instances":[%b,%b],"parameters":{}}' % (row, row))
    assert (request.instances, request.key) == (count, few.key)
    for start, stop in ((0, 2), (count - 1, count), (2, 3), (1, 2)):
        expected = b'{"instances":[%b],"parameters":{}}' % b",".join([row] * (stop - start))
        assert join([request], (start, stop)) == expected
    rows = elements_of(dict(fields_of(join([few, request])))["instances"][:100] + b"1]")
    assert rows[:2] == [row, row]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'"a"', "values"),
        (b"null", "values"),
        (b"true", "values"),
        (b"{}", "values"),
        (b"[]", "values"),
        (b"[1],[1,2]", "values"),
        (b"[[1],2]", "values"),
        (b"[[1],2],[[3]]", "values"),
        (b"1,[2]", "values"),
        (b"[2],1", "values"),
        (b"[" * 20 + b"1" + b"]" * 20, "values"),
        (b"NaN", "nan"),
    ],
)
def test_many_values_of_another_kind_are_left_to_the_model_server(row: bytes, reason: str) -> None:
    with pytest.raises(Bypass) as caught:
        CODEC.parse(b'{"instances":[%b]}' % b",".join([row] * MANY))
    assert caught.value.reason == reason


def test_many_values_elsewhere_are_told_apart_as_few_are() -> None:
    many = b",".join([b"1"] * MANY)
    for body, reason in (
        (b'{"inputs":[%b]}', "columnar"),
        (b'{"own":[%b]}', "no_instances"),
        (b'{"instances":[1],"own":[%b]}', "values"),
    ):
        with pytest.raises(Bypass) as caught:
            CODEC.parse(body % many)
        assert caught.value.reason == reason
    for body in (b"[%b]", b'{"instances":1,"parameters":[%b]}', b'{"instances":[%b]', b"%b"):
        with pytest.raises(BadRequest):
            CODEC.parse(body % many)


def test_keys_are_short_and_differ_all_the_same() -> None:
    keys = set()
    for letter in (b"a", b"b"):
        for length in (10, 100, 1000, 2_000_000):
            long = letter * length
            for fields in (b'"instances":[1],"id":"%b"', b'"instances":[1,1],"parameters":"%b"'):
                keys.add(CODEC.parse(b"{%b}" % (fields % long)).key)
            keys.add(CODEC.parse(b'{"instances":[{"%b":1}]}' % long).key)
            keys.add(CODEC.parse(b'{"instances":[{"%b":1},{"%b":1}],"id":1}' % (long, long)).key)
    assert len(keys) == 32
    assert max(len(repr(key)) for key in keys) < 2200
