"""Which headers travel up to the model server and down to the clients (rule 10)."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract.names import HOP_BY_HOP_HEADERS
from batcher_sidecar.http1 import RequestHead, ResponseHead, parse_request_head
from batcher_sidecar.http1.headers import (
    batch_head,
    downward_batch,
    downward_failure,
    downward_forward,
    forward_head,
    merge_upward,
    upward,
)

Fields = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = sorted(name.encode() for name in HOP_BY_HOP_HEADERS)
OURS_UP: Final = {
    b"host", b"content-type", b"content-length", b"accept-encoding", b"expect",
    b"inference-header-content-length",
    b"x-batch-bypass", b"k-network-probe",
}  # fmt: skip
OF_THE_BODY: Final = {
    b"etag", b"last-modified", b"content-md5", b"digest", b"content-digest", b"repr-digest",
    b"content-range", b"accept-ranges",
}  # fmt: skip
OF_THE_CODEC: Final = {b"content-type", b"inference-header-content-length"}
OURS_DOWN: Final = {b"content-length", b"x-batch-id", b"x-batch-size"}
TRACE: Final = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE: Final = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
ANY_CASE: Final = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
VALUES: Final = st.sampled_from([b"", b"a", b"b", b"a, b", b'"c\xe9"', b"Bearer x"])


def names(*more: bytes) -> st.SearchStrategy[bytes]:
    """Names of headers that travel, and of others; in any case."""
    passing = [b"x-a", b"x-b", b"authorization", b"accept", b"cookie", b"user-agent", *more]
    hop = [name for name in HOP_BY_HOP if name not in (b"connection", b"transfer-encoding")]
    name = st.sampled_from([*passing, *hop])
    return st.builds(lambda cased, text: cased(text), ANY_CASE, name)


@st.composite
def request_fields(draw: st.DrawFn) -> Fields:
    """The headers of a request; Connection may name some of them."""
    fields = draw(
        st.lists(
            st.tuples(names(b"x-batch-bypass", b"k-network-probe", b"accept-encoding"), VALUES)
        )
    )
    named = draw(st.lists(st.sampled_from([b"X-A", b"cookie", b"close", b"x-none"]), max_size=2))
    if named:
        fields.insert(0, (b"Connection", b", ".join(named)))
    return fields


def request(fields: Fields, line: bytes = b"POST /v1/models/m:predict?q HTTP/1.1") -> RequestHead:
    """Return the head of a request with these headers beside Host and Content-Length."""
    lines = [b"%b: %b\r\n" % field for field in [(b"Host", b"here"), *fields]]
    return parse_request_head(line + b"\r\n" + b"".join(lines) + b"Content-Length: 5\r\n\r\n")


def joined(fields: Fields) -> dict[bytes, bytes]:
    """Return lower-case names with all their values."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return {
        name: (b"; " if name == b"cookie" else b", ").join(values) for name, values in found.items()
    }


def named_by_connection(fields: Fields) -> set[bytes]:
    """Return the names that Connection gives."""
    return {name.strip().lower() for name in joined(fields).get(b"connection", b"").split(b",")}


def lines_of(raw: bytes) -> Fields:
    """Take header lines apart."""
    fields = []
    for line in raw.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        fields.append((name, value))
    return fields


@given(request_fields())
def test_up_goes_what_concerns_neither_the_connection_nor_the_codec(fields: Fields) -> None:
    stopped = named_by_connection(fields) | OURS_UP | set(HOP_BY_HOP)
    head = request(fields)
    expected = {name: value for name, value in joined(fields).items() if name not in stopped}
    assert dict(upward(head)) == expected
    assert len(upward(head)) == len(expected)
    assert upward(head) == upward(head)


MEMBER: Final = st.dictionaries(st.sampled_from([b"x-a", b"x-b", b"x-c", b"cookie"]), VALUES)
MEMBERS: Final = st.lists(MEMBER, min_size=1, max_size=4)


