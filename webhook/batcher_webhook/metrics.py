"""What the webhook counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from batcher_contract.names import METRICS_PREFIX

__all__ = ["Metrics"]

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)


class Metrics:
    """One set of metrics in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._pods = Counter(
            f"{METRICS_PREFIX}webhook_pods_total",
            "Pods seen, by what was decided",
            ["reason"],
            registry=self._registry,
        )
        self._services = Counter(
            f"{METRICS_PREFIX}webhook_inferenceservices_total",
            "InferenceServices seen, by outcome: allowed, warned or refused",
            ["outcome"],
            registry=self._registry,
        )
        self._failures = Counter(
            f"{METRICS_PREFIX}webhook_failures_total",
            "Reviews that were not served as they should: bad_request or internal",
            ["kind"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{METRICS_PREFIX}webhook_review_seconds",
            "From the arrival of a review's head to its answer",
            ["path"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._loads = Counter(
            f"{METRICS_PREFIX}webhook_certificate_loads_total",
            "Serving certificates read: loaded or failed",
            ["outcome"],
            registry=self._registry,
        )
        self._loaded = Gauge(
            f"{METRICS_PREFIX}webhook_certificate_loaded_timestamp_seconds",
            "When the serving certificate in use was loaded; 0 if there is none",
            registry=self._registry,
        )
        for kind in ("bad_request", "internal"):
            self._failures.labels(kind)

    def pod(self, reason: str) -> None:
        """Count a decision."""
        self._pods.labels(reason).inc()

    def service(self, outcome: str) -> None:
        """Count a validation."""
        self._services.labels(outcome).inc()

    def failure(self, kind: str) -> None:
        """Count what went wrong."""
        self._failures.labels(kind).inc()

    def took(self, path: str, seconds: float) -> None:
        """Count the time of one review."""
        self._seconds.labels(path).observe(seconds)

    def certificate(self, loaded: bool) -> None:
        """Count an attempt to load a serving certificate."""
        self._loads.labels("loaded" if loaded else "failed").inc()
        if loaded:
            self._loaded.set_to_current_time()

    def scrape(self) -> tuple[bytes, str]:
        """All metrics as text, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
