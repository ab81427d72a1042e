"""Every refusal of the data port in one table: its status, its words, and whether to come back."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec

RETRY_AFTER_S: Final = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the sidecar gives itself. ``reason`` is the label of the metric."""

    reason: str
    status: int
    message: str
    retry_after_s: int | None = None


class RefusedError(Exception):
    """Raised where a request turns out to be refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


# reason: (status, message). Statuses 429 and 503 carry Retry-After.
_TABLE: Final[dict[str, tuple[int, str]]] = {
    "framing": (400, "not a valid HTTP/1.1 request: {detail}"),
    "invalid_body": (400, "{detail}"),
    "connect": (405, "CONNECT is not served here; send requests to the model's path"),
    "head_timeout": (
        408,
        "the request's head was not complete {limit_s:g} s after its first byte; send it at once",
    ),
    "body_timeout": (
        408,
        "the request's body stood still for {limit_s:g} s or took too long; send it without pauses",
    ),
    "body_too_large": (
        413,
        (
            "the body exceeds {limit_bytes} bytes (--max-body-bytes); send fewer instances at a "
            "time or raise the limit"
        ),
    ),
    "expectation": (417, "unknown Expect; only `100-continue` is served"),
    "queue_full": (
        429,
        "{limit} requests are waiting already (--max-queue-size); retry after a pause",
    ),
    "queue_bytes": (
        429,
        (
            "waiting requests and answers hold too much of {limit_bytes} bytes "
            "(--max-queue-bytes); retry after a pause"
        ),
    ),
    "head_too_large": (
        431,
        "the request's head exceeds {limit_bytes} bytes; send fewer or shorter headers",
    ),
    "trailers_too_large": (
        431,
        "chunk extensions or trailers exceed {limit_bytes} bytes; leave them out",
    ),
    "internal": (500, "the sidecar failed at this request; its log has the details"),
    "method": (501, "unknown method; use a registered HTTP method"),
    "bad_answer": (502, "no usable answer from the model server: {detail}; see its log"),
    "unreachable": (
        503,
        "the model server cannot be reached ({detail}); retry, and check that it runs and listens",
    ),
    "deadline": (
        504,
        (
            "no answer from the model server within {limit_s:g} s (--timeout); retry, or raise the "
            "limit if the model needs longer"
        ),
    ),
    "version": (505, "only HTTP/1.0 and HTTP/1.1 are served"),
}

REASONS: Final = tuple(_TABLE)


def refusal(reason: str, **details: object) -> Refusal:
    """Make the refusal of that name, with the details its words want."""
    status, message = _TABLE[reason]
    retry_after_s = RETRY_AFTER_S if status in (429, 503) else None
    return Refusal(reason, status, message.format(**details), retry_after_s)


def render(
    status: int, body: bytes, extra: bytes = b"", content_type: bytes = b"application/json"
) -> tuple[bytes, bytes]:
    """Return head (open: without its blank line) and body of an answer of our own."""
    head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nDate: %b\r\n%b" % (
        status,
        HTTPStatus(status).phrase.encode(),
        content_type,
        len(body),
        formatdate(usegmt=True).encode(),
        extra,
    )
    return head, body


def render_refusal(refused: Refusal) -> tuple[bytes, bytes]:
    """Return head (open) and body ``{"error": "…"}`` of a refusal."""
    extra = b""
    if refused.retry_after_s is not None:
        extra = b"Retry-After: %d\r\n" % refused.retry_after_s
    return render(refused.status, msgspec.json.encode({"error": refused.message}), extra)
