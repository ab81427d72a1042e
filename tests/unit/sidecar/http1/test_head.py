"""Reading request heads: what is refused, because two servers might read it differently."""

from typing import Final

import pytest

from batcher_sidecar.errors import RefusedError
from batcher_sidecar.http1 import parse_request_head

HOST: Final = b"Host: model.example\r\n"


def head(line: bytes = b"GET / HTTP/1.1", fields: bytes = HOST) -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def get(*fields: bytes, host: bytes = HOST) -> bytes:
    return head(fields=host + b"".join([field + b"\r\n" for field in fields]))


def post(*fields: bytes, version: bytes = b"1.1") -> bytes:
    fields_of_head = HOST + b"".join([field + b"\r\n" for field in fields])
    return head(b"POST /v1/models/m:predict HTTP/" + version, fields_of_head)


def refused(raw: bytes) -> int:
    """Return the status with which a head is refused."""
    with pytest.raises(RefusedError) as caught:
        parse_request_head(raw)
    assert caught.value.refusal.message
    return caught.value.refusal.status


def show(raw: object) -> str:
    return str(raw)[:80]


@pytest.mark.parametrize(
    "raw",
    [
        get(host=b""),
        get(host=b"Host:\r\n"),
        get(host=b"Host: \t\r\n"),
        get(host=HOST + HOST),
        get(host=HOST + b"hOST: other\r\n"),
        get(host=b"Host: a b\r\n"),
        get(host=b"Host: a/b\r\n"),
        get(host=b"Host: a?b\r\n"),
        get(host=b"Host: a#b\r\n"),
        get(host=b"Host: a@b\r\n"),
        get(host=b"Host: a:b\r\n"),
        get(host=b"Host: a:1:2\r\n"),
        get(host=b"Host: :80\r\n"),
        get(host=b"Host: [::1\r\n"),
        get(host=b"Host: ::1\r\n"),
        get(host=b"Host: [g]\r\n"),
        get(host=b"Host: [a]\r\n"),
        get(host=b"Host: [:]\r\n"),
        get(host=b"Host: [1.2.3.4]\r\n"),
        get(host=b"Host: [::1::]\r\n"),
        get(host=b"Host: [1:2:3:4:5:6:7]\r\n"),
        get(host=b"Host: [1:2:3:4:5:6:7:8:9]\r\n"),
        get(host=b"Host: [::12345]\r\n"),
        get(host=b"Host: [::1.2.3]\r\n"),
        get(host=b"Host: [::256.1.1.1]\r\n"),
        get(host=b"Host: [fe80::1%25eth0]\r\n"),
        get(host=b"Host: [::1]a\r\n"),
        get(host=b"Host: http://a\r\n"),
        get(host=b"Host: a%zz\r\n"),
        get(host=b"Host: a\xff\r\n"),
        head(b"GET / HTTP/1.0", HOST + HOST),
    ],
    ids=show,
)
def test_exactly_one_valid_host_is_demanded(raw: bytes) -> None:
    assert refused(raw) == 400


@pytest.mark.parametrize(
    "host",
    [
        b"a", b"a.b-c_d~e", b"a:80", b"a:", b"127.0.0.1:9081", b"[::1]", b"[::ffff:1.2.3.4]:80",
        b"[::]", b"[::]:", b"[1:2:3:4:5:6:7:8]:9081", b"[FE80::abcd]", b"[0001:0:0:0:0:0:0:1]",
        b"a%20b",
    ],
)  # fmt: skip
def test_valid_hosts_pass(host: bytes) -> None:
    read = parse_request_head(get(host=b"Host: %b \r\n" % host))
    assert read.fields[b"host"] == host


def test_before_http_1_1_no_host_is_needed() -> None:
    assert b"host" not in parse_request_head(head(b"GET / HTTP/1.0", b"")).fields


@pytest.mark.parametrize(
    "version",
    [
        b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/1.", b"HTTP/1", b"HTTP/11", b"HTTP/01.1",
        b"HTTP/2.0", b"HTTP/2", b"HTTP/3.0", b"http/1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1.1 ",
        b"HTTP/1.1\t", b"HTTP/1,1", b"HTTP/-1.1", b"ICE/1.0", b"RTSP/1.0", b"XTTP/1.1", b"", b"/",
    ],
)  # fmt: skip
def test_only_two_versions_are_served(version: bytes) -> None:
    assert refused(head(b"GET / " + version)) in (400, 505)


