"""What the operator counts, for Prometheus."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from batcher_contract.names import METRICS_PREFIX
from batcher_operator.authority import Standing
from batcher_operator.memory import Memory
from batcher_operator.reconcile import Shape, shape_of

__all__ = ["Metrics"]

_PREFIX = f"{METRICS_PREFIX}operator_"
_SHAPES: tuple[Shape, ...] = ("injected", "outdated", "declined", "missing")


class Metrics:
    """One set of metrics in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            f"{_PREFIX}events_total",
            "Events created, by reason",
            ["reason"],
            registry=self._registry,
        )
        self._event_failures = Counter(
            f"{_PREFIX}event_failures_total",
            "Times that an Event could not be created",
            registry=self._registry,
        )
        self._look_failures = Counter(
            f"{_PREFIX}look_failures_total",
            "Times that an InferenceService could not be brought about, in standalone mode",
            registry=self._registry,
        )
        self._writes = Counter(
            f"{_PREFIX}certificate_writes_total",
            "Secrets and webhook configurations written for certificates, by kind",
            ["kind"],
            registry=self._registry,
        )

    def watch_cluster(self, memory: Memory, image: str, behind: Callable[[], int]) -> None:
        """Show what the cluster looks like, and how far watch events are behind."""
        self._registry.register(_Cluster(memory, image))
        gauge = Gauge(
            f"{_PREFIX}watch_behind_objects",
            "Objects whose latest state no watch event had brought at the last comparison",
            registry=self._registry,
        )
        gauge.set_function(behind)

    def event(self, reason: str) -> None:
        """Count an Event."""
        self._events.labels(reason).inc()

    def event_failed(self) -> None:
        """Count Events that could not be created."""
        self._event_failures.inc()

    def look_failed(self) -> None:
        """Count an InferenceService that has to be looked at again."""
        self._look_failures.inc()

    def certificate_written(self, kind: str) -> None:
        """Count a write."""
        self._writes.labels(kind).inc()

    def watch_certificates(self, standing: Callable[[], Standing]) -> None:
        """Show when the certificate authority and the serving certificate end."""
        gauge = Gauge(
            f"{_PREFIX}certificate_expiry_timestamp_seconds",
            "When the certificate authority (ca) and the serving certificate (serving) end",
            ["certificate"],
            registry=self._registry,
        )
        gauge.labels("ca").set_function(lambda: standing().authority_not_after_s)
        gauge.labels("serving").set_function(lambda: standing().certificate_not_after_s)

    def scrape(self) -> tuple[bytes, str]:
        """All metrics as text, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Cluster(Collector):
    """Counted when asked for, so that nothing can drift."""

    def __init__(self, memory: Memory, image: str) -> None:
        self._memory = memory
        self._image = image

    def collect(self) -> Iterable[GaugeMetricFamily]:
        services = GaugeMetricFamily(
            f"{_PREFIX}inferenceservices",
            "InferenceServices, by whether they have a batcher section",
            labels=["batcher"],
        )
        batched = sum(bool(service.batched) for service in self._memory.services())
        services.add_metric(["true"], batched)
        services.add_metric(["false"], sum(1 for _ in self._memory.services()) - batched)
        yield services
        pods = GaugeMetricFamily(
            f"{_PREFIX}pods",
            "Pods that asked for batching, by what became of it: injected, outdated, declined "
            "or missing",
            labels=["sidecar"],
        )
        tally = Tally(shape_of(pod, self._image) for pod in self._memory.pods() if not pod.ending)
        for shape in _SHAPES:
            pods.add_metric([shape], tally[shape])
        yield pods
