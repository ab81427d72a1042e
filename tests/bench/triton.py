"""The command ``python -m tests.bench.triton``: perf_analyzer against Triton, with the sidecar
before it, with nginx before it, and alone.

Triton is the one that the tests of peers install, perf_analyzer that of the tritonclient wheel.
"""

from __future__ import annotations

import argparse
import csv
import ctypes.util
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tests.bench import tools
from tests.bench.candidates import DIRECT, REPOSITORY, SIDECAR, Candidate, Ports, known
from tests.bench.machine import describe
from tests.bench.processes import ProcessGroup, alone
from tests.bench.stats import paired_ratios, significant, spread
from tests.bench.workloads import MAX_BATCH_SIZE, MAX_LATENCY_MS
from tests.peers.kit.programs import installed
from tests.peers.kit.triton import MEASURED, SLOW_CALL_S, prepare
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.stats import Spread

_START_S: Final = 60.0
_POLL_S: Final = 0.05
_LEAST_S: Final = 3
"""perf_analyzer measures three windows, and none may be shorter than a call takes."""
_LABELS: Final = {DIRECT: "Triton alone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What perf_analyzer sends; `form` is json or binary, both ways."""

    title: str
    model: str
    form: str
    callers: int


_SLOW_MS: Final = round(SLOW_CALL_S * 1000)
LOADS: Final = (
    *(
        Load(
            title=f"768 floats in {name}, model of {_SLOW_MS} ms a call, {callers} callers",
            model="slow",
            form=form,
            callers=callers,
        )
        for name, form, callers in (
            ("binary form", "binary", 1),
            ("binary form", "binary", 32),
            ("JSON", "json", 32),
        )
    ),
    Load(
        title="224x224x3 floats in binary form, instant model, 16 callers",
        model="picture",
        form="binary",
        callers=16,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load on one candidate in one round; CPU is per request, of the proxy and of Triton."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    proxy_cpu_us: float
    triton_cpu_us: float
    rows_per_call: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What Triton has done so far, and the CPU time it took."""

    rows: int
    calls: int
    cpu_s: float


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _await(group: ProcessGroup, port: int) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and group.exit_code() is None:
        try:
            if _get(port, "/v2/health/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(_POLL_S)
    sys.exit(f"bench: {group.failure()}")


class Bench:
    """Triton, started once, and what is put before it."""

    def __init__(self, triton: ProcessGroup, port: int, seconds: int) -> None:
        self._triton = triton
        self._port = port
        self._seconds = seconds
        self._home = installed("perf")

    def counts(self, model: str) -> Counts:
        """Read Triton's own statistics."""
        stats = json.loads(_get(self._port, f"/v2/models/{model}/stats")[1])["model_stats"][0]
        return Counts(stats["inference_count"], stats["execution_count"], self._triton.cpu_s())

    def measure(self, candidate: Candidate, load: Load, folder: Path) -> Measured:
        """Start the candidate and let perf_analyzer load it."""
        with ExitStack() as stack:
            port, proxy = self._port, None
            if candidate.build is not None:
                ports = Ports(data=free_port(), admin=free_port(), component=self._port)
                command = candidate.build(ports, MAX_LATENCY_MS, folder)
                group = ProcessGroup(
                    command, cwd=REPOSITORY, log=folder / "candidate.log", stop_s=candidate.stop_s
                )
                proxy, port = stack.enter_context(group), ports.data
                _await(proxy, port)
            self._analyse(load, port, folder, seconds=_LEAST_S)
            before, spent_s = self.counts(load.model), proxy.cpu_s() if proxy else 0.0
            seen = self._analyse(load, port, folder, seconds=self._seconds)
            after = self.counts(load.model)
            rows = after.rows - before.rows
            proxy_s = proxy.cpu_s() - spent_s if proxy else 0.0
        return Measured(
            requests_per_s=float(seen["Inferences/Second"]),
            p50_ms=float(seen["p50 latency"]) / 1000,
            p99_ms=float(seen["p99 latency"]) / 1000,
            proxy_cpu_us=proxy_s / rows * 1e6,
            triton_cpu_us=(after.cpu_s - before.cpu_s) / rows * 1e6,
            rows_per_call=rows / (after.calls - before.calls),
        )

    def _analyse(self, load: Load, port: int, folder: Path, *, seconds: int) -> dict[str, str]:
        report = folder / "perf.csv"
        report.unlink(missing_ok=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        libraries = self._home / "lib" / version / "site-packages" / "nvidia" / "cuda_runtime/lib"
        command = [
            str(self._home / "bin" / "perf_analyzer"),
            *("-m", load.model, "-i", "http", "-u", f"127.0.0.1:{port}"),
            *("--concurrency-range", str(load.callers)),
            *("--input-data", _input(load, folder)),
            *("--input-tensor-format", load.form, "--output-tensor-format", load.form),
            # It wants three windows, and takes them as they are: rounds tell how steady it was.
            *("--measurement-interval", str(seconds * 1000 // 3)),
            *("--max-trials", "3", "--stability-percentage", "999"),
            *("-f", str(report)),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            capture_output=True,
            text=True,
            timeout=_START_S + 10 * seconds,
            check=False,
        )
        if not report.exists():
            sys.exit(f"bench: perf_analyzer failed: {(done.stderr + done.stdout)[-1500:]}")
        with report.open() as lines:
            return next(iter(csv.DictReader(lines)))


def _input(load: Load, folder: Path) -> str:
    """What it should send: its own random floats are not all numbers, and JSON has no NaN."""
    if load.model != "slow":
        return "zero"
    source = random.Random(768)
    file = folder / "input.json"
    file.write_text(json.dumps({"data": [{"X": [source.random() for _ in range(768)]}]}))
    return str(file)


_INTRODUCTION: Final = """\
Taken on %s by `python -m tests.bench.triton`: %d rounds in which the candidates take turns, each \
measurement %d s after a warm-up of %d s. Medians, with the least and the greatest of all rounds \
in brackets. Load generator, proxy and Triton share the cores of one machine: compare within this \
run only.
"""

_HOW: Final = f"""\
## How it was taken

- The sidecar with `--max-batchsize {MAX_BATCH_SIZE} --max-latency {MAX_LATENCY_MS}`; nginx with \
one worker as a plain proxy.
- Triton 2.51 on the CPU, its Python backend with one instance a model, without \
`dynamic_batching`. The slow model sleeps {_SLOW_MS} ms a call, however many rows; the instant one \
gives back a number a picture.
- perf_analyzer 2.46.0 over HTTP, closed loop, inputs and outputs in the same form.
- CPU per request: user and system time of all processes, over the rows that Triton says it has \
inferred meanwhile.
"""

Found = dict[tuple[int, str], list[Measured]]
"""By load and candidate, a measurement of each round."""


def page(found: Found, candidates: Sequence[Candidate], rounds: int, seconds: int) -> str:
    """The Markdown page."""
    parts = [
        "# perf_analyzer against Triton\n",
        _INTRODUCTION % (f"{datetime.now(UTC):%Y-%m-%d}", rounds, seconds, _LEAST_S),
    ]
    for number, load in enumerate(LOADS):
        parts.append(f"## {load.title}\n")
        parts.append(_table(found, candidates, number))
        ratios = _ratios(found, candidates, number)
        if ratios:
            parts.append(ratios)
    machine = [f"- {name}: {text}" for name, text in describe().items() if name != "wrk"]
    parts += [_HOW, "\n".join(machine), ""]
    return "\n".join(parts)


def _table(found: Found, candidates: Sequence[Candidate], number: int) -> str:
    head = ["", "requests/s", "p50 ms", "p99 ms", "rows per call", "CPU µs per request, proxy"]
    lines = [[*head, "CPU µs per request, Triton"], ["---", *["---:"] * 6]]
    for candidate in candidates:
        rounds = found[number, candidate.key]
        columns = (
            [one.requests_per_s for one in rounds],
            [one.p50_ms for one in rounds],
            [one.p99_ms for one in rounds],
            [one.rows_per_call for one in rounds],
            [one.proxy_cpu_us for one in rounds],
            [one.triton_cpu_us for one in rounds],
        )
        label = _LABELS.get(candidate.key, candidate.label)
        lines.append([label, *(_ranged(spread(values)) for values in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _ratios(found: Found, candidates: Iterable[Candidate], number: int) -> str:
    texts = []
    ours = found.get((number, SIDECAR), [])
    for candidate in candidates:
        if candidate.key == SIDECAR or not ours:
            continue
        theirs = found[number, candidate.key]
        label = _LABELS.get(candidate.key, candidate.label)
        speed = _paired([one.requests_per_s for one in ours], [t.requests_per_s for t in theirs])
        if speed:
            texts.append(f"requests/s {_ranged(speed)} times those of {label}")
        cpu = _paired([one.proxy_cpu_us for one in ours], [t.proxy_cpu_us for t in theirs])
        if cpu:
            texts.append(f"CPU {_ranged(cpu)} times that of {label}")
    return f"inference-batcher, pair by pair: {'; '.join(texts)}.\n" if texts else ""


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    return paired_ratios(dict(enumerate(ours)), dict(enumerate(theirs)))


def _ranged(found: Spread) -> str:
    text = significant(found.median)
    if found.low == found.high:
        return text
    return f"{text} ({significant(found.low)}\N{EN DASH}{significant(found.high)})"


def _stop(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.triton", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument(
        "--seconds", type=int, default=6, help="of each measurement, at least 3 (6)"
    )
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "docs" / "bench" / "triton.md", help="the page"
    )
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < _LEAST_S:
        parser.error(f"at least one round, and {_LEAST_S} seconds")
    tools.require("nginx")
    if ctypes.util.find_library("b64") is None:  # perf_analyzer is linked with it
        program = [sys.executable, str(REPOSITORY / "scripts" / "debian.py"), "libb64-0d"]
        if subprocess.run(program, check=False).returncode:
            sys.exit(2)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _stop)
    candidates = [one for one in known({}) if one.key in {DIRECT, "nginx", SIDECAR}]
    found: Found = {}
    with ExitStack() as stack:
        stack.enter_context(alone(lambda: print("waiting for another benchmark")))  # noqa: T201
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = free_port()
        command, env = prepare(folder / "triton", port, MEASURED)
        variables = [f"{name}={value}" for name, value in env.items()]
        group = ProcessGroup(["env", *variables, *command], log=folder / "triton.log", stop_s=5)
        bench = Bench(stack.enter_context(group), port, options.seconds)
        _await(group, port)
        for number in range(options.rounds):
            for index, load in enumerate(LOADS):
                shift = number % len(candidates)
                for candidate in [*candidates[shift:], *candidates[:shift]]:
                    mine = folder / f"{number}-{index}-{candidate.key}"
                    mine.mkdir()
                    measured = bench.measure(candidate, load, mine)
                    found.setdefault((index, candidate.key), []).append(measured)
                    print(number + 1, load.title, candidate.key, measured, flush=True)  # noqa: T201
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(found, candidates, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
