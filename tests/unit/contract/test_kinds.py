"""Reading single values: bounds, spellings, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_contract.fields import FIELDS
from batcher_contract.kinds import BadValueError
from batcher_contract.names import HOP_BY_HOP_HEADERS

ACCEPTED: list[tuple[str, str, Any]] = [
    ("max_batch_size", "1", 1),
    ("max_batch_size", "1000000", 1_000_000),
    ("max_latency_ms", "007", 7),
    ("timeout_s", "30", 30.0),
    ("timeout_s", "0.25", 0.25),
    ("drain_quiet_s", "0", 0.0),
    ("max_queue_bytes", "1048576", 2**20),
    ("max_queue_bytes", "1.5Mi", 3 * 2**19),
    ("max_queue_bytes", "1G", 10**9),
    ("isolate_failures", "T", True),
    ("isolate_failures", "0", False),
    ("strategy", "window", "window"),
    ("batch_key_headers", "", ()),
    ("batch_key_headers", "Authorization", ("authorization",)),
    ("batch_key_headers", "X-Tenant, x-user ,X-TENANT", ("x-tenant", "x-user")),
    ("component_host", "model.ns.svc", "model.ns.svc"),
    ("host", "::1", "::1"),
    ("host", "0:0:0:0:0:0:0:1", "::1"),
    ("host", "fe80::1%eth0", "fe80::1%eth0"),
    ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104
    ("port", "65535", 65535),
    ("cpu_request", "500m", "500m"),
    ("memory_limit", "1Gi", "1Gi"),
    ("restarted_at", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
]

REFUSED = [
    ("max_batch_size", "0", "is less than 1"),
    ("max_batch_size", "-5", "is less than 1"),
    ("max_batch_size", "1000001", "is more than 1000000"),
    ("max_batch_size", "9" * 40, "is more than 1000000"),
    ("max_batch_size", "", "is not a whole number"),
    ("max_batch_size", "3.0", "is not a whole number"),
    ("max_batch_size", "1_000", "is not a whole number"),
    ("max_batch_size", " 3", "is not a whole number"),
    ("max_batch_size", "٣", "is not a whole number"),
    ("max_batch_size", "0x10", "is not a whole number"),
    ("max_latency_ms", "5s", "is not a whole number"),
    ("timeout_s", "30s", "is not a plain number"),
    ("timeout_s", "nan", "is not a plain number"),
    ("timeout_s", "inf", "is not a plain number"),
    ("timeout_s", "1e3", "is not a plain number"),
    ("timeout_s", "0", "is less than 0.001"),
    ("timeout_s", "86400.5", "is more than 86400"),
    ("max_queue_bytes", "64", "is less than 1Ki"),
    ("max_queue_bytes", "2Ti", "is more than 1Ti"),
    ("max_queue_bytes", "64MB", "is not a number of bytes"),
    ("max_queue_bytes", "1024.5", "is not a number of bytes"),
    ("isolate_failures", "yes", "is neither true nor false"),
    ("isolate_failures", "", "is neither true nor false"),
    ("strategy", "Window", "is not known"),
    ("batch_key_headers", "a,,b", "holds something that is no header name"),
    ("batch_key_headers", "a b", "holds something that is no header name"),
    ("batch_key_headers", "a:b", "holds something that is no header name"),
    ("batch_key_headers", "ÄÖ", "holds something that is no header name"),
    ("batch_key_headers", "a\r\nb", "holds something that is no header name"),
    ("batch_key_headers", "x-a, Host", "names host, which is never passed on"),
    ("host", "", "is not a host name"),
    ("host", "[::1]", "is not an IP address"),
    ("host", "localhost:80", "is not an IP address"),
    ("host", "1.2.3", "is not an IP address"),
    ("host", "a b", "is not a host name"),
    ("port", "0", "is less than 1"),
    ("port", "65536", "is more than 65535"),
    ("cpu_limit", "0", "is less than 1m"),
    ("cpu_limit", "two", "is not a Kubernetes quantity"),
    ("memory_limit", "256", "is less than 16Mi"),
]


@pytest.mark.parametrize(("name", "text", "value"), ACCEPTED)
def test_accepted(name: str, text: str, value: object) -> None:
    parsed = FIELDS[name].kind.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("name", "text", "problem"), REFUSED)
def test_refused(name: str, text: str, problem: str) -> None:
    with pytest.raises(BadValueError) as caught:
        FIELDS[name].kind.parse(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize("header", sorted(HOP_BY_HOP_HEADERS | {"host", "content-length"}))
def test_headers_that_never_pass_cannot_be_keys(header: str) -> None:
    with pytest.raises(BadValueError, match=f"names {header}, which is never passed on"):
        FIELDS["batch_key_headers"].kind.parse(header.title())


@given(st.sampled_from(sorted(FIELDS)), st.text())
def test_any_text_is_a_value_or_refused_and_values_survive_being_written(
    name: str, text: str
) -> None:
    kind = FIELDS[name].kind
    try:
        value = kind.parse(text)
    except BadValueError:
        return
    assert kind.parse(kind.render(value)) == value


@given(st.floats(0.001, 86_400))
def test_every_duration_survives_being_written(seconds: float) -> None:
    kind = FIELDS["timeout_s"].kind
    assert kind.parse(kind.render(seconds)) == seconds
