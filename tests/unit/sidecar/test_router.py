"""What is batched, forwarded, answered or refused, by a request's head."""

from typing import Any, Final

import pytest

from batcher_contract import BatcherSettings
from batcher_sidecar.codecs import Codecs
from batcher_sidecar.errors import Refusal
from batcher_sidecar.http1 import parse_request_head
from batcher_sidecar.router import Batch, Forward, Probe, Route, Router

CODECS: Final = Codecs.of("shape")
PREDICT: Final = "POST /v1/models/iris:predict"


def route(line: str, *fields: str, enabled: bool = True, **settings: Any) -> Route:
    """Route a request of that method and target with these headers."""
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: here", *fields, "", ""])
    router = Router(BatcherSettings(**settings), CODECS, enabled=enabled)
    return router.route(parse_request_head(head.encode("latin-1")))


def key(line: str, *fields: str, **settings: Any) -> object:
    """Return the head's part of a batch candidate's key."""
    routed = route(line, *fields, **settings)
    assert isinstance(routed, Batch)
    return routed.key


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/iris:predict",
        "/v1/models/iris:predict?verbose=1",
        "/serving/team/iris/v1/models/iris:predict",
        "/v1/models/iris%3Apredict",
        "/v1/models/iris%3apr%65dict",
        "/iris:predict",
        "/:predict",
        "http://elsewhere/v1/models/iris:predict",
    ],
)
def test_predict_requests_are_batched_under_any_prefix(target: str) -> None:
    assert isinstance(route(f"POST {target}", "Content-Length: 5"), Batch)
    assert isinstance(route(f"POST {target}", "Transfer-Encoding: chunked"), Batch)
    assert isinstance(route(f"POST {target}"), Batch)


@pytest.mark.parametrize(
    "target",
    [
        "/v2/models/iris/infer",
        "/v2/models/iris/infer?verbose=1",
        "/v2/models/iris/versions/1/infer",
        "/serving/team/v2/models/iris/infer",
        "/v2/models/versions/versions/infer/infer",
        "/v2/models/v2/models/iris/infer",
        "http://elsewhere/v2/models/iris/infer",
    ],
)
def test_inferences_are_batched_under_any_prefix(target: str) -> None:
    routed = route(f"POST {target}", "Content-Length: 5")
    assert isinstance(routed, Batch)
    assert routed.codec is CODECS.v2


def test_each_protocol_has_its_codec() -> None:
    routed = route(PREDICT)
    assert isinstance(routed, Batch)
    assert routed.codec is CODECS.v1
    assert (CODECS.v1.protocol, CODECS.v2.protocol) == ("v1", "v2")


@pytest.mark.parametrize(
    ("line", "fields", "reason"),
    [
        ("GET /v1/models/iris:predict", [], "method"),
        ("PUT /v1/models/iris:predict", [], "method"),
        ("OPTIONS /v1/models/iris:predict", [], "method"),
        ("GET /v1/models/iris", [], "method"),
        ("POST /v1/models/iris:explain", [], "path"),
        ("POST /v1/models/iris:predict/", [], "path"),
        ("POST /v1/models/iris:PREDICT", [], "path"),
        ("POST /v1/models/iris?x=:predict", [], "path"),
        ("POST /v1/models/iris%253Apredict", [], "path"),
        ("POST /v2/models/iris/infer/", [], "path"),
        ("POST /v2/models/iris/generate", [], "path"),
        ("POST /v2/models/iris/infer_stream", [], "path"),
        ("POST /v2/models/iris/versions/infer", [], "path"),
        ("POST /v2/models/iris/version/1/infer", [], "path"),
        ("POST /v2/models/infer", [], "path"),
        ("POST /v2/models//infer", [], "path"),
        ("POST /v2/models/a/b/infer", [], "path"),
        ("POST /v2/models/iris%2Finfer", [], "path"),
        ("POST /v2/models/iris/inf%65r", [], "path"),
        ("POST /v1/models/iris/infer", [], "path"),
        ("GET /v2/models/iris/infer", [], "method"),
        ("POST /openai/v1/completions", [], "path"),
        (PREDICT, ["Content-Encoding: gzip"], "content_encoding"),
        (PREDICT, ["Content-Encoding: identity, gzip"], "content_encoding"),
        (PREDICT, ["X-Batch-Bypass: true"], "requested"),
        (PREDICT, ["x-batch-bypass: TRUE"], "requested"),
        (PREDICT, ["Ce-Id: 1", "Ce-Source: a"], "cloudevent"),
        (PREDICT, ["ce-specversion: 1.0"], "cloudevent"),
    ],
)
def test_what_is_not_batched_is_forwarded(line: str, fields: list[str], reason: str) -> None:
    assert route(line, *fields) == Forward(reason)


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Encoding: identity"],
        ["Content-Encoding: IDENTITY"],
        ["Content-Encoding:"],
        ["X-Batch-Bypass: false"],
        ["X-Batch-Bypass: 1"],
        ["X-Ce-Id: 1"],
        ["Cell: 1"],
        ["Content-Type: text/plain"],
        ["Expect: 100-continue"],
        ["User-Agent: curl/8 kube-probe/1.30"],
        ["Upgrade: websocket", "Connection: Upgrade"],
        ["Connection: close"],
    ],
    ids=str,
)
def test_headers_that_keep_nobody_from_a_batch(fields: list[str]) -> None:
    assert isinstance(route(PREDICT, *fields), Batch)


def test_everything_is_forwarded_where_batching_is_off() -> None:
    assert route(PREDICT, enabled=False) == Forward("disabled")
    assert route(PREDICT, "Content-Length: 999999999999", enabled=False) == Forward("disabled")
    assert route("GET /", enabled=False) == Forward("method")


