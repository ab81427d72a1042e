"""The load generator: wrk with a generated script, and reading what it printed."""

from __future__ import annotations

import json
import resource
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.processes import ProcessGroup, StartError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MARK: Final = "bench-result "
#: wrk keeps a counter for every microsecond of it, so it is not set higher than needed.
_TIMEOUT_S: Final = 10

_SCRIPT: Final = """\
local file = assert(io.open(%(body)s, "rb"))
wrk.method = "POST"
%(headers)swrk.body = file:read("*a")
file:close()

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('%(mark)s{"requests":%%d,"duration_us":%%d,"connect":%%d,"read":%%d,'
    .. '"write":%%d,"timeout":%%d,"status":%%d,"p50_us":%%d,"p99_us":%%d,"max_us":%%d}\\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write,
    errors.timeout, errors.status, latency:percentile(50), latency:percentile(99), latency.max))
end
"""


class LoadError(Exception):
    """The load generator failed, or printed what cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generator saw."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    generator_cpu_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s if self.duration_s else 0.0

    def problems(self) -> list[str]:
        """Why these numbers are not to be trusted; empty when they are."""
        found = [f"{count} {_ERRORS[name]}" for name, count in self.errors.items() if count]
        if not self.requests:
            found.append("no request was answered")
        return found


_ERRORS: Final = {
    "connect": "connections failed",
    "read": "reads failed",
    "write": "writes failed",
    "timeout": f"requests took longer than {_TIMEOUT_S} s",
    "status": "answers were errors",
}


def script(body: Path, headers: Iterable[tuple[str, str]]) -> str:
    """The wrk script that posts the file `body` and prints one line of exact results."""
    lines = "".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in headers)
    return _SCRIPT % {"body": json.dumps(str(body)), "headers": lines, "mark": _MARK}


def parse(output: str, *, generator_cpu_s: float = 0.0) -> Load:
    """Read wrk's output; LoadError when the script's line is absent or not as it should be."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise LoadError(f"wrk printed no result: {output.strip()[-500:] or 'nothing at all'}")
    try:
        values: dict[str, int] = json.loads(lines[0].removeprefix(_MARK))
        return Load(
            requests=values["requests"],
            duration_s=values["duration_us"] / 1e6,
            p50_ms=values["p50_us"] / 1000,
            p99_ms=values["p99_us"] / 1000,
            max_ms=values["max_us"] / 1000,
            errors={name: values[name] for name in _ERRORS},
            generator_cpu_s=generator_cpu_s,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"wrk printed an unreadable result: {lines[0]}") from error


def run(url: str, lua: Path, *, callers: int, seconds: int, threads: int = 1) -> Load:
    """Load `url` from so many callers, each sending its next request when it has its answer.

    Raises LoadError when wrk fails or hangs.
    """
    log = lua.with_suffix(".out")
    log.unlink(missing_ok=True)
    command = [
        "wrk",
        f"--threads={threads}",
        f"--connections={callers}",
        f"--duration={seconds}s",
        f"--timeout={_TIMEOUT_S}s",
        f"--script={lua}",
        url,
    ]
    before_s = _children_cpu_s()
    try:
        with ProcessGroup(command, log=log) as wrk:
            status = wrk.wait(seconds + 3 * _TIMEOUT_S)
    except (StartError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"wrk failed: {error}") from error
    output = log.read_text(errors="replace")
    if status:
        raise LoadError(f"wrk ended with status {status}: {output.strip()[-500:]}")
    return parse(output, generator_cpu_s=_children_cpu_s() - before_s)


def _children_cpu_s() -> float:
    """CPU seconds of the children waited for so far: wrk is the only one that ends in between."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
