"""What the sidecar counts, and how Prometheus gets to see it.

The hot path touches plain integers only. They become metric families when somebody scrapes: at most
a few thousand samples, since every label has a bounded set of values. Models are bounded here
(``MAX_MODELS``), reasons and triggers by the code that names them.

Nothing in this module knows about the event loop but :meth:`Metrics.scrape`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, PROCESS_COLLECTOR, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from batcher_contract.names import METRICS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MAX_MODELS", "Histogram", "Metrics"]

MAX_MODELS: Final = 100
"""How many model names become label values; requests for further ones carry an empty label."""

_MAX_MODEL_LENGTH: Final = 253  # of a Kubernetes object's name; what is longer is no model's name

_TRIGGERS: Final = ("size", "latency", "drain", "alone")

# Up to the default time-out of 300 s; the steps are those of Prometheus' own client libraries.
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
_COUNTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

_HELP: Final = {
    "build_info": "Always 1; the label says which version of the sidecar runs.",
    "requests": (
        "Requests answered, by protocol, model and status code. The model is empty until one of "
        f"its requests has succeeded, and for all models after the first {MAX_MODELS}. Errors: "
        "compare with refused_requests_total, which counts those that the sidecar itself refused; "
        "the rest came from the model server."
    ),
    "batches": (
        "Batches sent to the model server, by what ended the wait: size (enough instances), "
        "latency (the oldest request had waited maxLatency), drain (the pod is going), alone (the "
        "request could not share a batch). Mostly latency with few requests per batch means that "
        "maxLatency adds delay and gains little: lower it."
    ),
    "instances_per_batch": (
        "Instances in a batch as sent. maxBatchSize is a trigger, not a cap, so a batch may be "
        "larger; set hard-max-batch-size if the model server cannot take that."
    ),
    "requests_per_batch": (
        "Requests that shared a batch. Staying at 1 means that batching gains nothing here: the "
        "callers do not overlap within maxLatency, or differ in parameters, row shape or headers "
        "of the batch key."
    ),
    "queue_seconds": (
        "Seconds from the last byte of a batched request to the sending of its batch. Well above "
        "maxLatency: all max-concurrency slots are taken and the model server is the bottleneck."
    ),
    "upstream_seconds": (
        "Seconds from sending a batch to the last byte of the model server's answer. Compare with "
        "queue_seconds to see whether the model or the wait makes requests slow."
    ),
    "queued_requests": (
        "Requests waiting to be sent in a batch. At max-queue-size further ones are refused "
        "with 429: add replicas or raise max-concurrency."
    ),
    "queued_bytes": (
        "Bytes reserved for requests and answers that are not yet written out. At max-queue-bytes "
        "further requests are refused with 429."
    ),
    "batches_in_flight": (
        "Batches sent and not yet answered. Constantly at max-concurrency (per path) while "
        "queued_requests grows: the model server is saturated, or max-concurrency too low for it."
    ),
    "bypassed_requests": (
        "Requests forwarded unbatched as they came, by the reason why they could not or should not "
        "be batched."
    ),
    "refused_requests": (
        "Requests that the sidecar refused itself, by reason, so the model server never saw them "
        "or had no part in the refusal."
    ),
    "isolated_requests": (
        "Requests whose batch failed and was called again in halves to find the culprit. A steady "
        "rate means that some caller keeps sending rows that the model refuses, and each costs "
        "extra calls; set isolate-failures to false to fail the whole batch instead."
    ),
    "undivided_batches": (
        "Batches that were answered well but not by rows: an output's first dimension was not the "
        "batch, or might have been by chance. Their members were called again one by one; in the "
        "first case the model is not batched for a minute."
    ),
    "unbatchable_models": (
        "Models that are not batched at present, because of what the model server says of them, or "
        "because an output's first dimension was not the batch, or answers could not be read, or "
        "because it has failed to say anything of them for a while. The log names them."
    ),
    "response_fields_dropped": (
        "Top-level fields of answers that could not be divided among the members of a batch and "
        "were left out. Callers that need them can send X-Batch-Bypass: true."
    ),
}


class Histogram:
    """Counts of observed values in buckets with fixed upper bounds.

    ``bounds`` ascend and include their own value, as Prometheus' ``le`` does; ``counts`` has one
    entry more, for what lies above the last bound, and is not cumulative. ``sum`` adds the values
    up. The unit is the user's choice.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float]) -> None:
        """Count several values, at least one, at a cost for each bucket instead of each value."""
        rising = sorted(values)
        bucket = bisect_left(self.bounds, rising[0])
        highest = bisect_left(self.bounds, rising[-1])
        counted = 0
        while bucket < highest:
            below = bisect_right(rising, self.bounds[bucket], counted)
            self.counts[bucket] += below - counted
            counted = below
            bucket += 1
        self.counts[highest] += len(rising) - counted
        self.sum += sum(values)


