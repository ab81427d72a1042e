"""The product as the chart installs it, on the real API server, without nodes.

Helm installs the chart. What a kubelet would do is done here: the programs are started with the
Deployments' own arguments (on ports of their own), the operator with a token of its ServiceAccount
and with nobody else's rights, the webhook with a folder that follows the Secret that it mounts.
"""

import base64
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import requests

from tests.apiserver.kit.api import Api, Manifest, until
from tests.apiserver.kit.network import ClusterNetwork
from tests.apiserver.kit.programs import ROOT, Program
from tests.apiserver.kit.server import ApiServer, make_namespace, running_api_server
from tests.ports import free_port

__all__ = ["NAMESPACE", "Installation", "SecretVolume", "Webhook", "running_installation"]

CHART: Final = ROOT / "charts" / "inference-batcher"
NAMESPACE: Final = "batching"
RELEASE: Final = "inference-batcher"
_BIN: Final = ROOT / ".venv" / "bin"
_MOUNT: Final = "/etc/inference-batcher/tls"
_RUNTIMES: Final = "/etc/inference-batcher/runtimes"


class SecretVolume:
    """A folder that follows a Secret, as a kubelet keeps it: all files change at once."""

    def __init__(self, api: Api, name: str, folder: Path, every_s: float = 0.2) -> None:
        self._api, self._name, self._every_s = api, name, every_s
        self.folder = folder
        folder.mkdir()
        self._stop = threading.Event()
        self._seen: Mapping[str, str] | None = None
        self._count = 0
        self.look()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def look(self) -> None:
        """Bring the folder up to date."""
        secret = self._api.find("Secret", self._name, NAMESPACE) or {}
        data = secret.get("data") or {}
        if data == self._seen:
            return
        self._seen = data
        self._count += 1
        fresh = self.folder / f"..{self._count}"
        fresh.mkdir()
        for key, text in data.items():
            (fresh / key).write_bytes(base64.b64decode(text))
            link = self.folder / key
            if not link.is_symlink():
                link.symlink_to(f"..data/{key}")
        pointer = self.folder / "..next"
        pointer.symlink_to(fresh.name)
        os.replace(pointer, self.folder / "..data")
        shutil.rmtree(self.folder / f"..{self._count - 1}", ignore_errors=True)

    def _follow(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that runs."""

    program: Program
    port: int
    health_port: int


class Installation:
    """A release of the chart; made by `running_installation`."""

    def __init__(self, server: ApiServer, api: Api, network: ClusterNetwork) -> None:
        self.server, self.api, self.network = server, api, network
        self.operator_port = free_port()
        self.webhooks: list[Webhook] = []
        self._count = 0

    # Helm

    def helm(self, command: str, *args: str) -> str:
        """Run `helm COMMAND RELEASE CHART`, or without CHART where there is none."""
        chart = [str(CHART)] if command in ("install", "upgrade") else []
        done = self.server.helm(command, RELEASE, *chart, "--namespace", NAMESPACE, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Programs

    def arguments(self, component: str) -> list[str]:
        """What the Deployment tells its program."""
        spec = self.deployment(component)["spec"]["template"]["spec"]
        args: list[str] = spec["containers"][0]["args"]
        return args

    def deployment(self, component: str) -> Manifest:
        return self.api.get("Deployment", f"{RELEASE}-{component}", NAMESPACE)

    def kubeconfig(self, token: str | None = None) -> Path:
        """A kubeconfig file of the operator's ServiceAccount."""
        token = token or self.api.token(f"{RELEASE}-operator", NAMESPACE)
        path = self.server.folder / "operator.kubeconfig"
        return self.server.write_kubeconfig(path, token, NAMESPACE)

    def start_operator(self, *more: str, env: Mapping[str, str] | None = None) -> Program:
        """Start the operator; later flags win over the Deployment's."""
        self._count += 1
        runtimes = self.server.folder / f"runtimes-{self._count}"
        runtimes.mkdir()
        config_map = self.api.find("ConfigMap", f"{RELEASE}-runtimes", NAMESPACE) or {"data": {}}
        for key, text in config_map["data"].items():
            (runtimes / key).write_text(text)
        return Program(
            [
                str(_BIN / "batcher-operator"),
                *(arg.replace(_RUNTIMES, str(runtimes)) for arg in self.arguments("operator")),
                f"--kubeconfig={self.kubeconfig()}",
                "--host=127.0.0.1",
                f"--health-port={self.operator_port}",
                *more,
            ],
            log=self.server.folder / f"operator-{self._count}.log",
            env={"POD_NAMESPACE": NAMESPACE, **(env or {})},
        )

    @contextmanager
    def webhook(self, *more: str) -> Iterator["Webhook"]:
        """One more running webhook, which the Service leads to as well."""
        self._count += 1
        port, health_port = free_port(), free_port()
        folder = self.server.folder / f"volume-{self._count}"
        with closing(SecretVolume(self.api, f"{RELEASE}-webhook-tls", folder)):
            args = [arg.replace(_MOUNT, str(folder)) for arg in self.arguments("webhook")]
            program = Program(
                [
                    str(_BIN / "batcher-webhook"),
                    *args,
                    "--host=127.0.0.1",
                    f"--port={port}",
                    f"--health-port={health_port}",
                    "--shutdown-delay=0",
                    *more,
                ],
                log=self.server.folder / f"webhook-{self._count}.log",
            )
            webhook = Webhook(program, port, health_port)
            with program:
                self._serve_by([*self.webhooks, webhook])
                try:
                    yield webhook
                finally:
                    self._serve_by([other for other in self.webhooks if other is not webhook])

    def _serve_by(self, webhooks: list["Webhook"]) -> None:
        self.webhooks = webhooks
        service = self.api.get("Service", f"{RELEASE}-webhook", NAMESPACE)["spec"]
        for each in service["ports"]:
            address = f"{service['clusterIP']}:{each['port']}"
            self.network.lead(address, [webhook.port for webhook in webhooks])

    # Their own word

    def why_not_ready(self) -> str:
        """The operator's readiness: empty, or why it is not."""
        return _why_not(self.operator_port, "readyz")

    def why_not_alive(self) -> str:
        """The operator's liveness: empty, or why it is not."""
        return _why_not(self.operator_port, "livez")

    def wait_until_ready(self, within_s: float = 30.0) -> None:
        """Wait until the operator is ready, and every webhook."""
        until(partial(_is_ready, self.operator_port), "the operator is ready", within_s)
        for webhook in self.webhooks:
            until(partial(_is_ready, webhook.health_port), "the webhook is ready", within_s)

    def metric(self, name: str, port: int | None = None) -> float:
        """The sum of a metric's samples, the operator's or that of another port."""
        url = f"http://127.0.0.1:{port or self.operator_port}/metrics"
        text = requests.get(url, timeout=5).text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def _why_not(port: int, path: str) -> str:
    try:
        response = requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5)
    except requests.ConnectionError as error:
        return str(error)
    body: Any = response.json() if response.status_code == 503 else {"error": ""}
    return str(body["error"])


def _is_ready(port: int) -> bool:
    return not _why_not(port, "readyz")


@contextmanager
def running_installation(
    *values: str, knows_inferenceservices: bool = True, flags: Sequence[str] = ()
) -> Iterator[Installation]:
    """An API server of its own with the chart installed, with these `--set-json` values.

    InferenceServices are defined as for KServe, unless the chart is to do that; `flags` are
    kube-apiserver's.
    """
    with ExitStack() as stack:
        network = ClusterNetwork(Path(stack.enter_context(TemporaryDirectory())))
        stack.enter_context(network.running())
        server = stack.enter_context(running_api_server(network.flag, *flags))
        api = stack.enter_context(closing(server.client()))
        if knows_inferenceservices:
            server.install_inferenceservices(api)
        make_namespace(api, NAMESPACE)
        installation = Installation(server, api, network)
        sets = [flag for value in values for flag in ("--set-json", value)]
        installation.helm("install", *sets)
        yield installation
