"""A cluster of our own on this machine: one node, everything real, up in seconds.

It needs root and Linux. All its files are in `.cache/cluster` and in a folder of /run, all its
network in a namespace, all its containers in one control group: `down` finds whatever is left of it
there, however it ended.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import requests

from tests.apiserver.kit import ROOT, Api, ApiError, StartError, until
from tests.cluster.kit.archive import write_pause
from tests.cluster.kit.control_plane import NODE_NAME, URL, Credentials, start_control_plane
from tests.cluster.kit.daemons import Daemons
from tests.cluster.kit.dns import dns_manifests, write_dns
from tests.cluster.kit.network import INSIDE, create_network, delete_network
from tests.cluster.kit.node import Node

__all__ = ["OwnCluster"]

_STATE: Final = ROOT / ".cache" / "cluster"
_RUN: Final = Path("/run/inference-batcher-cluster")
_IMAGES: Final = ROOT / ".cache" / "images"
_START_S: Final = 60.0
_PACKAGES: Final = (
    *("containerd", "runc", "containernetworking-plugins", "iptables", "conntrack"),
    *("iproute2", "util-linux"),
)


class OwnCluster:
    """The cluster; there is at most one on a machine."""

    def __init__(self) -> None:
        self._daemons = Daemons(_RUN / "pids", _STATE / "logs", INSIDE)
        self._node = Node(_STATE, _RUN, self._daemons)
        self.kubeconfig = _STATE / "credentials" / "admin.kubeconfig"
        """The administrator's kubeconfig file."""
        self.volumes = _STATE / "volumes"
        """Where the node, which is this machine, may have its volumes; it goes with the cluster."""

    @property
    def is_up(self) -> bool:
        """Whether all its programs run."""
        names = self._daemons.names
        return len(names) > 1 and all(map(self._daemons.is_running, names))

    def up(self) -> None:
        """Start it, after clearing away what an earlier one left; raises StartError."""
        if os.geteuid() or not sys.platform.startswith("linux"):
            raise StartError("a cluster can be made here by root and on Linux only")
        _prepare()
        self.down()
        try:
            self._start()
        except BaseException:
            self._keep_logs()
            self.down()
            raise

    def _start(self) -> None:
        pause, dns = _IMAGES / "pause.tar", _IMAGES / "coredns.tar"
        write_pause(pause)
        write_dns(dns)
        _STATE.mkdir(parents=True)
        _RUN.mkdir(parents=True)
        self._node.note_elsewhere()
        create_network()
        credentials = Credentials(_STATE / "credentials")
        start_control_plane(self._daemons, credentials, _STATE)
        self._node.start_containerd()
        for archive in (pause, dns):
            self._node.import_image(archive)
        with closing(self._admin(credentials)) as api:
            self._wait(partial(_is_ready, api), "the API server is ready")
            self._node.start_kubelet(credentials)
            for manifest in dns_manifests():
                until(partial(_applied, api, manifest), "the cluster takes its DNS")
            self._wait(partial(_node_is_ready, api), "the node is ready")
            self._wait(partial(_dns_is_ready, api), "the DNS is ready")

    def _admin(self, credentials: Credentials) -> Api:
        pair = (credentials.folder / "admin.crt", credentials.folder / "admin.key")
        return Api(URL, credentials.ca, certificate=pair)

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + _START_S
        while not reached():
            self._daemons.check()
            if time.monotonic() > end_s:
                words = {name: self._daemons.last_words(name) for name in ("kubelet", "containerd")}
                raise StartError(f"not within {_START_S} s: {what}: {words}")
            time.sleep(0.1)

    def down(self) -> None:
        """Delete it with all that runs in it; nothing is left, also of one that crashed."""
        # The kubelet first: it would start again what is ended.
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"):
            self._daemons.stop(name, politely=False)
        for name in ("kube-apiserver", "etcd"):
            self._daemons.stop(name, politely=False)
        self._node.clear()
        delete_network()

    def load(self, archive: Path) -> None:
        """Give the node an image."""
        self._node.import_image(archive)

    def _keep_logs(self) -> None:
        """Say what the programs wrote last: their logs go with the cluster."""
        for name in self._daemons.names:
            sys.stderr.write(f"--- {name} ---\n{self._daemons.last_words(name)}\n")


def _prepare() -> None:
    """Have all programs that a cluster is made of."""
    for script in (
        ["scripts/debian.py", *_PACKAGES],
        ["scripts/kubernetes/build.py"],
        ["scripts/kubernetes/extras.py", "coredns"],
    ):
        if subprocess.run([sys.executable, *script], cwd=ROOT, check=False).returncode:
            raise StartError(f"{script[0]} failed: see its words above")


def _is_ready(api: Api) -> bool:
    try:
        api.call("GET", "/readyz")
    except (requests.RequestException, ApiError):
        return False
    return api.find("Namespace", "kube-system") is not None


def _applied(api: Api, manifest: dict[str, object]) -> bool:
    try:
        api.apply(manifest, force=True)
    except ApiError as error:
        if error.status in (403, 409, 500, 503):  # the first roles and classes are still made
            return False
        raise
    return True


def _node_is_ready(api: Api) -> bool:
    node = api.find("Node", NODE_NAME) or {}
    conditions = node.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _dns_is_ready(api: Api) -> bool:
    status = api.get("Deployment", "coredns", "kube-system").get("status", {})
    return bool(status.get("readyReplicas"))
