"""What a user can choose: about batching, about the sidecar's process and about its pod.

Units stand in the names; bounds and meanings are in `batcher_contract.fields`. Building one of
these checks nothing: values from users go through `batcher_contract.flags` or
`batcher_contract.annotations`, which do.
"""

from dataclasses import dataclass
from typing import Literal

from batcher_contract.names import ADMIN_PORT, COMPONENT_PORT, DATA_PORT

__all__ = [
    "BatcherSettings",
    "LogFormat",
    "LogLevel",
    "Mode",
    "PodOptions",
    "ProcessOptions",
    "RowSignature",
    "Strategy",
]

Strategy = Literal["window"]
RowSignature = Literal["shape", "type"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
Mode = Literal["kserve", "standalone"]
"""Who runs InferenceServices: KServe, or our operator where there is no KServe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherSettings:
    """How requests are gathered, limited and drained."""

    max_batch_size: int = 32
    """Instances that make a batch leave. A trigger, not a cap."""

    max_latency_ms: int = 5000
    """How long a request may wait for company, from its last byte's arrival."""

    timeout_s: float = 300.0
    """How long a batched request may take in all before it is answered 504."""

    strategy: Strategy = "window"
    """How the moment to cut a batch is chosen."""

    max_concurrency: int = 4
    """Batches in flight per path."""

    hard_max_batch_size: int = 0
    """Instances that no batch may exceed; 0 for none."""

    max_queue_size: int = 10_000
    """Requests that may wait for a batch before more are answered 429."""

    max_queue_bytes: int = 256 * 1024 * 1024
    """Memory that waiting requests, joined bodies and answers may hold before 429."""

    max_body_bytes: int = 64 * 1024 * 1024
    """Body of one batch candidate before it is answered 413."""

    isolate_failures: bool = True
    """Whether a batch that failed is halved until the request at fault stands alone."""

    batch_key_headers: tuple[str, ...] = ()
    """Headers (lower case) whose values requests must agree on to share a batch."""

    row_signature: RowSignature = "shape"
    """Whether rows of different lengths may share a batch: `shape` no, `type` yes."""

    drain_quiet_s: float = 5.0
    """How long no request may have come before a drain stops listening."""

    drain_timeout_s: float = 20.0
    """How long a drain keeps listening at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """What only the sidecar's process is told, by flags: where to listen and where to send."""

    enable_batcher: bool = False
    """Whether to batch at all; without it everything is forwarded."""

    component_host: str = "127.0.0.1"
    """Host of the model server."""

    component_port: int = COMPONENT_PORT
    """Port of the model server."""

    host: str | None = None
    """Address both listeners bind; None for all address families."""

    port: int = DATA_PORT
    """Port for requests."""

    admin_port: int = ADMIN_PORT
    """Port for liveness, readiness, metrics, settings and drain."""

    log_level: LogLevel = "info"
    """The least severity that is logged."""

    log_format: LogFormat = "text"
    """Lines for people (`text`) or one JSON object a line (`json`)."""

    settings_file: str | None = None
    """A file with settings that win over flags and are applied while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """What only the webhook and the operator are told, by annotations; None where unset."""

    inject: bool = True
    """Whether the sidecar may be put into the pods of this service."""

    cpu_request: str | None = None
    """The sidecar's resources.requests.cpu."""

    cpu_limit: str | None = None
    """The sidecar's resources.limits.cpu."""

    memory_request: str | None = None
    """The sidecar's resources.requests.memory."""

    memory_limit: str | None = None
    """The sidecar's resources.limits.memory."""

    restarted_at: str | None = None
    """Any new text here rolls the pods of a service."""

    settings_config_map: str | None = None
    """The ConfigMap that settings reach running pods by; written by the operator."""

    decision: str | None = None
    """What the webhook did to a pod and why; written by it, read by the operator."""