@given(MEMBERS)
def test_a_header_goes_up_if_every_member_sent_the_same(members: list[dict[bytes, bytes]]) -> None:
    merged = merge_upward([tuple(member.items()) for member in members], whole=False)
    agreed = {
        name: value
        for name, value in members[0].items()
        if all(member.get(name) == value for member in members)
    }
    assert dict(merged) == agreed
    assert len(merged) == len(agreed)


@pytest.mark.parametrize("name", [b"content-md5", b"digest", b"content-digest", b"repr-digest"])
def test_a_digest_goes_up_with_the_body_it_was_made_of_alone(name: bytes) -> None:
    member = ((b"x-a", b"1"), (name, b"of one body"))
    other = (*member, (b"x-b", b"2"))
    assert merge_upward([member], whole=True) == list(member)
    assert merge_upward([member], whole=False) == [(b"x-a", b"1")]
    assert merge_upward([member, member], whole=False) == [(b"x-a", b"1")]
    assert merge_upward([member, other], whole=False) == [(b"x-a", b"1")]


def test_a_credential_never_serves_somebody_elses_rows() -> None:
    members = [((b"authorization", b"Bearer a"),), ((b"authorization", b"Bearer b"),), ()]
    for pair in ([0, 1], [0, 2], [2, 0]):
        assert merge_upward([members[index] for index in pair], whole=False) == []


def test_members_of_one_trace_stay_in_it() -> None:
    member = ((b"traceparent", TRACE), (b"tracestate", b"a=b"), (b"x-a", b"1"))
    assert merge_upward([member], whole=True) == list(member)
    assert merge_upward([member, member], whole=False) == list(member)


@pytest.mark.parametrize(
    ("traces", "sampled"),
    [
        ([TRACE, OTHER_TRACE], True),
        ([OTHER_TRACE, OTHER_TRACE[:-5] + b"00-00"], False),
        ([TRACE, None], True),
        ([None, OTHER_TRACE], False),
    ],
)
def test_members_of_several_traces_get_one_of_their_own(
    traces: list[bytes | None], sampled: bool
) -> None:
    members = [
        ((b"x-a", b"1"), (b"tracestate", b"a=b"))
        + (((b"traceparent", trace),) if trace is not None else ())
        for trace in traces
    ]
    merged = dict(merge_upward(members, whole=False))
    trace = merged.pop(b"traceparent")
    assert merged == {b"x-a": b"1"}
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace)
    assert trace not in traces
    assert trace.endswith(b"-01") == sampled


def test_untraced_members_get_no_trace() -> None:
    assert merge_upward([((b"x-a", b"1"),), ((b"x-a", b"2"),)], whole=False) == []


OWN_LINES = b"Content-Type: application/json\r\nInference-Header-Content-Length: 9\r\n"


@given(request_fields())
def test_the_head_of_a_batch_says_what_is_ours(fields: Fields) -> None:
    up = list(upward(request(fields)))
    raw = batch_head(b"/v1/models/m:predict?q", up, b"model:8080", OWN_LINES, 17)
    head = parse_request_head(raw)
    assert (head.method, head.path, head.query) == (b"POST", b"/v1/models/m:predict", b"?q")
    assert head.body_bytes == 17
    assert head.fields[b"host"] == b"model:8080"
    assert head.fields[b"content-type"] == b"application/json"
    assert head.fields[b"accept-encoding"] == b"identity"
    assert head.fields[b"inference-header-content-length"] == b"9"
    assert head.headers[5:] == [(name, value.strip()) for name, value in up]
    assert not set(head.fields) & set(HOP_BY_HOP)


@given(request_fields())
def test_a_forwarded_head_is_as_it_came_but_for_the_connection(fields: Fields) -> None:
    stopped = named_by_connection(fields) | set(HOP_BY_HOP)
    head = parse_request_head(forward_head(request(fields), b"model:8080", upgrade=False))
    assert (head.path, head.query, head.body_bytes) == (b"/v1/models/m:predict", b"?q", 5)
    assert head.headers == [
        (b"Host", b"here"),
        *[(name, value) for name, value in fields if name.lower() not in stopped],
        (b"Content-Length", b"5"),
    ]