class Metrics:
    """Everything that ``/metrics`` shows about one sidecar.

    ``bypass_reasons`` and ``refusal_reasons``, where given, are shown as 0 before they first occur,
    so that a rate over the first occurrence is right; other reasons may be counted all the same.
    """

    def __init__(
        self,
        *,
        version: str = "unknown",
        bypass_reasons: Iterable[str] = (),
        refusal_reasons: Iterable[str] = (),
    ) -> None:
        self._version = version
        self._requests: dict[tuple[str, str, int], int] = {}
        self._models: set[str] = set()
        self._batches = dict.fromkeys(_TRIGGERS, 0)
        self._bypassed = dict.fromkeys(bypass_reasons, 0)
        self._refused = dict.fromkeys(refusal_reasons, 0)
        self._isolated = 0
        self._undivided = 0
        self._fields_dropped = 0
        self._gauges: dict[str, Callable[[], int]] = {}
        self.queue_seconds = Histogram(_SECONDS)
        """Observe, per batched request: its last byte arrived until its batch was sent."""
        self.upstream_seconds = Histogram(_SECONDS)
        """Observe, per call that carried a batch: sent until the answer was complete."""
        self.instances_per_batch = Histogram(_COUNTS)
        """Fed by :meth:`batch_sent`."""
        self.requests_per_batch = Histogram(_COUNTS)
        """Fed by :meth:`batch_sent`."""

    def bind(
        self,
        *,
        queued_requests: Callable[[], int],
        queued_bytes: Callable[[], int],
        batches_in_flight: Callable[[], int],
        unbatchable_models: Callable[[], int] = lambda: 0,
    ) -> None:
        """Name the functions that tell the present values; they are called at each scrape."""
        self._gauges = {
            "queued_requests": queued_requests,
            "queued_bytes": queued_bytes,
            "batches_in_flight": batches_in_flight,
            "unbatchable_models": unbatchable_models,
        }

    def request_done(self, protocol: str, model: str, code: int, requests: int = 1) -> None:
        """Count one answered request, or several alike.

        A model becomes a label value only with its first 200, so that made-up names in paths do
        not; at most ``MAX_MODELS`` do. Without that the label is empty.
        """
        try:
            self._requests[protocol, model, code] += requests
        except KeyError:
            self._first_request(protocol, model, code, requests)

    def _first_request(self, protocol: str, model: str, code: int, requests: int) -> None:
        if model not in self._models:
            if (
                code == 200
                and len(self._models) < MAX_MODELS
                and len(model) <= _MAX_MODEL_LENGTH
                and model.isprintable()  # also false for lone surrogates, which cannot be encoded
            ):
                self._models.add(model)
            else:
                model = ""
        key = (protocol, model, code)
        self._requests[key] = self._requests.get(key, 0) + requests

    def batch_sent(self, trigger: str, requests: int, instances: int) -> None:
        """Count one batch by its trigger (size, latency, drain, alone) and its sizes."""
        self._batches[trigger] += 1
        self.requests_per_batch.observe(requests)
        self.instances_per_batch.observe(instances)

    def bypassed(self, reason: str) -> None:
        """Count one request that is forwarded unbatched."""
        self._bypassed[reason] = self._bypassed.get(reason, 0) + 1

    def refused(self, reason: str) -> None:
        """Count one request that the sidecar refused itself."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def isolated(self, requests: int) -> None:
        """Count the members of a failed batch that is now called again in halves."""
        self._isolated += requests

    def undivided(self) -> None:
        """Count a batch whose answer could not be divided by rows."""
        self._undivided += 1

    def fields_dropped(self, fields: int) -> None:
        """Count top-level fields of an answer that the members of a batch do not get."""
        self._fields_dropped += fields

    def render(self) -> tuple[bytes, str]:
        """Return the exposition (Prometheus text format 0.0.4) and its content type.

        It reads ``/proc``: on the event loop use :meth:`scrape`.
        """
        return _format(self._families())

    async def scrape(self) -> tuple[bytes, str]:
        """Do the same as :meth:`render` without blocking the event loop.

        The values are taken on the loop and therefore fit together; a worker thread reads
        ``/proc`` and writes the text.
        """
        return await asyncio.to_thread(_format, self._families())

    def _families(self) -> list[Metric]:
        build = _gauge("build_info", labels=("version",))
        build.add_metric((self._version,), 1)
        requests = _counter("requests", labels=("protocol", "model", "code"))
        for (protocol, model, code), count in self._requests.items():
            requests.add_metric((protocol, model, str(code)), count)
        families: list[Metric] = [
            build,
            requests,
            _counter_by("batches", "trigger", self._batches),
            _histogram("instances_per_batch", self.instances_per_batch),
            _histogram("requests_per_batch", self.requests_per_batch),
            _histogram("queue_seconds", self.queue_seconds),
            _histogram("upstream_seconds", self.upstream_seconds),
            _counter_by("bypassed_requests", "reason", self._bypassed),
            _counter_by("refused_requests", "reason", self._refused),
            _counter("isolated_requests", self._isolated),
            _counter("undivided_batches", self._undivided),
            _counter("response_fields_dropped", self._fields_dropped),
        ]
        for name, read in self._gauges.items():
            gauge = _gauge(name)
            gauge.add_metric((), read())
            families.append(gauge)
        return families


class _Scrape(Collector):
    """One scrape's families followed by those of the process itself."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        yield from self._families
        yield from PROCESS_COLLECTOR.collect()


def _format(families: list[Metric]) -> tuple[bytes, str]:
    # 0.0.4 is what every scraper reads, and nothing here needs the later version.
    return generate_latest(_Scrape(families)), CONTENT_TYPE_PLAIN_0_0_4


def _gauge(name: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(METRICS_PREFIX + name, _HELP[name], labels=labels)


def _counter(
    name: str, value: int | None = None, labels: tuple[str, ...] | None = None
) -> CounterMetricFamily:
    # The client library appends `_total`.
    return CounterMetricFamily(METRICS_PREFIX + name, _HELP[name], value=value, labels=labels)


def _counter_by(name: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = _counter(name, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(
        METRICS_PREFIX + name, _HELP[name], buckets=buckets, sum_value=histogram.sum
    )
