"""etcd and kube-apiserver on free ports, up in seconds, gone without a trace."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from tests.apiserver.kit.api import Api, ApiError, Manifest, documents, until
from tests.apiserver.kit.authority import Authority
from tests.apiserver.kit.programs import Program, StartError, program_path
from tests.ports import free_port

__all__ = ["ApiServer", "running_api_server"]

_START_S: Final = 60.0
_TRIES: Final = 3
_KEEPER: Final = Path(__file__).with_name("keeper.py")
_CRD: Final = Path(__file__).with_name("inferenceservice-crd.yaml")


class ApiServer:
    """A running API server; made by `running_api_server`."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        self.folder = folder
        """Temporary; goes with the server."""

        self._flags = flags

        self.authority = Authority()
        self.port = 0
        self._counter = 0
        self._programs: list[Program] = []
        self._ca = folder / "ca.crt"
        self._ca.write_bytes(self.authority.certificate)
        self.authority.issue("kube-apiserver").write(folder, "server")
        self._admin = self.authority.issue("admin", organizations=["system:masters"]).write(
            folder, "admin"
        )
        self.authority.issue("service-accounts").write(folder, "accounts")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """Of its programs."""
        return [program.pid for program in self._programs]

    @property
    def ca_file(self) -> Path:
        """The certificate authority of the server's certificate, PEM."""
        return self._ca

    # Users

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig file."""
        return self.folder / "admin.kubeconfig"

    def client(self, token: str | None = None) -> Api:
        """A client: the administrator's, or that of a token's owner. Close it."""
        return Api(
            self.url, self._ca, certificate=None if token else self._admin, token=token
        )  # fmt: skip

    def write_kubeconfig(
        self, path: Path, token: str | None = None, namespace: str = "default"
    ) -> Path:
        """Write a kubeconfig file for a token's owner, or for the administrator."""
        certificate, key = map(str, self._admin)
        user = {"token": token} if token else {"client-certificate": certificate, "client-key": key}
        cluster = {"server": self.url, "certificate-authority": str(self._ca)}
        context = {"cluster": "tests", "user": "tests", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))
        return path

    # Command-line programs

    def kubectl(
        self,
        *args: str,
        stdin: str | None = None,
        kubeconfig: Path | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, or with another kubeconfig; never raises for a failure.

        Its cache of the API's discovery is not shared between runs.
        """
        return self._run("kubectl", args, stdin, kubeconfig, {}, cwd)

    def helm(
        self, *args: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run helm as the administrator, or with another kubeconfig; never raises for a failure."""
        home = self.folder / "helm"
        names = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        return self._run("helm", args, stdin, kubeconfig, dict.fromkeys(names, str(home)))

    def _run(
        self,
        program: str,
        args: tuple[str, ...],
        stdin: str | None,
        kubeconfig: Path | None,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as home:
            return subprocess.run(
                [program_path(program), *args],
                env={
                    "HOME": home,
                    "PATH": "/usr/bin:/bin",
                    "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                    **env,
                },
                cwd=cwd,
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

    # Namespaces and kinds

    def new_namespace(self, api: Api, labels: Mapping[str, str] | None = None) -> str:
        """Make a namespace of its own with the ServiceAccount that a controller would make."""
        self._counter += 1
        name = f"test-{self._counter}"
        make_namespace(api, name, labels)
        return name

    def install_inferenceservices(self, api: Api) -> None:
        """Have the API server know InferenceServices; waits until it does."""
        for manifest in documents(_CRD.read_text()):
            api.apply(manifest)
            name = manifest["metadata"]["name"]
            until(partial(_established, api, name), f"{name} is established")

    # Life

    def start(self) -> None:
        """Start both programs and wait until they serve; raises StartError."""
        for left in reversed(range(_TRIES)):
            try:
                self._start_once()
                return
            except StartError as error:
                self.stop()
                # Another process may have taken a port in the meantime.
                if not left or "address already in use" not in str(error):
                    raise

    def _start_once(self) -> None:
        etcd_port, peer_port = free_port(), free_port()
        self.port = free_port()
        etcd_url, peer_url = (f"http://127.0.0.1:{port}" for port in (etcd_port, peer_port))
        etcd = self._launch(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
        )
        server = self._launch(
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}",
            f"--client-ca-file={self._ca}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'accounts.crt'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            "--profiling=false",
            *self._flags,
        )
        self._wait_until_ready(etcd, server)
        self.write_kubeconfig(self.kubeconfig)

    def _launch(self, name: str, *flags: str) -> Program:
        command = [program_path(name), *flags]
        program = Program(command, log=self.folder / f"{name}.log")
        self._programs.append(program)
        return program

    def _wait_until_ready(self, *programs: Program) -> None:
        end_s = time.monotonic() + _START_S
        with contextlib.closing(self.client()) as api:
            while not self._is_ready(api):
                for program in programs:
                    program.check()
                if time.monotonic() > end_s:
                    raise StartError(f"not ready in {_START_S} s:\n{programs[-1].output[-3000:]}")
                time.sleep(0.05)
            until(lambda: api.find("Namespace", "default") is not None, "the first namespaces")
            make_account(api, "default", "default")

    @staticmethod
    def _is_ready(api: Api) -> bool:
        try:
            api.call("GET", "/readyz")
        except (requests.RequestException, ApiError):
            return False
        return True

    def stop(self) -> None:
        """End both programs."""
        while self._programs:
            # Nothing is to be kept, so nothing needs to be ended with care.
            program = self._programs.pop()
            program.kill()
            program.stop()


def make_namespace(api: Api, name: str, labels: Mapping[str, str] | None = None) -> Manifest:
    """Make a namespace with its `default` ServiceAccount, without which no pod may be made."""
    meta = {"name": name, "labels": dict(labels or {})}
    made = api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    make_account(api, "default", name)
    return made


def make_account(api: Api, name: str, namespace: str) -> Manifest:
    """Make a ServiceAccount."""
    meta = {"name": name, "namespace": namespace}
    return api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})


def _established(api: Api, name: str) -> bool:
    status: Any = api.get("CustomResourceDefinition", name)["status"]
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return conditions.get("Established") == "True"


@contextmanager
def running_api_server(*flags: str) -> Iterator[ApiServer]:
    """A running API server; when this ends, or the process crashes, nothing is left of it.

    `flags` are kube-apiserver's, added to its usual ones.
    """
    folder = Path(tempfile.mkdtemp(prefix="inference-batcher-apiserver-"))
    keeper = subprocess.Popen(
        [sys.executable, str(_KEEPER), str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    server = ApiServer(folder, flags)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        keeper.communicate(timeout=30)
