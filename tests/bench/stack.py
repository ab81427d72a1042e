"""A candidate with its own model server stub, both started fresh and ready."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.candidates import REPOSITORY, SIDECAR, Candidate, Ports
from tests.bench.processes import ProcessGroup, StartError, StubError
from tests.bench.workloads import MAX_LATENCY_MS
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.bench.workloads import Request

_START_TIMEOUT_S: Final = 30.0
_SETTLE_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs: `group` is the candidate, and is `model` itself for the model server alone."""

    candidate: Candidate
    ports: Ports
    model: ProcessGroup
    group: ProcessGroup
    directory: Path

    def served(self) -> tuple[int, int]:
        """Calls and instances that the model server has answered so far."""
        status, body = call(self.ports.component, "GET", "/stats", b"")
        if status != 200:
            raise StubError(f"the model server stub answered {status}: {body[:200]!r}")
        counts: dict[str, int] = json.loads(body)
        return counts["calls"], counts["instances"]

    def settle(self) -> None:
        """Wait until what a stopped load left behind has been worked off, or for 5 s."""
        deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
        used_s = self.group.cpu_s()
        while time.monotonic() < deadline_s:
            time.sleep(2 * _POLL_S)
            before_s, used_s = used_s, self.group.cpu_s()
            if used_s - before_s < 0.2 * _POLL_S:
                return


def call(
    port: int,
    method: str,
    path: str,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    timeout_s: float = 10,
) -> tuple[int, bytes]:
    """One request on its own connection: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def started(
    candidate: Candidate,
    mode: str,
    request: Request,
    *,
    window_ms: int = MAX_LATENCY_MS,
    sidecar_flags: tuple[str, ...] = (),
) -> Iterator[Stack]:
    """Start a model server stub and the candidate before it; both are killed at the end.

    Ready means that the candidate answers `request`, one instance; StartError
    when it does not within 30 s, StubError when the model server stub itself fails.
    """
    component = free_port()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        model_log = directory / "model.log"
        command = [sys.executable, "-m", "tests.bench.predictor"]
        command += ["--port", str(component), "--mode", mode]
        model = stack.enter_context(ProcessGroup(command, cwd=REPOSITORY, log=model_log))
        try:
            _await_ready(model, component, request)
        except StartError as error:
            raise StubError(f"the model server stub failed: {error}") from error
        ports, group = Ports(data=component, admin=0, component=component), model
        if candidate.build is not None:
            ports = Ports(data=free_port(), admin=free_port(), component=component)
            log = directory / "candidate.log" if candidate.log else None
            command = candidate.build(ports, window_ms, directory)
            if candidate.key == SIDECAR:
                command += sidecar_flags
            group = ProcessGroup(command, cwd=REPOSITORY, log=log, stop_s=candidate.stop_s)
            stack.enter_context(group)
            _await_ready(group, ports.data, request)
        yield Stack(candidate=candidate, ports=ports, model=model, group=group, directory=directory)


def _await_ready(group: ProcessGroup, port: int, request: Request) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    last = "it did not listen"
    while time.monotonic() < deadline_s and group.exit_code() is None:
        try:
            status, answer = call(port, "POST", request.path, request.body, request.headers)
            if status == 200 and (b'"predictions"' in answer or b'"shape":[1,1]' in answer):
                return
            last = f"it answered {status}: {answer[:200]!r}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(_POLL_S)
    raise StartError(f"{group.failure()}\n({last})")
