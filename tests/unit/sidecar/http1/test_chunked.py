"""Reading chunked bodies, whatever pieces they come in."""

import time
from typing import Final

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.errors import RefusedError
from batcher_sidecar.http1.chunked import MAX_OVERHEAD_BYTES, ChunkedReader

EXTENSIONS: Final = st.sampled_from([b"", b"", b"", b";a", b";a=b", b'; a="b;c"', b";", b";a=b;c"])
TRAILERS: Final = st.sampled_from(
    [b"X-A: b", b"Content-Length: 5", b"Host:", b"a:\t\xff", b"!#$: x"]
)


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body as it is sent, and what it holds."""
    content = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
    sent = b""
    for chunk in [*content, b""]:
        size = draw(st.sampled_from([b"%x", b"%X", b"%04x", b"%015X"])) % len(chunk)
        sent += size + draw(EXTENSIONS) + b"\r\n" + chunk + (b"\r\n" if chunk else b"")
    sent += b"".join([line + b"\r\n" for line in draw(st.lists(TRAILERS, max_size=2))])
    return sent + b"\r\n", b"".join(content)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """These bytes in pieces."""
    if draw(st.booleans()):
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[i:j] for i, j in zip([0, *places], [*places, len(data)], strict=True)]


def read(feeds: list[bytes]) -> tuple[bytes, bytes | None]:
    """Feed a reader; return the body, and what followed it (None if it did not end)."""
    reader, body = ChunkedReader(), b""
    for at, feed in enumerate(feeds):
        for piece in reader.feed(feed):
            assert piece
            body += piece
        if reader.done:
            return body, reader.leftover + b"".join(feeds[at + 1 :])
    return body, None


def outcome(feeds: list[bytes]) -> object:
    """Return what comes of feeding a reader: a result or the status of a refusal."""
    try:
        return read(feeds)
    except RefusedError as error:
        return error.refusal.status


@given(st.data(), chunked(), st.binary(max_size=10))
def test_the_body_and_what_follows_it_do_not_depend_on_the_pieces(
    data: st.DataObject, made: tuple[bytes, bytes], rest: bytes
) -> None:
    sent, content = made
    assert read(data.draw(cuts(sent + rest))) == (content, rest)
    assert read(data.draw(cuts(sent[:-1])))[1] is None


@given(chunked(), st.binary(max_size=10))
def test_valid_bodies_are_read_as_h11_does(made: tuple[bytes, bytes], rest: bytes) -> None:
    sent, _ = made
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(peer.next_event(), h11.Request)
    peer.receive_data(sent + rest)
    body = b""
    while not isinstance(event := peer.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert (body, peer.trailing_data[0]) == read([sent + rest])


@given(st.data(), chunked())
def test_damaged_bodies_come_to_the_same_in_any_pieces(
    data: st.DataObject, made: tuple[bytes, bytes]
) -> None:
    sent, _ = made
    start = data.draw(st.integers(0, len(sent)))
    stop = data.draw(st.integers(start, min(len(sent), start + 3)))
    snippets = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b";", b"0", b"-", b"g", b"\0"])
    damaged = sent[:start] + data.draw(snippets) + sent[stop:]
    whole = outcome([damaged])
    assert whole in (400, 431) or isinstance(whole, tuple)
    assert outcome(data.draw(cuts(damaged))) == whole


@pytest.mark.parametrize("extension", [b" ;a", b"\t; a\t=\tb", b';a="\xe9"', b";;", b";a="])
def test_extensions_are_passed_over(extension: bytes) -> None:
    assert read([b"1%b\r\na\r\n0%b\r\n\r\n" % (extension, extension)]) == (b"a", b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n",
        b"\n",
        b";a\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"5h\r\n",
        b"5_0\r\n",
        b"\xb25\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5\n\r\n",
        b"5 a\r\n",
        b"5;a\n",
        b"5;a\0\r\n",
        b"5;a\rb\r\n",
        b"5;a\x7f\r\n",
        b"1" * 16 + b"\r\n",
        b"0" * 16 + b"\r\n",
        b"1\r\naX",
        b"1\r\na\n",
        b"1\r\na\rX",
        b"1\r\nab\r\n",
        b"2\r\na\r\n0\r\n\r\n",
        b"0\r\nX-A\r\n",
        b"0\r\n: b\r\n",
        b"0\r\nX A: b\r\n",
        b"0\r\n X-A: b\r\n",
        b"0\r\nX-A : b\r\n",
        b"0\r\nX-A: b\r\n c\r\n",
        b"0\r\nX-A: b\n",
        b"0\r\nX-A: b\0\r\n",
        b"0\r\nX-A: \rb\r\n",
        b"0\r\nX\xff: b\r\n",
        b"0\r\n\n",
        b"0\r\nGET / HTTP/1.1\r\n",
    ],
    ids=repr,
)
def test_malformed_framing_is_refused(sent: bytes) -> None:
    assert outcome([sent]) == 400
    assert outcome([sent[at : at + 1] for at in range(len(sent))]) == 400


def test_nothing_is_refused_before_it_is_wrong() -> None:
    for begun in (
        b"",
        b"5",
        b"5;",
        b"5;a\r",
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhello\r",
        b"0\r\nX",
    ):
        assert outcome([begun]) != 400


def test_what_was_read_before_the_fault_is_given() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"3\r\nabc\r\n2\r\nd") == [b"abc", b"d"]
    with pytest.raises(RefusedError):
        reader.feed(b"eX")


@pytest.mark.parametrize(
    "sent",
    [
        b"5;" + b"a" * 4200 + b"\r\n",
        b"5;" + b"a" * 4200,
        b"0\r\nX-A: " + b"a" * 4200,
        b"0\r\n" + b"X-A: b\r\n" * (MAX_OVERHEAD_BYTES // 8 + 1),
        b"0\r\n" + (b"X-A: " + b"a" * 1000 + b"\r\n") * 17,
        b"".join([b"1;" + b"a" * 1000 + b"\r\nb\r\n"] * 17),
        b"1;a\r\nb\r\n" * (MAX_OVERHEAD_BYTES // 2 + 1),
        b"1;" + b"a" * 4000 + b"\r\nb\r\n0\r\n" + (b"X-A: " + b"a" * 3000 + b"\r\n") * 5,
    ],
    ids=lambda sent: f"{sent[:20]!r} {len(sent)}",
)
def test_extensions_and_trailers_are_limited_together(sent: bytes) -> None:
    assert outcome([sent]) == 431
    assert outcome([sent[at : at + 7] for at in range(0, len(sent), 7)]) == 431


@st.composite
def nearly_too_much(draw: st.DrawFn) -> bytes:
    """A body whose lines come to about what is allowed, each and together."""
    line_bytes = 4096
    about = st.integers(-3, 3)
    sent, left = b"", MAX_OVERHEAD_BYTES + draw(about)
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.sampled_from([b"1", b"01", b"0" * 14 + b"1"]))
        length = min(left, line_bytes - len(size) - 2 + draw(about))
        sent += size + b";" + b"a" * (length - 1) + b"\r\nb\r\n"
        left -= length
    sent += draw(st.sampled_from([b"0", b"0" * 15])) + b"\r\n"
    while left > 4:
        length = min(left, line_bytes + draw(about))
        sent += b"X:" + b"a" * (length - 4) + b"\r\n"
        left -= length
    return sent + b"\r\n"


@given(nearly_too_much(), st.data())
def test_limits_do_not_depend_on_the_pieces(sent: bytes, data: st.DataObject) -> None:
    whole = outcome([sent])
    assert whole in (431, (b"b" * sent.count(b"\r\nb\r\n"), b""))
    assert outcome(data.draw(cuts(sent))) == whole
    assert outcome([sent[:-2], sent[-2:-1], sent[-1:]]) == whole


def test_chunks_themselves_are_not_limited() -> None:
    sent = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    started_s = time.process_time()
    assert read([sent]) == (b"a" * 100_000, b"")
    assert read([sent[at : at + 1000] for at in range(0, len(sent), 1000)])[1] == b""
    assert time.process_time() - started_s < 10


def test_a_large_chunk_is_given_as_it_comes() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"fffffff\r\n") == []
    assert reader.feed(b"a" * 70_000) == [b"a" * 70_000]
    assert not reader.done
