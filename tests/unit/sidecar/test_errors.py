"""Every refusal of the data port has its status and its words."""

import email.utils
import json
from http import HTTPStatus
from typing import Final

import pytest

from batcher_sidecar.errors import (
    REASONS,
    Refusal,
    RefusedError,
    refusal,
    render,
    render_refusal,
)

DETAILS: Final = {"detail": 'a {b} is "c"', "limit": 3, "limit_s": 1.5, "limit_bytes": 7}
STATUSES: Final = {
    "framing": 400,
    "invalid_body": 400,
    "connect": 405,
    "head_timeout": 408,
    "body_timeout": 408,
    "body_too_large": 413,
    "expectation": 417,
    "queue_full": 429,
    "queue_bytes": 429,
    "head_too_large": 431,
    "trailers_too_large": 431,
    "internal": 500,
    "method": 501,
    "bad_answer": 502,
    "unreachable": 503,
    "deadline": 504,
    "version": 505,
}


def head_of(open_head: bytes) -> tuple[str, dict[str, str]]:
    """Take an open head apart: its first line, and its headers."""
    line, *lines = open_head.decode().removesuffix("\r\n").split("\r\n")
    return line, dict(field.split(": ", 1) for field in lines)


def test_the_table_is_complete() -> None:
    assert set(REASONS) == set(STATUSES)


@pytest.mark.parametrize("reason", STATUSES)
def test_a_refusal_has_its_status_and_says_what_is_wrong(reason: str) -> None:
    refused = refusal(reason, **DETAILS)
    assert (refused.reason, refused.status) == (reason, STATUSES[reason])
    assert len(refused.message) > 10
    assert "{limit" not in refused.message
    assert str(RefusedError(refused)) == refused.message


@pytest.mark.parametrize("reason", STATUSES)
def test_who_may_come_back_is_told_when(reason: str) -> None:
    _, fields = head_of(render_refusal(refusal(reason, **DETAILS))[0])
    if STATUSES[reason] in (429, 503):
        assert int(fields["Retry-After"]) >= 1
    else:
        assert "Retry-After" not in fields


@pytest.mark.parametrize("reason", STATUSES)
def test_a_refusal_is_written_as_json(reason: str) -> None:
    refused = refusal(reason, **DETAILS)
    head, body = render_refusal(refused)
    line, fields = head_of(head)
    assert line == f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}"
    assert fields["Content-Type"] == "application/json"
    assert fields["Content-Length"] == str(len(body))
    assert json.loads(body) == {"error": refused.message}


@pytest.mark.parametrize("detail", ['"', "\\", "{limit}", "%s", "é\u2028", "\r\nX-A: b", "\0"])
def test_no_detail_gets_out_of_its_place(detail: str) -> None:
    head, body = render_refusal(refusal("invalid_body", detail=detail))
    assert json.loads(body) == {"error": detail}
    assert "X-A" not in head_of(head)[1]


def test_limits_are_named_with_their_units() -> None:
    assert "1.5 s" in refusal("deadline", limit_s=1.5).message
    assert "300 s" in refusal("deadline", limit_s=300.0).message
    assert "67108864 bytes" in refusal("body_too_large", limit_bytes=64 * 1024 * 1024).message


def test_an_unknown_reason_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        refusal("whatever")


def test_answers_of_our_own_are_dated_and_may_carry_more() -> None:
    head, body = render(200, b"ok\n", b"X-A: b\r\n", b"text/plain")
    line, fields = head_of(head)
    assert line == "HTTP/1.1 200 OK"
    assert (fields["Content-Type"], fields["Content-Length"], fields["X-A"]) == (
        "text/plain",
        "3",
        "b",
    )
    assert email.utils.parsedate_to_datetime(fields["Date"]).tzinfo is not None
    assert body == b"ok\n"


def test_a_refusal_is_a_value() -> None:
    assert refusal("connect") == refusal("connect")
    assert Refusal("a", 400, "b") != Refusal("a", 400, "c")
