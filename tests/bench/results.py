"""What a run measured, as it is kept, written to JSON and reported."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Of one core; beyond it the load generator may be what is measured.
BUSY_GENERATOR = 0.95
#: Cores that other processes may use (median) before the report warns.
BUSY_MACHINE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One candidate under one workload in one round.

    `served` counts instances at the model server and includes those still in flight when the
    load ended; `cpu_us_per_request` is the candidate's CPU time over the whole load divided by
    it. `*_cores` are CPU seconds per second: of the load generator, the model server stub and of
    every other process of the machine. `problems` says why the numbers are not to be trusted.
    """

    workload: str
    candidate: str
    round: int
    requests: int
    requests_per_s: float
    served: int
    upstream_calls: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us_per_request: float
    rss_rest_bytes: int
    rss_peak_bytes: int
    generator_cores: float
    model_cores: float
    other_cores: float
    problems: tuple[str, ...] = ()

    @property
    def instances_per_call(self) -> float:
        """Mean instances per call that reached the model server."""
        return self.served / self.upstream_calls if self.upstream_calls else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A candidate at rest: it has served, and now nobody calls."""

    candidate: str
    seconds: float
    cpu_percent: float
    rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overshoot:
    """How much later than its window a lone request's answer came.

    Each value is latency less window less `unbatched_p50_ms`, the median time that the same call
    took through the same candidate without batching. `queue_p99_ms` is the p99 of what the
    candidate itself reports as queue time (`Server-Timing`), less the window.
    """

    candidate: str
    window_ms: float
    samples: int
    unbatched_p50_ms: float
    least_ms: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    queue_p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A candidate that could not be measured in a part: a workload, `idle` or `overshoot`."""

    candidate: str
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInfo:
    """A candidate as the report names it."""

    key: str
    label: str
    command: str


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything one run of the benchmark found."""

    date: str
    machine: dict[str, str]
    seconds: int
    rounds: int
    candidates: list[CandidateInfo]
    measurements: list[Measurement] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    overshoot: list[Overshoot] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