def forwarded(raw: bytes, *, upgrade: bool = False, body_bytes: int | None = None) -> RequestHead:
    head = parse_request_head(raw)
    return parse_request_head(
        forward_head(head, b"model:8080", upgrade=upgrade, body_bytes=body_bytes)
    )


def test_a_forwarded_expectation_is_not_passed_on() -> None:
    head = forwarded(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
    assert not head.expects_continue
    assert b"expect" not in head.fields


def test_a_chunked_body_stays_chunked_or_goes_whole() -> None:
    raw = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nTE: x\r\n\r\n"
    chunked = forwarded(raw)
    assert chunked.body_bytes is None
    assert set(chunked.fields) == {b"host", b"transfer-encoding"}
    whole = forwarded(raw, body_bytes=7)
    assert whole.body_bytes == 7
    assert set(whole.fields) == {b"host", b"content-length"}


def test_a_forwarded_request_has_a_host_and_the_version_of_the_proxy() -> None:
    head = forwarded(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert head.http11
    assert head.fields == {b"host": b"model:8080"}


def test_an_upgrade_is_passed_on_only_where_asked_for() -> None:
    raw = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X\r\nUpgrade: websocket\r\nX: 1\r\n\r\n"
    )
    assert forwarded(raw).fields == {b"host": b"a"}
    assert forwarded(raw, upgrade=True).fields == {
        b"host": b"a",
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
    }


@st.composite
def response_fields(draw: st.DrawFn) -> Fields:
    """The headers of an answer; Connection may name some of them."""
    more = [b"set-cookie", b"server", *sorted(OF_THE_CODEC | OF_THE_BODY | OURS_DOWN)]
    fields = draw(st.lists(st.tuples(names(*more, b"transfer-encoding"), VALUES)))
    named = draw(st.lists(st.sampled_from([b"X-A", b"server", b"close"]), max_size=2))
    if named:
        fields.insert(0, (b"Connection", b" , ".join(named)))
    return fields


def staying(fields: Fields, stopped: set[bytes]) -> Fields:
    """Return the headers but for those stopped, or that concern the connection."""
    stopped = stopped | set(HOP_BY_HOP) | named_by_connection(fields)
    return [(name, value) for name, value in fields if name.lower() not in stopped]


@given(response_fields(), st.booleans())
def test_down_to_members_goes_what_is_true_of_their_rows(fields: Fields, shared: bool) -> None:
    stopped = OURS_DOWN | OF_THE_BODY | OF_THE_CODEC | ({b"set-cookie"} if shared else set())
    raw = downward_batch(ResponseHead(200, b"OK", fields), shared=shared)
    assert lines_of(raw) == staying(fields, stopped)


@given(response_fields(), st.booleans())
def test_a_failure_goes_down_as_it_came_unless_it_is_shared(fields: Fields, shared: bool) -> None:
    stopped = OURS_DOWN | ({b"set-cookie", *OF_THE_BODY} if shared else set())
    raw = downward_failure(ResponseHead(422, b"No", fields), shared=shared)
    assert lines_of(raw) == staying(fields, stopped)


@given(response_fields())
def test_a_forwarded_answer_is_as_it_came_but_for_the_framing(fields: Fields) -> None:
    head = ResponseHead(404, b"Not Here", fields)
    raw = downward_forward(head, framing=b"Transfer-Encoding: chunked\r\n")
    line, _, lines = raw.partition(b"\r\n")
    assert line == b"HTTP/1.1 404 Not Here"
    expected = staying(fields, {b"content-length"})
    assert lines_of(lines) == [*expected, (b"Transfer-Encoding", b"chunked")]
    assert lines_of(downward_forward(head, framing=b"").partition(b"\r\n")[2]) == expected
