"""Load from inside of the cluster, through Services and their names."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any, Final

from tests.apiserver.kit import Manifest, program_path, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.workloads import RESTRICTED

__all__ = ["Answer", "Caller", "Load", "Report"]

_END_S: Final = 60.0
_READ: Final = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the requests; `tests/cluster/images/load.py` says what each field means."""

    sent: int
    right: int
    wrong: int
    statuses: dict[str, int]
    lost: dict[str, int]
    batched: int
    without_sidecar: int
    pods: dict[str, int]
    connections: int
    slowest_s: float
    seconds: float
    examples: list[str]

    def check_all_right(self) -> None:
        """Fail the test if a request was lost, failed, or got another's answer."""
        assert self.lost == {}, self
        assert self.statuses == {"200": self.sent}, self
        assert self.right == self.sent, self


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one request."""

    status: int
    """0 if there was no answer: the body then says why."""
    headers: dict[str, str]
    """Their names in lower case."""
    body: str

    @property
    def json(self) -> Any:
        """Its body. Fails the test if there is no answer."""
        assert self.status, self.body
        return json.loads(self.body)

    @property
    def queued_ms(self) -> float:
        """How long the request waited for others."""
        timing = self.headers["server-timing"]
        return float(timing.partition("queue;dur=")[2].partition(",")[0])


class Load:
    """Callers at work."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._out = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=self._out, text=True
        )

    def wait_for(self, requests: int, within_s: float = 240.0) -> None:
        """Wait until so many were sent in all."""
        until(lambda: self._sent() >= requests, f"{requests} requests were sent", within_s)

    def _sent(self) -> int:
        assert self._process.poll() is None, self._lines()
        lines = self._lines()
        return int(json.loads(lines[-1])["sent"]) if lines else 0

    def _lines(self) -> list[str]:
        self._out.seek(0)
        return [line for line in self._out.read().splitlines(keepends=True) if line[-1] == "\n"]

    def stop(self) -> Report:
        """Have them end with the requests that they have sent; what became of all."""
        self._process.communicate(timeout=_END_S)
        lines = self._lines()
        self._out.close()
        assert self._process.returncode == 0, lines
        return Report(**json.loads(lines[-1]))

    def abort(self) -> None:
        """End them in whatever state, if they still run."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=_END_S)
        self._out.close()


class Caller:
    """A pod that calls."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        container: Manifest = {
            "name": "caller",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "infinity"],
            "securityContext": RESTRICTED,
        }
        self._manifest: Manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "caller", "namespace": namespace},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        self._loads: list[Load] = []

    def start(self) -> None:
        """Make it and wait until it runs."""
        self._cluster.apply(self._manifest)
        self._cluster.kubectl(
            *("wait", "--for=condition=Ready", "pod/caller", "-n", self._namespace),
            "--timeout=60s", within_s=90,
        )  # fmt: skip

    def load(self, url: str, callers: int = 32, think_ms: float = 10.0, rows: int = 1) -> Load:
        """Start many callers, once the address leads somewhere."""
        until(lambda: self.ask(url, {"instances": [0]})[0].status == 200, f"{url} answers", 30.0)
        command = ["python", "/app/load.py", "--url", url, "--callers", str(callers)]
        command += ["--think-ms", str(think_ms), "--rows", str(rows)]
        inside = (program_path("kubectl"), "exec", "-i", "-n", self._namespace, "caller", "--")
        load = Load([*inside, *command], self._cluster.env)
        self._loads.append(load)
        return load

    def ask(self, url: str, *bodies: object, gap_ms: float = 20.0) -> list[Answer]:
        """Send requests, `gap_ms` apart, once the address takes connections; their answers."""
        command = ["python", "/app/ask.py", "--url", url, "--gap-ms", str(gap_ms)]
        out = self._cluster.kubectl(
            *("exec", "-i", "-n", self._namespace, "caller", "--", *command),
            stdin=json.dumps(bodies),
            within_s=120,
        )
        return [Answer(**each) for each in json.loads(out)]

    def read(self, url: str) -> Any:
        """What is at an address, as JSON."""
        command = ("python", "-c", _READ, url)
        return json.loads(self._cluster.execute(self._namespace, "caller", *command))

    def close(self) -> None:
        """End all callers."""
        for load in self._loads:
            load.abort()
