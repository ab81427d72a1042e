"""Taking the measurements: load, rest, and how exactly a window is kept."""

from __future__ import annotations

import gc
import http.client
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench import load
from tests.bench.processes import machine_busy_s
from tests.bench.results import Idle, Measurement, Overshoot
from tests.bench.stack import Stack, call, started
from tests.bench.stats import percentile
from tests.bench.workloads import PREDICT_PATH, UNBATCHED_PATH, WORKLOADS, Request, Workload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.candidates import Candidate

WINDOW_MS: Final = 50
_SETTLE_S: Final = 2.0
_QUEUE: Final = re.compile(r"\bqueue\s*;(?:[^,]*;)?\s*dur=([0-9.]+)")
_IRIS: Final = WORKLOADS[0]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    candidate_s: float
    model_s: float
    busy_s: float
    calls: int
    instances: int

    @classmethod
    def take(cls, stack: Stack) -> _Snapshot:
        calls, instances = stack.served()
        return cls(stack.group.cpu_s(), stack.model.cpu_s(), machine_busy_s(), calls, instances)


def under_load(
    candidate: Candidate, workload: Workload, *, number: int, seconds: int, threads: int
) -> Measurement:
    """One candidate, freshly started and warmed up, under one workload for so many seconds.

    Raises StartError or LoadError when there is nothing to measure.
    """
    request = workload.request()
    flags = workload.sidecar_flags
    with started(candidate, workload.mode, request, sidecar_flags=flags) as stack:
        rss_rest_bytes = stack.group.rss_bytes()
        lua = _script(stack.directory, request)
        url = f"http://127.0.0.1:{stack.ports.data}{request.path}"
        load.run(url, lua, callers=workload.callers, seconds=1, threads=threads)
        stack.settle()
        before = _Snapshot.take(stack)
        seen = load.run(url, lua, callers=workload.callers, seconds=seconds, threads=threads)
        stack.settle()
        after = _Snapshot.take(stack)
        rss_peak_bytes = stack.group.peak_rss_bytes()
    served = after.instances - before.instances
    candidate_s = after.candidate_s - before.candidate_s
    model_s = after.model_s - before.model_s
    ours_s = seen.generator_cpu_s + model_s
    if candidate.build is not None:
        ours_s += candidate_s
    problems = seen.problems()
    if served < seen.requests:
        problems.append(f"{seen.requests} answers, but the model server saw {served} instances")
    return Measurement(
        workload=workload.key,
        candidate=candidate.key,
        round=number,
        requests=seen.requests,
        requests_per_s=seen.requests_per_s,
        served=served,
        upstream_calls=after.calls - before.calls,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        max_ms=seen.max_ms,
        cpu_us_per_request=candidate_s / served * 1e6 if served else 0.0,
        rss_rest_bytes=rss_rest_bytes,
        rss_peak_bytes=rss_peak_bytes,
        generator_cores=seen.generator_cpu_s / seen.duration_s if seen.duration_s else 0.0,
        model_cores=model_s / seen.duration_s if seen.duration_s else 0.0,
        other_cores=max(0.0, after.busy_s - before.busy_s - ours_s) / seconds,
        problems=tuple(problems),
    )


def _script(directory: Path, request: Request) -> Path:
    content = directory / "posted"
    content.write_bytes(request.body)
    lua = directory / "post.lua"
    lua.write_text(load.script(content, request.headers))
    return lua


def at_rest(candidate: Candidate, *, seconds: float) -> Idle:
    """CPU and memory of a candidate that has answered 100 requests and is now left alone."""
    request = _IRIS.request()
    with started(candidate, "instant", request) as stack:
        for _ in range(100):
            call(stack.ports.data, "POST", request.path, request.body, request.headers)
        time.sleep(_SETTLE_S)
        before_s, start_s = stack.group.cpu_s(), time.monotonic()
        time.sleep(seconds)
        used_s = stack.group.cpu_s() - before_s
        passed_s = time.monotonic() - start_s
        return Idle(
            candidate=candidate.key,
            seconds=passed_s,
            cpu_percent=100 * used_s / passed_s,
            rss_bytes=stack.group.rss_bytes(),
        )


class _Caller:
    """A client on one kept-alive connection that writes each request in a single segment."""

    def __init__(self, port: int, body: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = {path: _request(path, body) for path in (PREDICT_PATH, UNBATCHED_PATH)}

    def close(self) -> None:
        self._socket.close()

    def time_ms(self, path: str) -> tuple[float, str]:
        """How long one request took, and the answer's Server-Timing header."""
        response = http.client.HTTPResponse(self._socket, method="POST")
        start_s = time.perf_counter()
        self._socket.sendall(self._requests[path])
        response.begin()
        body = response.read()
        took_s = time.perf_counter() - start_s
        if response.status != 200:
            raise load.LoadError(f"{path} was answered with {response.status}: {body[:200]!r}")
        return took_s * 1000, response.getheader("server-timing") or ""


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def queue_ms(server_timing: str) -> float | None:
    """The `queue` duration of a Server-Timing header in ms, None where it has none."""
    found = _QUEUE.search(server_timing)
    return float(found[1]) if found else None


def overshoot(candidate: Candidate, *, samples: int) -> Overshoot:
    """Lone requests, one at a time, each started at another phase of the clock.

    A call without batching goes before each, so that both meet the same machine.
    """
    request = _IRIS.request()
    unbatched: list[float] = []
    batched: list[float] = []
    queued: list[float] = []
    with started(candidate, "instant", request, window_ms=WINDOW_MS) as stack:
        caller = _Caller(stack.ports.data, request.body)
        gc.disable()
        try:
            for number in range(samples):
                # Golden-ratio steps spread the starts evenly over the 10 ms of a scheduler tick.
                time.sleep(0.001 + 0.01 * (number * 0.6180339887 % 1))
                unbatched.append(caller.time_ms(UNBATCHED_PATH)[0])
                took_ms, server_timing = caller.time_ms(PREDICT_PATH)
                batched.append(took_ms)
                reported_ms = queue_ms(server_timing)
                if reported_ms is not None:
                    queued.append(reported_ms)
        finally:
            gc.enable()
            caller.close()
    base_ms = percentile(unbatched, 50)
    late = [took_ms - WINDOW_MS - base_ms for took_ms in batched]
    return Overshoot(
        candidate=candidate.key,
        window_ms=WINDOW_MS,
        samples=samples,
        unbatched_p50_ms=base_ms,
        least_ms=min(late),
        p50_ms=percentile(late, 50),
        p99_ms=percentile(late, 99),
        most_ms=max(late),
        queue_p99_ms=percentile(queued, 99) - WINDOW_MS if queued else None,
    )