@pytest.mark.parametrize(
    "line",
    [b"GET /", b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"M-SEARCH / HTTP/2.0", b"GET / HTTP/3.0"],
)
def test_another_known_version_is_named_as_the_cause(line: bytes) -> None:
    assert refused(head(line)) == 505


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1", b"GET / a HTTP/1.1",
        b"GET /\tHTTP/1.1", b"GET HTTP/1.1", b"GET a HTTP/1.1", b"GET ?a HTTP/1.1",
        b"GET * HTTP/1.1", b"POST * HTTP/1.1", b"GET a:80 HTTP/1.1", b"GET http:/a HTTP/1.1",
        b"GET http:///a HTTP/1.1", b"GET http://u@a/ HTTP/1.1", b"GET http://a:b/ HTTP/1.1",
        b"GET http://[::1/ HTTP/1.1", b"GET ftp://a/ HTTP/1.1", b"GET file:///a HTTP/1.1",
        b"GET http://a/#b HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET /# HTTP/1.1",
        b"GET /a?b#c HTTP/1.1", b"GET http://[a]/ HTTP/1.1", b"GET http://a#b HTTP/1.1",
        b"GET /\0 HTTP/1.1", b"GET /\x7f HTTP/1.1",
        b"GET /\xff HTTP/1.1", b"GET /\x01 HTTP/1.1", b"DESCRIBE rtsp://a/ RTSP/1.0",
        b"GET / RTSP/1.0", b"SOURCE / ICE/1.0",
    ],
)  # fmt: skip
def test_request_lines_are_strict(line: bytes) -> None:
    assert refused(head(line)) in (400, 501)


@pytest.mark.parametrize(
    "line",
    [
        b"get / HTTP/1.1", b"Get / HTTP/1.1", b"GETT / HTTP/1.1", b"G / HTTP/1.1",
        b"GET\t/ HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"{}", b"/ HTTP/1.1",
    ],
)  # fmt: skip
def test_unknown_methods_are_refused(line: bytes) -> None:
    assert refused(head(line)) in (400, 501)


def test_an_unknown_method_is_named_as_the_cause() -> None:
    assert refused(head(b"BREW / HTTP/1.1")) == 501


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
)
def test_registered_methods_are_read(method: str) -> None:
    assert parse_request_head(head(f"{method} /a HTTP/1.1".encode())).method == method.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\n\nGET /b HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\nX: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\n\r\nX: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\r\nX: b\r\n\r\n",
        get(b"X: a\r\n b"),
        get(b"X: a\r\n\tb"),
        get(b"X:\r\n b"),
        get(host=b" Host: a\r\n"),
        get(host=b"Host : a\r\n"),
        get(host=b"Host\t: a\r\n"),
        get(b"X"),
        get(b": a"),
        get(b"X y: a"),
        get(b"X\xff: a"),
        get(b"X(: a"),
        get(b"X\0: a"),
        get(b"X: a\0b"),
        get(b"X: a\x01b"),
        get(b"X: a\x0bb"),
        get(b"X: a\x7fb"),
    ],
    ids=show,
)
def test_header_lines_are_strict(raw: bytes) -> None:
    assert refused(raw) == 400


@pytest.mark.parametrize(
    "length",
    [
        b"", b"+5", b"-5", b"5 5", b"5,5", b"5, 5", b"5;", b"0x5", b"5.0", b"1e1", b"five", b'"5"',
        b"\xb2", b"9" * 19, b"18446744073709551621", b"5\x0b",
    ],
)  # fmt: skip
def test_a_content_length_is_digits(length: bytes) -> None:
    assert refused(post(b"Content-Length: " + length)) == 400


def test_a_content_length_stands_once() -> None:
    assert refused(post(b"Content-Length: 5", b"Content-Length: 5")) == 400
    assert refused(post(b"Content-Length: 5", b"content-length: 6")) == 400


@pytest.mark.parametrize(
    "coding",
    [
        b"", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity",
        b"chunked, identity", b"identity, chunked", b",chunked", b"chunked,", b"chunked;a=b",
        b"xchunked", b"chunkedx", b'"chunked"', b"\x0bchunked", b"\xa0chunked", b"chunked\x0b",
        b"chun ked",
    ],
)  # fmt: skip
def test_the_only_transfer_encoding_is_chunked(coding: bytes) -> None:
    assert refused(post(b"Transfer-Encoding: " + coding)) in (400, 501)


