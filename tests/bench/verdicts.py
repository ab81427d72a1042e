"""Ratios to the peer, and whether the sidecar reaches what it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.candidates import DIRECT, NGINX, PEER, SIDECAR
from tests.bench.results import Measurement
from tests.bench.stats import Spread, paired_ratios, significant
from tests.bench.workloads import (
    IDLE_CPU_TARGET_PERCENT,
    OVERSHOOT_P99_TARGET_MS,
    REST_RSS_TARGET_MIB,
    WORKLOADS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.results import Run

Value = Callable[[Measurement], float]

_MIB: Final = 2**20
_DASH: Final = "\N{EN DASH}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One demand on the sidecar: what it is, what was found, and whether that meets it."""

    what: str
    target: str
    found: str
    met: bool


def verdicts(run: Run) -> list[Verdict]:
    """Every demand that this run has numbers for."""
    return [*_against_others(run), *_by_itself(run)]


def values(run: Run, workload: str, candidate: str, value: Value) -> dict[int, float]:
    """Round → value, of the rounds without problems."""
    return {
        measurement.round: value(measurement)
        for measurement in run.measurements
        if measurement.workload == workload
        and measurement.candidate == candidate
        and not measurement.problems
    }


def ratio(run: Run, workload: str, value: Value, other: str) -> Spread | None:
    """The sidecar's value over the other's, pair by pair; None where one of them is missing."""
    return paired_ratios(values(run, workload, SIDECAR, value), values(run, workload, other, value))


def cpu_us(measurement: Measurement) -> float:
    return measurement.cpu_us_per_request


def requests_per_s(measurement: Measurement) -> float:
    return measurement.requests_per_s


def label(run: Run, key: str) -> str:
    """What the report calls a candidate."""
    return next((found.label for found in run.candidates if found.key == key), key)


def ranged(found: Spread, digits: int = 3) -> str:
    """A median with its range in brackets, where there is one."""
    text = significant(found.median, digits)
    if found.low == found.high:
        return text
    return f"{text} ({significant(found.low, digits)}{_DASH}{significant(found.high, digits)})"


def _against_others(run: Run) -> Iterator[Verdict]:
    for workload in WORKLOADS:
        for other, cpu_target, throughput_target in (
            (PEER, workload.cpu_target, workload.throughput_target),
            (NGINX, workload.proxy_cpu_target, None),
            (DIRECT, None, workload.alone_throughput_target),
        ):
            what = f"{workload.title}: %s, ratio to {label(run, other)}"
            cpu = ratio(run, workload.key, cpu_us, other)
            if cpu is not None and cpu_target is not None:
                yield Verdict(
                    what=what % "CPU per request",
                    target=f"≤ {cpu_target:g}",
                    found=ranged(cpu),
                    met=cpu.median <= cpu_target,
                )
            throughput = ratio(run, workload.key, requests_per_s, other)
            if throughput is not None and throughput_target is not None:
                yield Verdict(
                    what=what % "throughput",
                    target=f"≥ {throughput_target:g}{_TIMES}",
                    found=f"{ranged(throughput)}{_TIMES}",
                    met=throughput.median >= throughput_target,
                )


def _by_itself(run: Run) -> Iterator[Verdict]:
    for overshoot in run.overshoot:
        if overshoot.candidate == SIDECAR:
            yield Verdict(
                what="window overshoot p99",
                target=f"≤ {OVERSHOOT_P99_TARGET_MS:g} ms",
                found=f"{overshoot.p99_ms:.2f} ms",
                met=overshoot.p99_ms <= OVERSHOOT_P99_TARGET_MS,
            )
    for idle in run.idle:
        if idle.candidate == SIDECAR:
            yield Verdict(
                what="idle CPU",
                target=f"< {IDLE_CPU_TARGET_PERCENT:g} % of a core",
                found=f"{idle.cpu_percent:.3f} %",
                met=idle.cpu_percent < IDLE_CPU_TARGET_PERCENT,
            )
            rss_mib = idle.rss_bytes / _MIB
            yield Verdict(
                what="resident memory at rest",
                target=f"< {REST_RSS_TARGET_MIB:g} MiB",
                found=f"{rss_mib:.1f} MiB",
                met=rss_mib < REST_RSS_TARGET_MIB,
            )
