"""What /metrics shows, read back with Prometheus' own parser."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from batcher_sidecar.metrics import MAX_MODELS, Histogram, Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "inference_batcher_"


def families(metrics: Metrics) -> dict[str, Metric]:
    body, content_type = metrics.render()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of one sample name by their label values in the order of label names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == PREFIX + name
    }


def bound_metrics() -> Metrics:
    metrics = Metrics(version="1.2.3")
    metrics.bind(queued_requests=lambda: 3, queued_bytes=lambda: 4096, batches_in_flight=lambda: 2)
    return metrics


def test_requests_are_counted_by_protocol_model_and_code() -> None:
    metrics = Metrics()
    for code in (200, 200, 400):
        metrics.request_done("v1", "iris", code)
    metrics.request_done("v2", "iris", 200)
    assert samples(metrics, "requests_total") == {
        ("200", "iris", "v1"): 2,
        ("400", "iris", "v1"): 1,
        ("200", "iris", "v2"): 1,
    }


def test_requests_answered_together_are_counted_together() -> None:
    metrics = Metrics()
    for requests in (3, 4):
        metrics.request_done("v1", "iris", 200, requests)
    assert samples(metrics, "requests_total") == {("200", "iris", "v1"): 7}


@given(st.lists(st.integers(0, 40).map(lambda value: value / 4), min_size=1))
def test_observing_values_together_is_observing_each(values: list[float]) -> None:
    together, apart = Histogram([0.5, 1, 5]), Histogram([0.5, 1, 5])
    together.observe_all(values)
    for value in values:
        apart.observe(value)
    assert (together.counts, together.sum) == (apart.counts, apart.sum)


def test_a_model_becomes_a_label_only_after_a_200() -> None:
    metrics = Metrics()
    metrics.request_done("v1", "iris", 404)
    metrics.request_done("v1", "iris", 404)
    metrics.request_done("v1", "iris", 200)
    metrics.request_done("v1", "iris", 404)
    assert samples(metrics, "requests_total") == {
        ("404", "", "v1"): 2,
        ("200", "iris", "v1"): 1,
        ("404", "iris", "v1"): 1,
    }


def test_models_are_bounded_and_no_request_is_lost() -> None:
    metrics = Metrics()
    for number in range(MAX_MODELS + 20):
        metrics.request_done("v1", f"model-{number}", 200)
        metrics.request_done("v1", f"model-{number}", 503)
    counted = samples(metrics, "requests_total")
    assert MAX_MODELS == 100
    assert len({model for _, model, _ in counted} - {""}) == MAX_MODELS
    assert counted["200", "", "v1"] == 20
    assert counted["503", "", "v1"] == 20
    assert sum(counted.values()) == 2 * (MAX_MODELS + 20)


@pytest.mark.parametrize("model", ["\udcff", "a\nb", "\x00", "m" * 254])
def test_a_name_that_no_model_can_have_is_no_label(model: str) -> None:
    metrics = Metrics()
    metrics.request_done("v1", model, 200)
    assert samples(metrics, "requests_total") == {("200", "", "v1"): 1}


@given(st.lists(st.text(max_size=8), max_size=20))
def test_every_model_name_survives_the_exposition(models: list[str]) -> None:
    metrics = Metrics()
    for model in models:
        metrics.request_done("v1", model, 200)
    counted = samples(metrics, "requests_total")
    assert sum(counted.values()) == len(models)
    assert {model for _, model, _ in counted} <= {*models, ""}


def test_batches_are_counted_by_trigger_and_size() -> None:
    metrics = Metrics()
    metrics.batch_sent("size", requests=2, instances=52)
    metrics.batch_sent("latency", requests=1, instances=1)
    assert samples(metrics, "batches_total") == {
        ("size",): 1,
        ("latency",): 1,
        ("drain",): 0,
        ("alone",): 0,
    }
    assert samples(metrics, "requests_per_batch_sum") == {(): 3}
    assert samples(metrics, "instances_per_batch_sum") == {(): 53}
    buckets = samples(metrics, "instances_per_batch_bucket")
    assert (buckets["32.0",], buckets["64.0",], buckets["+Inf",]) == (1, 2, 2)


def test_reasons_isolated_requests_and_dropped_fields() -> None:
    metrics = Metrics(bypass_reasons=["path"], refusal_reasons=["queue_full", "deadline"])
    metrics.bypassed("encoding")
    metrics.bypassed("encoding")
    metrics.refused("deadline")
    metrics.isolated(4)
    metrics.isolated(2)
    metrics.undivided()
    metrics.fields_dropped(1)
    assert samples(metrics, "bypassed_requests_total") == {("path",): 0, ("encoding",): 2}
    assert samples(metrics, "refused_requests_total") == {("queue_full",): 0, ("deadline",): 1}
    assert samples(metrics, "isolated_requests_total") == {(): 6}
    assert samples(metrics, "undivided_batches_total") == {(): 1}
    assert samples(metrics, "response_fields_dropped_total") == {(): 1}


def test_gauges_are_read_at_each_scrape() -> None:
    waiting = 3
    metrics = Metrics()
    metrics.bind(
        queued_requests=lambda: waiting,
        queued_bytes=lambda: 4096,
        batches_in_flight=lambda: 2,
        unbatchable_models=lambda: 5,
    )
    assert samples(metrics, "queued_requests") == {(): 3}
    waiting = 0
    assert samples(metrics, "queued_requests") == {(): 0}
    assert samples(metrics, "queued_bytes") == {(): 4096}
    assert samples(metrics, "batches_in_flight") == {(): 2}
    assert samples(metrics, "unbatchable_models") == {(): 5}


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 1.5, 2.5, 2.6, 100):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == pytest.approx(107.6)


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_buckets_are_cumulative_and_agree_with_count_and_sum(values: list[float]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.queue_seconds.observe(value)
    buckets = samples(metrics, "queue_seconds_bucket")
    for (bound,), count in buckets.items():
        assert count == sum(value <= float(bound) for value in values)
    assert samples(metrics, "queue_seconds_count") == {(): len(values)}
    assert samples(metrics, "queue_seconds_sum")[()] == pytest.approx(sum(values))


def test_build_and_process_are_shown() -> None:
    metrics = bound_metrics()
    assert samples(metrics, "build_info") == {("1.2.3",): 1}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= set(
        families(metrics)
    )


def test_names_follow_the_conventions_and_every_metric_explains_itself() -> None:
    metrics = bound_metrics()
    metrics.request_done("v1", "iris", 200)
    for family in families(metrics).values():
        assert re.fullmatch(r"(inference_batcher|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert "created" not in family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        else:
            assert not family.name.endswith("_total")
        assert not re.search(r"_(ms|millis|kb|mb)\b", family.name)


async def test_a_scrape_on_the_event_loop_blocks_nothing() -> None:
    metrics = bound_metrics()
    metrics.request_done("v1", "iris", 200)
    with blockbuster_ctx("batcher_sidecar"):
        async with asyncio.timeout(10):
            scraped, content_type = await metrics.scrape()
    rendered, rendered_type = metrics.render()
    own = [line for line in scraped.splitlines() if line.startswith(PREFIX.encode())]
    assert own == [line for line in rendered.splitlines() if line.startswith(PREFIX.encode())]
    assert content_type == rendered_type
    assert b"process_cpu_seconds_total" in scraped