@pytest.mark.parametrize("line", [PREDICT, "GET /", "GET /any/path", "HEAD /", "POST /x"])
@pytest.mark.parametrize("field", ["User-Agent: kube-probe/1.30", "K-Network-Probe: queue"])
def test_probes_are_answered_on_any_path(line: str, field: str) -> None:
    assert route(line, field) == Probe()
    assert route(line, field, enabled=False) == Probe()


@pytest.mark.parametrize("enabled", [True, False])
def test_connect_is_refused(enabled: bool) -> None:
    refused = route("CONNECT a:80", enabled=enabled)
    assert isinstance(refused, Refusal)
    assert refused.status == 405


@pytest.mark.parametrize("line", [PREDICT, "GET /", "POST /x"])
@pytest.mark.parametrize(
    "name", ["Host", "content-length", "X-Tenant", "Inference-Header-Content-Length"]
)
def test_connection_may_not_name_what_routing_and_framing_depend_on(line: str, name: str) -> None:
    refused = route(line, f"Connection: close, {name}", batch_key_headers=("x-tenant",))
    assert isinstance(refused, Refusal)
    assert refused.status == 400
    assert name.lower() in refused.message


def test_connection_may_name_other_headers() -> None:
    assert isinstance(route(PREDICT, "Connection: X-Tenant, X-Other"), Batch)


@pytest.mark.parametrize(
    ("settings", "limit_bytes"),
    [
        ({"max_body_bytes": 5000}, 5000),
        ({"max_body_bytes": 5000, "max_queue_bytes": 3000}, 3000),
    ],
)
def test_a_declared_body_over_the_limit_is_refused(
    settings: dict[str, Any], limit_bytes: int
) -> None:
    assert isinstance(route(PREDICT, f"Content-Length: {limit_bytes}", **settings), Batch)
    refused = route(PREDICT, f"Content-Length: {limit_bytes + 1}", **settings)
    assert isinstance(refused, Refusal)
    assert refused.status == 413
    assert str(limit_bytes) in refused.message


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("POST /v1/models/iris:explain", ["Content-Length: 999999999999"]),
        (PREDICT, ["Content-Length: 999999999999", "Content-Encoding: gzip"]),
        (PREDICT, ["Content-Length: 999999999999", "X-Batch-Bypass: true"]),
    ],
)
def test_the_limit_is_for_batch_candidates_only(line: str, fields: list[str]) -> None:
    assert isinstance(route(line, *fields), Forward)


def test_path_and_query_belong_to_the_key_as_they_came() -> None:
    keys = [
        key(line)
        for line in (
            PREDICT,
            f"{PREDICT}?a",
            f"{PREDICT}?b",
            f"{PREDICT}?",
            "POST /v1/models/other:predict",
            "POST /v1/models/iris%3Apredict",
        )
    ]
    assert len(set(keys)) == len(keys)
    assert key(PREDICT, "X-A: 1") == key(PREDICT, "X-A: 2", "X-B: 3")


def test_the_values_of_key_headers_belong_to_the_key() -> None:
    settings = {"batch_key_headers": ("x-tenant", "authorization")}
    keys = [
        key(PREDICT, *fields, **settings)
        for fields in (
            [],
            ["X-Tenant: a"],
            ["X-Tenant: b"],
            ["X-Tenant:"],
            ["Authorization: a"],
            ["X-Tenant: a", "Authorization: a"],
            ["X-Tenant: a", "X-Tenant: b"],
        )
    ]
    assert len(set(keys)) == len(keys)
    assert key(PREDICT, "X-Tenant: a", **settings) == key(PREDICT, "x-tenant:  a ", **settings)


def test_key_headers_are_found_in_any_case() -> None:
    settings = {"batch_key_headers": ("X-Tenant",)}
    assert key(PREDICT, "x-tenant: a", **settings) != key(PREDICT, **settings)


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/v1/models/iris:predict", "iris"),
        ("/prefix/v1/models/iris%3Apredict?a", "iris"),
        ("/v1/models/a%20b:predict", "a b"),
        ("/v1/models/%ff:predict", "�"),
        ("/v2/models/iris/infer", "iris"),
        ("/v2/models/a%20b/versions/3/infer?a", "a b"),
        ("/v2/models/a%2Fb/infer", "a/b"),
        ("/v2/models/%ff/infer", "�"),
        ("/:predict", ""),
    ],
)
def test_the_model_is_named_by_the_path(target: str, model: str) -> None:
    routed = route(f"POST {target}")
    assert isinstance(routed, Batch)
    assert routed.model == model


@pytest.mark.parametrize(
    ("line", "fields", "upgrade"),
    [
        ("GET /ws", ["Connection: Upgrade", "Upgrade: websocket"], True),
        ("GET /ws", ["Connection: keep-alive, upgrade", "Upgrade: WebSocket"], True),
        ("GET /ws", ["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"], True),
        ("GET /ws", ["Upgrade: websocket"], False),
        ("GET /ws", ["Connection: Upgrade"], False),
        ("GET /ws", ["Connection: Upgrade", "Upgrade: h2c"], False),
        ("GET /ws", ["Connection: Upgrade", "Upgrade: websocket, h2c"], False),
        ("GET /ws", ["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 5"], False),
        ("HEAD /ws", ["Connection: Upgrade", "Upgrade: websocket"], False),
    ],
)
def test_only_a_bodiless_get_may_become_a_websocket(
    line: str, fields: list[str], upgrade: bool
) -> None:
    assert route(line, *fields) == Forward("method", upgrade=upgrade)
