"""One run: which measurement comes when, what is said meanwhile, and what failed."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Final

from tests.bench import measure
from tests.bench.load import LoadError
from tests.bench.processes import StartError
from tests.bench.results import Failure
from tests.bench.stats import significant
from tests.bench.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.candidates import Candidate
    from tests.bench.results import Measurement, Run

IDLE: Final = "idle"
OVERSHOOT: Final = "overshoot"
PARTS: Final = (IDLE, OVERSHOOT, *(workload.key for workload in WORKLOADS))

_FAILURES: Final = (StartError, LoadError, OSError, http.client.HTTPException)


class Session:
    """Measures into `run`; `say` shows progress.

    A candidate that fails to start and never did is not tried again: it costs its time once.
    """

    def __init__(
        self,
        run: Run,
        candidates: Sequence[Candidate],
        *,
        say: Callable[[str], None],
        threads: int,
        idle_seconds: float,
        samples: int,
    ) -> None:
        self._run = run
        self._measured: set[str] = set()
        self._candidates = list(candidates)
        self._say = say
        self._threads = threads
        self._idle_seconds = idle_seconds
        self._samples = samples

    def measure(self, parts: Sequence[str]) -> None:
        """Take the measurements of these parts; StubError when our own model server fails."""
        workloads = [workload for workload in WORKLOADS if workload.key in parts]
        labels = ", ".join(candidate.label for candidate in self._candidates)
        self._say(f"{labels}: about {self._minutes(parts, workloads)} min")
        if IDLE in parts:
            self._rest()
        if OVERSHOOT in parts:
            self._overshoot()
        for number in range(self._run.rounds):
            for workload in workloads:
                self._say(f"\nround {number + 1} of {self._run.rounds}: {workload.title}")
                self._load(workload, number)

    def whole(self, candidate: str) -> bool:
        """Whether all that was to be measured of this candidate was, without errors."""
        return not any(
            failure.candidate == candidate for failure in self._run.failures
        ) and not any(
            measured.problems
            for measured in self._run.measurements
            if measured.candidate == candidate
        )

    def _minutes(self, parts: Sequence[str], workloads: Sequence[Workload]) -> int:
        loads = self._run.rounds * len(self._candidates)
        batchers = sum(candidate.window for candidate in self._candidates)
        seconds = (
            loads * sum(self._run.seconds * one.stretch + 3.5 for one in workloads)
            + (IDLE in parts) * len(self._candidates) * (self._idle_seconds + 3)
            + (OVERSHOOT in parts) * batchers * self._samples * 0.06
        )
        return max(1, round(seconds / 60))

    def _rest(self) -> None:
        self._say(f"\nat rest, {self._idle_seconds:g} s each")
        for candidate in list(self._candidates):
            try:
                idle = measure.at_rest(candidate, seconds=self._idle_seconds)
            except _FAILURES as error:
                self._failed(candidate, IDLE, error)
                continue
            self._run.idle.append(idle)
            self._measured.add(candidate.key)
            self._say(
                f"  {candidate.label:<20} {idle.cpu_percent:6.3f} % of a core"
                f"  {idle.rss_bytes / 2**20:6.1f} MiB"
            )

    def _overshoot(self) -> None:
        self._say(
            f"\nwindow overshoot, window {measure.WINDOW_MS} ms, {self._samples} lone calls each"
        )
        for candidate in list(self._candidates):
            if not candidate.batches:
                continue
            if not candidate.window:
                self._say(f"  {candidate.label:<20} skipped: its command has no {{max_latency}}")
                continue
            try:
                found = measure.overshoot(candidate, samples=self._samples)
            except _FAILURES as error:
                self._failed(candidate, OVERSHOOT, error)
                continue
            self._run.overshoot.append(found)
            self._measured.add(candidate.key)
            self._say(
                f"  {candidate.label:<20} p50 {found.p50_ms:6.2f} ms"
                f"  p99 {found.p99_ms:6.2f} ms  most {found.most_ms:6.2f} ms"
            )

    def _load(self, workload: Workload, number: int) -> None:
        shift = number % max(1, len(self._candidates))
        for candidate in [*self._candidates[shift:], *self._candidates[:shift]]:
            try:
                measured = measure.under_load(
                    candidate,
                    workload,
                    number=number,
                    seconds=self._run.seconds * workload.stretch,
                    threads=self._threads,
                )
            except _FAILURES as error:
                self._failed(candidate, workload.key, error)
                continue
            self._run.measurements.append(measured)
            self._measured.add(candidate.key)
            self._say(_line(candidate, measured))

    def _failed(self, candidate: Candidate, part: str, error: Exception) -> None:
        self._say(f"  {candidate.label:<20} not measured: {error}")
        self._run.failures.append(Failure(candidate=candidate.key, part=part))
        if isinstance(error, StartError) and candidate.key not in self._measured:
            self._say(f"  {candidate.label:<20} is left out from here on")
            self._candidates.remove(candidate)


def _line(candidate: Candidate, measured: Measurement) -> str:
    text = (
        f"  {candidate.label:<20} {significant(measured.cpu_us_per_request):>9} µs/request"
        f" {significant(measured.requests_per_s):>9} /s  p50 {measured.p50_ms:8.2f} ms"
        f"  p99 {measured.p99_ms:8.2f} ms  {measured.instances_per_call:5.1f} per call"
    )
    if measured.problems:
        text += "\n    INVALID: " + "; ".join(measured.problems)
    return text
