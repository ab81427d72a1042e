"""Settings as users could choose them, for property tests."""

import string

from hypothesis import strategies as st

from batcher_contract import BatcherSettings

HEADER_NAMES = st.text(string.ascii_lowercase + string.digits + "-_", min_size=1).map("x-".__add__)


@st.composite
def valid_settings(draw: st.DrawFn) -> BatcherSettings:
    """Any settings within all bounds and orders."""
    max_batch_size = draw(st.integers(1, 1_000_000))
    max_latency_ms = draw(st.integers(1, 3_600_000))
    max_queue_bytes = draw(st.integers(2**10, 2**40))
    drain_timeout_us = draw(st.integers(0, 3600 * 10**6))
    return BatcherSettings(
        max_batch_size=max_batch_size,
        max_latency_ms=max_latency_ms,
        timeout_s=draw(st.integers(max_latency_ms * 1000 + 1, 86_400 * 10**6)) / 10**6,
        max_concurrency=draw(st.integers(1, 10_000)),
        hard_max_batch_size=draw(st.just(0) | st.integers(max_batch_size, 1_000_000)),
        max_queue_size=draw(st.integers(1, 10_000_000)),
        max_queue_bytes=max_queue_bytes,
        max_body_bytes=draw(st.integers(2**10, max_queue_bytes)),
        isolate_failures=draw(st.booleans()),
        batch_key_headers=tuple(draw(st.lists(HEADER_NAMES, unique=True, max_size=4))),
        row_signature=draw(st.sampled_from(("shape", "type"))),
        drain_quiet_s=draw(st.integers(0, drain_timeout_us)) / 10**6,
        drain_timeout_s=drain_timeout_us / 10**6,
    )
