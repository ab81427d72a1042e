"""What a user can choose about batching."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BatcherSettings", "RowSignature", "Strategy"]

Strategy = Literal["window"]
RowSignature = Literal["shape", "type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherSettings:
    """How requests are gathered, limited and drained.

    Units stand in the names; bounds and meanings are in `batcher_contract.fields`. Building
    one checks nothing: values from users go through `batcher_contract.parsing`, which does.
    """

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
    """Requests that may wait or be in flight before more are answered 429."""

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
