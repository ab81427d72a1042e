"""Reading heads, with everything refused that two servers in a row might read differently."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import unquote_to_bytes

import httptools

from batcher_contract.names import HOP_BY_HOP_HEADERS
from batcher_sidecar.errors import RefusedError, refusal

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a request's or an answer's head, with the blank line that ends it."""

Header = tuple[bytes, bytes]

_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+(?::[0-9]*)?"
    rb"|\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?"
)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_OTHER_VERSION: Final = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/(?!1\.[01])[0-9]+(?:\.[0-9]+)?\r\n")
_ABSOLUTE: Final = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)([^#]*)")
_HOP_BY_HOP: Final = frozenset([name.encode() for name in HOP_BY_HOP_HEADERS])
_NO_TOKENS: Final[frozenset[bytes]] = frozenset()


class RequestHead:
    """A request's head, checked.

    ``fields`` maps lower-case names to values (joined where one came several times);
    ``headers`` holds them as they came. ``body_bytes`` is the declared length, None if chunked.
    """

    __slots__ = (
        "body_bytes",
        "connection",
        "expects_continue",
        "fields",
        "headers",
        "http11",
        "keep_alive",
        "method",
        "path",
        "query",
        "upward",
    )

    def __init__(self, method: bytes, target: bytes, *, http11: bool) -> None:
        self.method = method
        self.path, mark, query = target.partition(b"?")
        self.query = mark + query
        self.http11 = http11
        self.headers: list[Header] = []
        self.fields: dict[bytes, bytes] = {}
        self.connection = _NO_TOKENS
        self.body_bytes: int | None = 0
        self.keep_alive = http11
        self.expects_continue = False
        self.upward: tuple[Header, ...] | None = None
        """What ``headers.upward`` found, kept for the next request with the same head."""

    @property
    def has_body(self) -> bool:
        """Tell whether any body follows."""
        return self.body_bytes != 0

    def decoded_path(self) -> bytes:
        """Return the path with percent-encoding resolved."""
        return unquote_to_bytes(self.path) if b"%" in self.path else self.path

    def passes(self, name: bytes) -> bool:
        """Tell whether a header (lower case) may travel beyond this connection."""
        return name not in _HOP_BY_HOP and name not in self.connection


class ResponseHead:
    """The head of a model server's answer, as it came."""

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: list[Header]) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers

    def passing(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return (lower-case name, name, value) of what may travel beyond the connection."""
        named = {
            token.strip().lower()
            for name, value in self.headers
            if name.lower() == b"connection"
            for token in value.split(b",")
        }
        return [
            (lower, name, value)
            for name, value in self.headers
            if (lower := name.lower()) not in _HOP_BY_HOP and lower not in named
        ]


class _Collector:
    """llhttp's callbacks."""

    __slots__ = ("headers", "heads", "target")

    def __init__(self) -> None:
        self.target = b""
        self.heads = 0
        self.headers: list[Header] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.heads += 1


def parse_request_head(raw: bytes) -> RequestHead:
    """Read one whole head, from the method to the blank line.

    Raises:
        RefusedError: 400, 417, 501 or 505, with what is wrong.
    """
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the head of a CONNECT or of an upgrade: whole, and judged by the router
    except httptools.HttpParserInvalidMethodError:
        raise RefusedError(refusal("method")) from None
    except httptools.HttpParserError as error:
        if _OTHER_VERSION.match(raw):
            raise RefusedError(refusal("version")) from None
        raise _framing(str(error)) from None
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise RefusedError(refusal("version"))
    method = parser.get_method()
    if collector.heads != 1 or not raw.startswith(b"%b %b HTTP/1." % (method, collector.target)):
        raise _framing("the request line is malformed")
    target, authority = collector.target, None
    if b"#" in target:
        raise _framing("the target holds a fragment; leave it out")
    if target[:1] != b"/" and method != b"CONNECT":
        target, authority = _origin_form(method, target)
    head = RequestHead(method, target, http11=version == "1.1")
    _read_fields(head, collector.headers)
    if authority is not None:
        _replace_host(head, authority)
    return head


def _origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Return path and authority of an absolute-form target (RFC 9112 section 3.2.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise _framing("the target is neither a path nor an http URL")
    authority, path = match[1], match[2]
    if not _is_host(authority):
        raise _framing("the target's authority is not valid")
    return (path if path[:1] == b"/" else b"/" + path), authority


def _is_host(text: bytes) -> bool:
    """Tell whether this is a host with an optional port (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    literal = match[1]
    if literal is not None:
        try:
            IPv6Address(literal.decode())
        except ValueError:
            return False
    return True


def _replace_host(head: RequestHead, authority: bytes) -> None:
    head.headers = [(n, v) for n, v in head.headers if n.lower() != b"host"]
    head.headers.insert(0, (b"Host", authority))
    head.fields[b"host"] = authority


def _read_fields(head: RequestHead, headers: list[Header]) -> None:
    """Enter headers into the head; check those that framing and routing depend on."""
    fields = head.fields
    for name, raw_value in headers:
        value = raw_value.strip(b" \t")
        lower = name.lower()
        head.headers.append((name, value))
        before = fields.get(lower)
        if before is None:
            fields[lower] = value
        elif lower == b"host" or lower == b"content-length":
            raise _framing(f"{name.decode()} is given twice")
        else:
            fields[lower] = before + (b"; " if lower == b"cookie" else b", ") + value
    host = fields.get(b"host")
    if host is None:
        if head.http11:
            raise _framing("Host is missing")
    elif not _is_host(host):
        raise _framing("Host is not valid")
    length = fields.get(b"content-length")
    if length is not None:
        if _DIGITS.fullmatch(length) is None:
            raise _framing("Content-Length is no number")
        head.body_bytes = int(length)
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise _framing("Transfer-Encoding and Content-Length exclude each other")
        if not head.http11 or coding.lower() != b"chunked":
            raise _framing("the only Transfer-Encoding is `chunked`, and only in HTTP/1.1")
        head.body_bytes = None
    connection = fields.get(b"connection")
    if connection is not None:
        head.connection = frozenset(
            [token.strip().lower() for token in connection.split(b",") if token.strip()]
        )
        if b"close" in head.connection:
            head.keep_alive = False
        elif b"keep-alive" in head.connection:
            head.keep_alive = True
    expect = fields.get(b"expect")
    if expect is not None and head.http11:
        if expect.lower() != b"100-continue":
            raise RefusedError(refusal("expectation"))
        head.expects_continue = True


def _framing(detail: str) -> RefusedError:
    return RefusedError(refusal("framing", detail=detail))
