"""Hostile bytes on the data port: what is refused, what is tolerated.

What two parsers may read differently is what smuggles requests past a proxy, so each of these is
refused whole: its status, then nothing more, and not a byte of it at the model server.
"""

from typing import Final

import pytest

from tests.sidecar.kit.client import PREDICT, request
from tests.sidecar.kit.rig import RigFactory

ONE: Final = ("--max-batchsize", "1")
SMUGGLED: Final = request("GET", "/smuggled")
BODY: Final = b'{"instances":[1]}'
FRAMING: Final = frozenset({400})
VERSION: Final = frozenset({400, 505})
CODING: Final = frozenset({400, 501})
TOO_LARGE: Final = frozenset({431})
ROOM: Final = 1 << 20
"""More than any limit on heads, extensions and trailers."""


def get(*lines: bytes, target: bytes = b"/x", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"GET " + target + b" " + version, *lines, b"", b""])


def with_host(*lines: bytes) -> bytes:
    return get(b"Host: test", *lines)


def post(*lines: bytes, body: bytes = b"") -> bytes:
    head = [f"POST {PREDICT} HTTP/1.1".encode(), b"Host: test", *lines, b"", b""]
    return b"\r\n".join(head) + body


def chunks(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def whole(data: bytes, version: bytes = b"HTTP/1.1", *lines: bytes) -> bytes:
    head = [f"POST {PREDICT} ".encode() + version, *lines, b"", b""]
    return b"\r\n".join(head) + data


HOSTS: Final = [
    pytest.param(get(), FRAMING, id="none"),
    pytest.param(get(b"Host: a", b"Host: b"), FRAMING, id="two"),
    pytest.param(get(b"Host: a", b"host: a"), FRAMING, id="twice the same"),
    pytest.param(get(b"Host:"), FRAMING, id="empty"),
    pytest.param(get(b"Host: a b"), FRAMING, id="space"),
    pytest.param(get(b"Host: a/b"), FRAMING, id="slash"),
    pytest.param(get(b"Host: u@a"), FRAMING, id="user"),
    pytest.param(get(b"Host: a?b"), FRAMING, id="query"),
    pytest.param(get(b"Host: a:b"), FRAMING, id="port"),
    pytest.param(get(b"Host: a:1:2"), FRAMING, id="two ports"),
    pytest.param(get(b"Host: [::1"), FRAMING, id="open bracket"),
    pytest.param(get(b"Host: http://a"), FRAMING, id="scheme"),
    pytest.param(get(b"Host: a\xff"), FRAMING, id="not ASCII"),
]
VERSIONS: Final = [
    pytest.param(b"GET /x\r\n\r\n", VERSION, id="0.9"),
    *(
        pytest.param(get(b"Host: a", version=version), VERSION, id=version.decode() or "empty")
        for version in (
            b"HTTP/0.9",
            b"HTTP/1.2",
            b"HTTP/2.0",
            b"HTTP/2",
            b"HTTP/3.0",
            b"HTTP/1.10",
            b"HTTP/1.",
            b"HTTP/01.1",
            b"http/1.1",
            b"HTTP1.1",
            b"ICE/1.0",
            b"RTSP/1.0",
            b"",
        )
    ),
]
REQUEST_LINES: Final = [
    pytest.param(get(b"Host: a", target=b"/a b"), VERSION, id="space in target"),
    pytest.param(b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", VERSION, id="two spaces"),
    pytest.param(b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n", CODING, id="tabs"),
    pytest.param(b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n", CODING, id="space first"),
    pytest.param(get(b"Host: a", target=b"x"), FRAMING, id="no slash"),
    pytest.param(get(b"Host: a", target=b""), VERSION, id="no target"),
    pytest.param(get(b"Host: a", target=b"/a\x00b"), FRAMING, id="NUL in target"),
    pytest.param(get(b"Host: a", target=b"/a\rb"), FRAMING, id="CR in target"),
    pytest.param(get(b"Host: a", target=b"/a\x7fb"), FRAMING, id="DEL in target"),
    pytest.param(b"G\x00T /x HTTP/1.1\r\nHost: a\r\n\r\n", CODING, id="NUL in method"),
    pytest.param(b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", VERSION, id="space after version"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", CODING, id="TLS"),
    pytest.param(b"\x00\x00\x00\r\n\r\n", CODING, id="NULs"),
]
METHODS: Final = [
    pytest.param(b"FOO /x HTTP/1.1\r\nHost: a\r\n\r\n", {501}, id="unknown"),
    pytest.param(b"GETT /x HTTP/1.1\r\nHost: a\r\n\r\n", {501}, id="longer than GET"),
    pytest.param(b"get /x HTTP/1.1\r\nHost: a\r\n\r\n", {501}, id="lower case"),
]
HEADER_LINES: Final = [
    pytest.param(with_host(b"X : a"), FRAMING, id="space before colon"),
    pytest.param(with_host(b"X\t: a"), FRAMING, id="tab before colon"),
    pytest.param(with_host(b"no colon"), FRAMING, id="no colon"),
    pytest.param(with_host(b": a"), FRAMING, id="no name"),
    pytest.param(with_host(b"X(y): a"), FRAMING, id="name"),
    pytest.param(with_host(b"X\xe9: a"), FRAMING, id="name not ASCII"),
    pytest.param(with_host(b"X\x00: a"), FRAMING, id="NUL in name"),
    pytest.param(with_host(b"X: a\x00b"), FRAMING, id="NUL in value"),
    pytest.param(with_host(b"X: a\x01b"), FRAMING, id="control in value"),
    pytest.param(with_host(b"X: a\x7fb"), FRAMING, id="DEL in value"),
    pytest.param(with_host(b"X: a\rb"), FRAMING, id="CR in value"),
    pytest.param(with_host(b"X: a\r\r"), FRAMING, id="CR at end"),
    pytest.param(with_host(b"X: a", b" folded"), FRAMING, id="fold with a space"),
    pytest.param(with_host(b"X: a", b"\tfolded"), FRAMING, id="fold with a tab"),
    pytest.param(get(b" Host: a"), FRAMING, id="space before the first"),
    pytest.param(b"GET /x HTTP/1.1\nHost: a\n\n", FRAMING, id="bare LFs"),
    pytest.param(b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", FRAMING, id="bare LF in head"),
    pytest.param(b"GET /x HTTP/1.1\r\nHost: a\r\n\n", FRAMING, id="bare LF at end"),
    pytest.param(b"GET /x HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", FRAMING, id="bare CR in head"),
]
LENGTHS: Final = [
    *(
        pytest.param(post(b"Content-Length: " + value, body=BODY), FRAMING, id=repr(value)[1:])
        for value in (
            b"",
            b"-1",
            b"+17",
            b"0x11",
            b"1 7",
            b"17,17",
            b"17, 17",
            b"1e1",
            b"17.0",
            b"\xb2",
            b"99999999999999999999999",
            b"18446744073709551633",
        )
    ),
    pytest.param(post(b"Content-Length: 17", b"Content-Length: 17", body=BODY), FRAMING, id="same"),
    pytest.param(post(b"Content-Length: 17", b"Content-Length: 1", body=BODY), FRAMING, id="two"),
    pytest.param(post(b"Content-Length: 1", b"Content-Length: 17", body=BODY), FRAMING, id="owt"),
    pytest.param(post(b"Content-Length : 17", body=BODY), FRAMING, id="space before colon"),
]
CODINGS: Final = [
    pytest.param(
        post(b"Content-Length: 17", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        FRAMING,
        id="CL.TE",
    ),
    pytest.param(
        post(b"Transfer-Encoding: chunked", b"Content-Length: 17", body=b"0\r\n\r\n"),
        FRAMING,
        id="TE.CL",
    ),
    pytest.param(
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n"),
        CODING,
        id="TE.TE",
    ),
    pytest.param(
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        CODING,
        id="twice",
    ),
    *(
        pytest.param(
            post(b"Transfer-Encoding:" + value, body=b"0\r\n\r\n"), CODING, id=repr(value)[1:]
        )
        for value in (
            b"",
            b" gzip",
            b" identity",
            b" gzip, chunked",
            b" chunked, gzip",
            b" chunked, chunked",
            b" chunked,",
            b" xchunked",
            b" chunked;q=1",
            b' "chunked"',
            b" chun ked",
            b"\x0bchunked",
            b" chunked\x00",
            b"\r\n chunked",
        )
    ),
    pytest.param(post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), FRAMING, id="space"),
    pytest.param(
        whole(b"0\r\n\r\n", b"HTTP/1.0", b"Host: a", b"Transfer-Encoding: chunked"),
        FRAMING,
        id="on 1.0",
    ),
]
CHUNKS: Final = [
    *(
        pytest.param(chunks(size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), FRAMING, id=repr(size)[1:])
        for size in (
            b"",
            b"zz",
            b"-11",
            b"+11",
            b"0x11",
            b" 11",
            b"1 1",
            b"11\x00",
            b"FFFFFFFFFFFFFFFFFF",
            b"100000000000000011",
            b"11\x0b",
        )
    ),
    pytest.param(chunks(b"11\r\n" + BODY + b"0\r\n\r\n"), FRAMING, id="no CRLF after data"),
    pytest.param(chunks(b"11\r\n" + BODY + b"xx0\r\n\r\n"), FRAMING, id="other bytes after data"),
    pytest.param(chunks(b"11\n" + BODY + b"\r\n0\r\n\r\n"), FRAMING, id="bare LF after size"),
    pytest.param(chunks(b"11\r\n" + BODY + b"\n0\r\n\r\n"), FRAMING, id="bare LF after data"),
    pytest.param(chunks(b"11;a\n\r\n" + BODY + b"\r\n0\r\n\r\n"), FRAMING, id="LF in extension"),
    pytest.param(chunks(b"11\r\n" + BODY + b"\r\n0\r\nbad trailer\r\n\r\n"), FRAMING, id="trailer"),
]
SIZES: Final = [
    pytest.param(get(b"Host: a", b"X: " + b"x" * ROOM), TOO_LARGE, id="long header"),
    pytest.param(get(b"Host: a", b"x" * ROOM + b": 1"), TOO_LARGE, id="long name"),
    pytest.param(get(b"Host: a", *[b"X: 1"] * (ROOM // 6)), TOO_LARGE, id="many headers"),
    pytest.param(get(b"Host: a", target=b"/" + b"x" * ROOM), {414, 431}, id="long target"),
    pytest.param(b"GET /x HTTP/1.1\r\nX: " + b"x" * ROOM, TOO_LARGE, id="endless header"),
    pytest.param(b"GET /" + b"x" * ROOM, {414, 431}, id="endless target"),
    pytest.param(b"G" * ROOM, {400, 414, 431, 501}, id="endless method"),
    pytest.param(
        chunks(b"11;" + b"x" * ROOM + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
        {400, 413, 431},
        id="long extension",
    ),
    pytest.param(
        chunks(b"1;xxxxxxxxxxxxxx\r\n \r\n" * (ROOM // 21)), {400, 413, 431}, id="many extensions"
    ),
    pytest.param(chunks(b"0" * ROOM + b"11\r\n"), {400, 413, 431}, id="endless size"),
    pytest.param(
        chunks(b"11\r\n" + BODY + b"\r\n0\r\nX: " + b"x" * ROOM), {400, 413, 431}, id="long trailer"
    ),
    pytest.param(
        chunks(b"11\r\n" + BODY + b"\r\n0\r\n" + b"X: 1\r\n" * (ROOM // 6)),
        {400, 413, 431},
        id="many trailers",
    ),
]


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        *HOSTS,
        *VERSIONS,
        *REQUEST_LINES,
        *METHODS,
        *HEADER_LINES,
        *LENGTHS,
        *CODINGS,
        *CHUNKS,
        *SIZES,
    ],
)
async def test_hostile_bytes_are_refused_and_nothing_after_them_is_read(
    make_rig: RigFactory, data: bytes, statuses: frozenset[int]
) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.send(data + SMUGGLED)
    response = await client.response()
    assert response.status in statuses
    assert response.error
    await client.expect_end()
    assert rig.model.calls == []


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    ("data", "statuses"), [*HOSTS[:2], *HEADER_LINES[::4], *CODINGS[:3], *CHUNKS[::6]]
)
async def test_it_makes_no_difference_in_what_pieces_they_come(
    make_rig: RigFactory, data: bytes, statuses: frozenset[int], size: int
) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.connect()
    for at in range(0, len(data), size):
        client.send(data[at : at + size])
        await rig.settle()
        if client.ended:
            break
    assert (await client.response()).status in statuses
    await client.expect_end()
    assert rig.model.calls == []


TOLERATED: Final = [
    pytest.param(b"\r\n" + post(b"Content-Length: 17", body=BODY), id="blank line before"),
    pytest.param(b"\r\n\r\n" + post(b"Content-Length: 17", body=BODY), id="two blank lines before"),
    pytest.param(post(b"content-length:17", body=BODY), id="no space after colon"),
    pytest.param(post(b"Content-Length: \t 17 \t", body=BODY), id="spaces around a value"),
    pytest.param(post(b"Content-Length: 00017", body=BODY), id="leading zeros"),
    pytest.param(post(b"X:", b"Content-Length: 17", body=BODY), id="empty value"),
    pytest.param(post(b"X: \xe9\xff", b"Content-Length: 17", body=BODY), id="not ASCII"),
    pytest.param(post(b"X: a\tb", b"Content-Length: 17", body=BODY), id="tab in a value"),
    pytest.param(post(b"!#$%&'*+-.^_`|~0A: 1", b"Content-Length: 17", body=BODY), id="odd name"),
    pytest.param(chunks(b"11\r\n" + BODY + b"\r\n0\r\n\r\n"), id="chunked"),
    pytest.param(
        post(b"Transfer-Encoding: CHUNKED ", body=b"11\r\n" + BODY + b"\r\n0\r\n\r\n"),
        id="coding in capitals",
    ),
    pytest.param(chunks(b"0011\r\n" + BODY + b"\r\n000\r\n\r\n"), id="zeros before sizes"),
    pytest.param(chunks(b'11;a;b=c;d="e f"\r\n' + BODY + b"\r\n0;x\r\n\r\n"), id="extensions"),
    pytest.param(
        chunks(b"11\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n"), id="trailers"
    ),
    pytest.param(
        chunks(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"), id="tiny chunks"
    ),
    pytest.param(whole(BODY, b"HTTP/1.0", b"Content-Length: 17"), id="1.0 without Host"),
    pytest.param(whole(BODY, b"HTTP/1.1", b"Host: [::1]:80", b"Content-Length: 17"), id="IPv6"),
    pytest.param(
        whole(BODY, b"HTTP/1.1", b"Host: a-b.c_d.example:8080", b"Content-Length: 17"), id="port"
    ),
]


@pytest.mark.parametrize("data", TOLERATED)
async def test_what_is_harmless_is_served(make_rig: RigFactory, data: bytes) -> None:
    rig = await make_rig(*ONE, shared=True)
    client = await rig.send(data)
    assert (await client.response()).predictions == [1]
    [call] = rig.model.calls
    assert call.named("Host") == [f"127.0.0.1:{rig.model.port}"]
    assert call.named("X-Sum") == []
    if b"HTTP/1.0" not in data:
        assert (await client.ask(post(b"Content-Length: 17", body=BODY))).predictions == [1]


async def test_an_absolute_target_is_served(make_rig: RigFactory) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(get(b"Host: test", target=b"http://test/x?y=1"), "GET")
    assert response.status == 200
    [call] = rig.model.calls
    assert call.target.endswith("/x?y=1")


@pytest.mark.parametrize("target", [b"a:80", b"/x", b"/v1/models/m:predict"])
async def test_connect_gets_405(make_rig: RigFactory, target: bytes) -> None:
    rig = await make_rig(*ONE, shared=True)
    response = await rig.ask(b"CONNECT " + target + b" HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert response.status == 405
    assert response.error
    assert rig.model.calls == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "REPORT"])
async def test_registered_methods_pass(make_rig: RigFactory, method: str) -> None:
    rig = await make_rig(*ONE, shared=True)
    assert (await rig.ask(request(method, "/x"), method)).status == 200
    assert rig.model.calls[0].method == method
