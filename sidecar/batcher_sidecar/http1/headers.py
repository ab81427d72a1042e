"""Which headers travel up to the model server and down to the clients (rule 10). Pure functions."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from batcher_contract.names import (
    BATCH_ID_HEADER,
    BATCH_SIZE_HEADER,
    BYPASS_HEADER,
    PROBE_HEADER,
)
from batcher_sidecar.codecs.base import INFERENCE_HEADER_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher_sidecar.http1.head import RequestHead, ResponseHead

Field = tuple[bytes, bytes]
"""Lower-case name, and all its values joined."""

# The codec's, the connection's, or ours.
_NOT_UP: Final = frozenset(
    [
        b"host",
        b"content-type",
        b"content-length",
        b"accept-encoding",
        b"expect",
        INFERENCE_HEADER_LENGTH,
        BYPASS_HEADER.lower().encode(),
        PROBE_HEADER.lower().encode(),
    ]
)
_SAMPLED: Final = tuple([b"%x" % flags for flags in range(1, 16, 2)])  # the lowest bit is set
_TRACE: Final = frozenset([b"traceparent", b"tracestate"])
_OURS_DOWN: Final = frozenset(
    [b"content-length", BATCH_ID_HEADER.lower().encode(), BATCH_SIZE_HEADER.lower().encode()]
)
_OF_THE_CODEC: Final = frozenset([b"content-type", INFERENCE_HEADER_LENGTH])
_DIGESTS: Final = frozenset([b"content-md5", b"digest", b"content-digest", b"repr-digest"])
# True of the model server's body only, which its members do not get.
_OF_THE_BODY: Final = _DIGESTS | {b"etag", b"last-modified", b"content-range", b"accept-ranges"}


def upward(head: RequestHead) -> tuple[Field, ...]:
    """Return the headers that a batch candidate would have go up."""
    if head.upward is None:
        head.upward = tuple(
            [
                field
                for field in head.fields.items()
                if field[0] not in _NOT_UP and head.passes(field[0])
            ]
        )
    return head.upward


def merge_upward(members: Sequence[tuple[Field, ...]], *, whole: bool) -> list[Field]:
    """Return the headers that go up for a batch: those that every member sent alike.

    Digests go up only with the body that they were made of: ``whole``, that of a lone member.
    Where members are traced differently the batch gets a trace of its own.
    """
    first = members[0]
    if members.count(first) == len(members):
        return [field for field in first if whole or field[0] not in _DIGESTS]
    agreed = set(first).intersection(*members[1:])
    merged = [field for field in first if field in agreed and field[0] not in _DIGESTS]
    if b"traceparent" in {name for name, _ in merged}:
        return merged
    traces = [value for member in members for name, value in member if name == b"traceparent"]
    merged = [field for field in merged if field[0] not in _TRACE]
    if traces:
        sampled = any(trace.endswith(_SAMPLED) for trace in traces)
        merged.append((b"traceparent", _new_traceparent(sampled=sampled)))
    return merged


def _new_traceparent(*, sampled: bool) -> bytes:
    """Make the header of a new trace (W3C Trace Context section 3.2)."""
    ids = f"{secrets.token_hex(16)}-{secrets.token_hex(8)}"
    return f"00-{ids}-{'01' if sampled else '00'}".encode()


def batch_head(
    target: bytes, fields: Sequence[Field], host: bytes, own_lines: bytes, body_bytes: int
) -> bytes:
    """Make the head of a batch's call to the model server; ``own_lines`` are the codec's."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    return (
        b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n"
        b"Accept-Encoding: identity\r\n%b\r\n" % (target, host, own_lines, body_bytes, lines)
    )


def forward_head(
    head: RequestHead, host: bytes, *, upgrade: bool, body_bytes: int | None = None
) -> bytes:
    """Make the head of a forwarded request: as it came, but for what concerns one connection.

    ``body_bytes`` is given where a body that came in chunks goes up whole.
    """
    lines = [b"%b %b%b HTTP/1.1\r\n" % (head.method, head.path, head.query)]
    if b"host" not in head.fields:
        lines.append(b"Host: %b\r\n" % host)
    lines += [
        b"%b: %b\r\n" % (name, value)
        for name, value in head.headers
        if (lower := name.lower()) != b"expect" and head.passes(lower)
    ]
    if body_bytes is not None:
        lines.append(b"Content-Length: %d\r\n" % body_bytes)
    elif head.body_bytes is None:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.fields[b"upgrade"])
    lines.append(b"\r\n")
    return b"".join(lines)


def downward_batch(head: ResponseHead, *, shared: bool) -> bytes:
    """Return the header lines of the model server that members of an answered batch get."""
    return b"".join(
        [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in head.passing()
            if lower not in _OF_THE_CODEC
            and lower not in _OURS_DOWN
            and lower not in _OF_THE_BODY
            and not (shared and lower == b"set-cookie")
        ]
    )


def downward_failure(head: ResponseHead, *, shared: bool) -> bytes:
    """Return the header lines of a failure that goes to its members as the model server gave it."""
    return b"".join(
        [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in head.passing()
            if lower not in _OURS_DOWN
            and not (shared and (lower == b"set-cookie" or lower in _OF_THE_BODY))
        ]
    )


def downward_forward(head: ResponseHead, *, framing: bytes) -> bytes:
    """Make the open head of a forwarded answer; ``framing`` is a whole header line or empty."""
    lines = b"".join(
        [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in head.passing()
            if lower != b"content-length"
        ]
    )
    return b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, lines, framing)