@pytest.mark.parametrize(
    "raw",
    [
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
        post(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        post(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        post(b"Transfer-Encoding: chunked", version=b"1.0"),
    ],
    ids=show,
)
def test_a_body_has_one_framing(raw: bytes) -> None:
    assert refused(raw) == 400


@pytest.mark.parametrize(
    ("raw", "body_bytes"),
    [
        (post(), 0),
        (get(), 0),
        (post(b"Content-Length: 0"), 0),
        (post(b"Content-Length: 5"), 5),
        (post(b"content-length:5"), 5),
        (post(b"Content-Length: \t 5 "), 5),
        (post(b"Content-Length: 5", version=b"1.0"), 5),
        (get(b"Content-Length: 5"), 5),
        (post(b"Content-Length: " + b"9" * 18), 10**18 - 1),
        (post(b"Transfer-Encoding: chunked"), None),
        (post(b"transfer-encoding:CHUNKED"), None),
        (get(b"Transfer-Encoding: chunked"), None),
        (get(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5"), 5),
    ],
    ids=show,
)
def test_the_length_of_the_body(raw: bytes, body_bytes: int | None) -> None:
    read = parse_request_head(raw)
    assert read.body_bytes == body_bytes
    assert read.has_body == (body_bytes != 0)


@pytest.mark.parametrize("expect", [b"", b"x", b"100-continue, x", b"200-ok", b"100"])
def test_unknown_expectations_are_refused(expect: bytes) -> None:
    assert refused(post(b"Expect: " + expect)) == 417


def test_an_expectation_counts_from_http_1_1_on() -> None:
    assert parse_request_head(post(b"Expect: 100-continue")).expects_continue
    assert parse_request_head(post(b"expect: 100-Continue")).expects_continue
    assert not parse_request_head(post()).expects_continue
    assert not parse_request_head(post(b"Expect: x", version=b"1.0")).expects_continue


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: CLOSE"], False),
        (b"1.1", [b"Connection: x, close"], False),
        (b"1.1", [b"Connection: x", b"Connection: close"], False),
        (b"1.1", [b"Connection: close, keep-alive"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: Keep-Alive, x"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_who_keeps_the_connection(version: bytes, fields: list[bytes], keep_alive: bool) -> None:
    assert parse_request_head(post(*fields, version=version)).keep_alive == keep_alive


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"/a/b:predict", b"/a/b:predict", b"", b"model.example"),
        (b"/a?b=/c?d", b"/a", b"?b=/c?d", b"model.example"),
        (b"/a?", b"/a", b"?", b"model.example"),
        (b"//a", b"//a", b"", b"model.example"),
        (b"http://other/a?b", b"/a", b"?b", b"other"),
        (b"HTTP://other:80", b"/", b"", b"other:80"),
        (b"https://[::1]:443?b", b"/", b"?b", b"[::1]:443"),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes, host: bytes) -> None:
    read = parse_request_head(head(b"GET " + target + b" HTTP/1.1"))
    assert (read.path, read.query) == (path, query)
    assert [value for name, value in read.headers if name.lower() == b"host"] == [host]
    assert read.fields[b"host"] == host


def test_the_server_as_a_whole_may_be_asked_for_options() -> None:
    assert parse_request_head(head(b"OPTIONS * HTTP/1.1")).path == b"*"


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        (b"/a", b"/a"),
        (b"/m%3apredict", b"/m:predict"),
        (b"/%C3%A9%2F", b"/\xc3\xa9/"),
        (b"/%zz%4", b"/%zz%4"),
        (b"/%253A", b"/%3A"),
        (b"/a+b", b"/a+b"),
    ],
)
def test_percent_encoding_is_resolved_once(path: bytes, decoded: bytes) -> None:
    read = parse_request_head(head(b"GET " + path + b" HTTP/1.1"))
    assert read.path == path
    assert read.decoded_path() == decoded


def test_headers_stay_as_they_came_and_values_are_joined() -> None:
    read = parse_request_head(get(b"X-A: 1", b"x-b:\t2 ", b"x-a:", b"X-a: 3, 4"))
    assert read.headers[1:] == [(b"X-A", b"1"), (b"x-b", b"2"), (b"x-a", b""), (b"X-a", b"3, 4")]
    assert read.fields[b"x-a"] == b"1, , 3, 4"
    assert read.fields[b"x-b"] == b"2"


def test_who_may_travel_on() -> None:
    read = parse_request_head(get(b"Connection: X-Mine, , keep-alive", b"X-Mine: 1", b"X-Other: 1"))
    assert read.connection == {b"x-mine", b"keep-alive"}
    assert not read.passes(b"x-mine")
    assert read.passes(b"x-other")
    for name in (b"connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"keep-alive"):
        assert not read.passes(name)
