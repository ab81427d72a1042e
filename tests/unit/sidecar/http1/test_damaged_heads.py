"""Request heads with faults in them: refused, or read as another implementation reads them."""

from typing import Final

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from batcher_sidecar.errors import RefusedError
from batcher_sidecar.http1 import RequestHead, parse_request_head

SNIPPETS: Final = st.sampled_from(
    [b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\0", b"\x0b", b"\xff", b"\r\n "]
)


@st.composite
def damaged_heads(draw: st.DrawFn) -> bytes:
    """A head of which bytes were lost, put in or replaced; its end stands only at the end."""
    fields = st.sampled_from(
        [
            b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b"X-A: b",
            b"Expect: 100-continue", b"Upgrade: websocket", b"Accept: */*", b"Host: b",
        ]
    )  # fmt: skip
    line = draw(st.sampled_from([b"GET /a?b HTTP/1.1", b"POST /c HTTP/1.1", b"PUT /d HTTP/1.0"]))
    raw = b"\r\n".join([line, b"Host: a", *draw(st.lists(fields, max_size=3))])
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(len(raw), start + 3)))
        snippets = [
            b"",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b":",
            b"\0",
            b"\x0b",
            b"\xff",
            b"\r\n ",
        ]
        snippet = draw(st.sampled_from(snippets) | st.binary(max_size=2))
        raw = raw[:start] + snippet + raw[stop:]
    while b"\r\n\r\n" in raw:
        raw = raw.replace(b"\r\n\r\n", b"\r\n")
    return raw.strip(b"\r\n") + b"\r\n\r\n"


@given(damaged_heads())
@example(b"GET / HTTP/1.1\r\nHost: a\n\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n")
def test_damaged_heads_are_refused_or_read_as_h11_does(raw: bytes) -> None:
    try:
        read = parse_request_head(raw)
    except RefusedError as error:
        assert error.refusal.status in (400, 417, 501, 505)
        return
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(raw)
    try:
        event = peer.next_event()
    except h11.RemoteProtocolError:
        return  # in some places it is stricter than the standard
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (read.method, target_of(read, event.target))
    assert event.http_version == (b"1.1" if read.http11 else b"1.0")
    lengths = [value for name, value in event.headers if name == b"content-length"]
    codings = [value for name, value in event.headers if name == b"transfer-encoding"]
    assert (read.body_bytes is None) == bool(codings)
    if read.body_bytes is not None:
        assert read.body_bytes == int(b"".join(lengths) or b"0")
    assert peer.trailing_data[0] == b""


def target_of(read: RequestHead, target: bytes) -> bytes:
    """Return a read head's target, in absolute form where it came so."""
    if target[:1] in (b"/", b"*"):
        return read.path + read.query
    return target
