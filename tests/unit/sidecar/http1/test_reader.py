"""Requests one after the other out of one stream of bytes."""

from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.errors import RefusedError
from batcher_sidecar.http1 import MAX_HEAD_BYTES, RequestReader

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET: Final = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"

Message = tuple[bytes, bytes, bytes]
"""Method, target and body."""


def filled(data: bytes) -> RequestReader:
    reader = RequestReader()
    reader.buffer += data
    return reader


def read_all(feeds: list[bytes]) -> tuple[list[Message], bytes]:
    """Feed a reader; return the whole messages, and what is left over."""
    reader = RequestReader()
    messages: list[Message] = []
    begun: tuple[bytes, bytes] | None = None
    body = b""
    for feed in feeds:
        reader.buffer += feed
        while True:
            if begun is None:
                head = reader.read_head()
                if head is None:
                    break
                begun, body = (head.method, head.path + head.query), b""
                if head.has_body:
                    reader.start_body(head)
            if reader.in_body:
                body += b"".join(reader.read_body())
            if reader.in_body:
                break
            messages.append((*begun, body))
            begun = None
    return messages, reader.take_rest()


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Requests on one connection as bytes, and what they say."""
    sent, messages = b"", []
    for _ in range(draw(st.integers(1, 4))):
        method = draw(st.sampled_from([b"GET", b"POST"]))
        target = draw(st.sampled_from([b"/a", b"/a?b", b"/c"]))
        body = draw(st.binary(max_size=20) | st.sampled_from([GET, b"\r\n\r\n", b"0\r\n\r\n"]))
        sent += draw(st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]))
        sent += method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n"
        framing = draw(st.sampled_from(["none", "length", "chunks"]))
        if framing == "none":
            sent, body = sent + b"\r\n", b""
        elif framing == "length":
            sent += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        else:
            sent += b"Transfer-Encoding: chunked\r\n\r\n"
            sent += b"".join([b"1;a\r\n%c\r\n" % byte for byte in body]) + b"0\r\nX: y\r\n\r\n"
        messages.append((method, target, body))
    return sent, messages


@given(streams(), st.data())
def test_messages_do_not_depend_on_the_pieces_they_come_in(
    made: tuple[bytes, list[Message]], data: st.DataObject
) -> None:
    sent, messages = made
    places = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    feeds = [sent[i:j] for i, j in pairwise([0, *places, len(sent)])]
    rest = data.draw(st.sampled_from([b"", GET[:-1], b"G"]))
    expected = (messages, rest)
    assert read_all([*feeds, rest]) == expected
    assert read_all([sent + rest]) == expected
    assert read_all([sent[at : at + 1] for at in range(len(sent))] + [rest]) == expected


def test_no_byte_is_read_further_than_asked_for() -> None:
    reader = filled(GET + b"hello")
    assert reader.read_head() is not None
    assert reader.buffer == b"hello"
    assert reader.take_rest() == b"hello"
    assert reader.buffer == b""


def test_a_head_like_the_one_before_is_the_same_object() -> None:
    reader = filled(GET + GET + GET.replace(b"/a", b"/b") + GET)
    first, second, third, fourth = (reader.read_head() for _ in range(4))
    assert first is second
    assert third is not None
    assert third.path == b"/b"
    assert fourth is not None
    assert fourth.path == b"/a"
    assert reader.read_head() is None


def test_a_longer_head_that_begins_alike_is_another_one() -> None:
    reader = filled(GET + GET[:-2] + b"Content-Length: 5\r\n\r\n")
    reader.read_head()
    second = reader.read_head()
    assert second is not None
    assert second.body_bytes == 5


def test_after_a_refused_head_nothing_is_taken_for_it() -> None:
    bad = b"GET /a HTTP/1.1\r\n\r\n"
    reader = filled(GET)
    assert reader.read_head() is not None
    for _ in range(2):
        reader.buffer += bad
        with pytest.raises(RefusedError):
            reader.read_head()
        reader.take_rest()


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n", b"\n", b"\r\n" * 1000])
def test_empty_lines_before_a_head_are_passed_over(lines: bytes) -> None:
    reader = filled(lines)
    assert reader.read_head() is None
    reader.buffer += GET
    assert reader.read_head() is not None
    reader.buffer += lines + GET
    assert reader.read_head() is not None
    assert reader.buffer == b""


def test_large_heads_pass_up_to_the_limit() -> None:
    sent = GET[:-2] + b"X: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    assert filled(sent).read_head() is not None
    reader = RequestReader()
    for at in range(0, len(sent), 1000):
        assert reader.read_head() is None
        reader.buffer += sent[at : at + 1000]
    assert reader.read_head() is not None


@given(st.integers(-6, 6), st.data())
def test_the_limit_of_a_head_does_not_depend_on_the_pieces(
    more_bytes: int, data: st.DataObject
) -> None:
    start = data.draw(st.sampled_from([b"", b"\r\n"])) + GET[:-2] + b"X: "
    size = MAX_HEAD_BYTES + more_bytes
    sent = start + b"a" * (size - len(start.lstrip()) - 4) + b"\r\n\r\n"
    near_the_end = st.integers(len(sent) - 10, len(sent))
    places = sorted(data.draw(st.lists(near_the_end | st.integers(0, len(sent)), max_size=6)))
    reader, head = RequestReader(), None
    try:
        for start_at, stop in pairwise([0, *places, len(sent)]):
            reader.buffer += sent[start_at:stop]
            head = head or reader.read_head()
    except RefusedError as error:
        assert error.refusal.status == 431
        assert more_bytes > 0
    else:
        assert head is not None
        assert more_bytes <= 0


@pytest.mark.parametrize(
    "sent",
    [
        GET[:-2] + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        GET[:-2] + b"X: " + b"a" * MAX_HEAD_BYTES,
        GET[:-2] + b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 1) + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES,
        b"a" * (MAX_HEAD_BYTES + 1),
    ],
    ids=["whole", "begun", "many lines", "target", "nothing known"],
)
def test_larger_heads_are_refused_whole_or_not(sent: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        filled(sent).read_head()
    assert caught.value.refusal.status == 431
    reader = RequestReader()
    with pytest.raises(RefusedError) as caught:
        for at in range(0, len(sent), 1000):
            reader.buffer += sent[at : at + 1000]
            reader.read_head()
    assert caught.value.refusal.status == 431


def test_a_body_is_taken_whole_if_it_is_there() -> None:
    reader = filled(b"hello, world")
    assert reader.take_whole(13) is None
    assert reader.take_whole(5) == b"hello"
    assert reader.take_whole(7) == b", world"
    assert reader.take_whole(1) is None
    assert reader.buffer == b""


def test_a_body_is_given_as_it_comes() -> None:
    reader = filled(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    head = reader.read_head()
    assert head is not None
    reader.start_body(head)
    assert reader.read_body() == [b"hello"]
    assert reader.in_body
    assert reader.read_body() == []
    assert reader.in_body
    reader.buffer += b"worldGET"
    assert reader.read_body() == [b"world"]
    assert not reader.in_body
    assert reader.buffer == b"GET"


def test_a_fault_in_a_chunked_body_is_told() -> None:
    reader = filled(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx")
    head = reader.read_head()
    assert head is not None
    reader.start_body(head)
    reader.buffer += b"\r\n"
    with pytest.raises(RefusedError) as caught:
        reader.read_body()
    assert caught.value.refusal.status == 400


@pytest.mark.parametrize(
    ("begun", "is_one"),
    [
        (PREFACE, True),
        (PREFACE + b"\0\0\x12", True),
        *[(PREFACE[:size], None) for size in (0, 1, 2, 3, 4, 10, len(PREFACE) - 1)],
        (GET, False),
        (b"G", False),
        (b"POST", False),
        (b"PUT", False),
        (b"PRINT", False),
        (b"\r\n", False),
    ],
)
def test_an_http_2_preface_is_known_by_its_first_bytes(begun: bytes, is_one: bool | None) -> None:
    assert filled(begun).read_preface() is is_one


@pytest.mark.parametrize(
    "begun",
    [b"PRI / HTTP/2.0\r\n", b"PRI * HTTP/1.1\r\n", PREFACE[:-1] + b"X", PREFACE[:16] + b"\n"],
)
def test_a_malformed_preface_is_refused(begun: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        filled(begun).read_preface()
    assert caught.value.refusal.status == 400
