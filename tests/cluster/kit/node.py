"""containerd, the kubelet and kube-proxy of the one-node cluster."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.apiserver.kit import StartError, program_path
from tests.cluster.kit.archive import PAUSE_IMAGE
from tests.cluster.kit.control_plane import NODE_NAME, Credentials
from tests.cluster.kit.daemons import Daemons, end_processes
from tests.cluster.kit.network import NODE_IP, POD_RANGE

__all__ = ["DNS_IP", "Node"]

DNS_IP: Final = "10.96.0.10"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_CGROUP: Final = "inference-batcher"
_NETWORK: Final = "inference-batcher-pods"
_START_S: Final = 30.0
_NOTE: Final = "made-elsewhere"
_CNI_CACHE: Final = Path("/var/lib/cni/results")
_LINKS: Final = Path("/var/log/containers")
_ELSEWHERE: Final = (
    *(_CNI_CACHE.parent, _LINKS, Path("/var/lib/kubelet"), Path("/run/containerd")),
    Path("/usr/libexec/kubernetes"),
)
_CONTAINERD: Final = """
version = 2
root = "{state}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where the score may not be lowered, runc would fail.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


class Node:
    """The node, whose files are in `state` (on a disk) and `run` (gone when the machine is)."""

    def __init__(self, state: Path, run: Path, daemons: Daemons) -> None:
        self._state, self._run, self._daemons = state, run, daemons
        self.socket = run / "containerd.sock"

    def start_containerd(self) -> None:
        """Start it and wait until it answers; raises StartError."""
        network = {
            "cniVersion": "0.4.0",
            "name": _NETWORK,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods",
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self._run / "addresses"),
                        "ranges": [[{"subnet": POD_RANGE}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        folder = self._state / "cni"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pods.conflist").write_text(json.dumps(network, indent=1))
        config = self._state / "containerd.toml"
        config.write_text(
            _CONTAINERD.format(
                state=self._state, run=self._run, socket=self.socket, pause=PAUSE_IMAGE
            )
        )
        self._daemons.start("containerd", "containerd", "--config", str(config))
        end_s = time.monotonic() + _START_S
        while self._ctr("version").returncode:
            self._daemons.check()
            if time.monotonic() > end_s:
                raise StartError(f"containerd:\n{self._daemons.last_words('containerd')}")
            time.sleep(0.1)

    def import_image(self, archive: Path) -> None:
        """Take an image from an archive; raises StartError."""
        done = self._ctr("--namespace", "k8s.io", "images", "import", str(archive))
        if done.returncode:
            raise StartError(f"{archive} cannot be imported: {done.stderr}")

    def _ctr(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", str(self.socket), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    def start_kubelet(self, credentials: Credentials) -> None:
        """Have the node register with the API server; kube-proxy leads its Services."""
        _make_cgroups()
        folder = credentials.folder
        resolver = self._state / "resolv.conf"
        resolver.write_text("")  # names beyond the cluster are nobody's business here
        kubelet = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(credentials.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(folder / "kubelet.crt"),
            "tlsPrivateKeyFile": str(folder / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "address": NODE_IP,
            "healthzPort": 0,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{_CGROUP}",
            "clusterDNS": [DNS_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": str(resolver),
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "oomScoreAdj": 0,
            "nodeStatusUpdateFrequency": "5s",
            "podLogsDir": str(self._state / "pod-logs"),
            "volumePluginDir": str(self._state / "volume-plugins"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
            "maxPods": 100,
            # What is killed again and again comes back as soon as the first time.
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        }
        proxy = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(credentials.proxy)},
            "mode": "iptables",
            "clusterCIDR": POD_RANGE,
            "bindAddress": NODE_IP,
            "hostnameOverride": NODE_NAME,
            "conntrack": {"maxPerCore": 0},
            "oomScoreAdj": 0,
        }
        flags = (
            f"--kubeconfig={credentials.node}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_IP}",
            f"--root-dir={self._state / 'kubelet'}",
        )
        self._start_with("kubelet", kubelet, *flags)
        self._start_with("kube-proxy", proxy)

    def _start_with(self, name: str, config: dict[str, object], *flags: str) -> None:
        path = self._state / f"{name}.json"
        path.write_text(json.dumps(config, indent=1))
        self._daemons.start(name, program_path(name), f"--config={path}", *flags)

    def clear(self) -> None:
        """End every container and whatever holds it, unmount all, and delete the state.

        The kubelet must have ended; containerd may run or not.
        """
        for _ in range(5):
            end_processes(_pids_in_cgroups())
            end_processes(self._shims())
            if not any(_pids_in_cgroups()) and not any(self._shims()):
                break
        self._daemons.stop("containerd")
        self._clear_elsewhere()
        for folder in (self._state, self._run):
            _unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)
        for folder in _cgroup_folders():
            with contextlib.suppress(OSError):
                folder.rmdir()

    def note_elsewhere(self) -> None:
        """Note which folders are not there yet that the programs insist on making."""
        missing = [str(folder) for folder in _ELSEWHERE if not folder.exists()]
        (self._run / _NOTE).write_text("\n".join(missing))

    def _clear_elsewhere(self) -> None:
        """Delete what the programs wrote to other places."""
        with contextlib.suppress(OSError):
            for folder in (self._run / _NOTE).read_text().splitlines():
                shutil.rmtree(folder, ignore_errors=True)
        tasks = self._run / "containerd" / "io.containerd.runtime.v2.task" / "k8s.io"
        for address in tasks.glob("*/address"):
            with contextlib.suppress(OSError):
                Path(address.read_text().removeprefix("unix://")).unlink()
        for mine in _CNI_CACHE.glob(f"{_NETWORK}-*"):
            sandbox = mine.name.removeprefix(f"{_NETWORK}-").partition("-")[0]
            for path in _CNI_CACHE.glob(f"*-{sandbox}-*"):
                path.unlink(missing_ok=True)
        for link in _LINKS.glob("*.log"):
            if link.is_symlink() and link.readlink().is_relative_to(self._state):
                link.unlink()

    def _shims(self) -> Iterator[int]:
        """The processes that hold containers for our containerd."""
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if "containerd-shim" in words[0] and str(self.socket) in words:
                        yield int(process.name)


def _make_cgroups() -> None:
    """Have a group of our own in every hierarchy, which the kubelet takes for the root."""
    if (_CGROUPS / "cgroup.controllers").exists():  # one hierarchy, cgroup v2
        (_CGROUPS / _CGROUP).mkdir(exist_ok=True)
        available = (_CGROUPS / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{name}" for name in available)
        for parent in (_CGROUPS, _CGROUPS / _CGROUP):
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(wanted)
        return
    for hierarchy in _CGROUPS.iterdir():
        if (hierarchy / "cgroup.procs").exists() and not hierarchy.is_symlink():
            group = hierarchy / _CGROUP
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / name).exists():
                    (group / name).write_text((hierarchy / name).read_text())


def _cgroup_folders() -> list[Path]:
    """Our groups and all below them, the lowest first."""
    tops = [*_CGROUPS.glob(_CGROUP), *_CGROUPS.glob(f"*/{_CGROUP}")]
    found = [Path(folder) for top in tops for folder, _, _ in os.walk(top)]
    return sorted(set(found), key=lambda path: len(path.parts), reverse=True)


def _pids_in_cgroups() -> set[int]:
    pids: set[int] = set()
    for folder in _cgroup_folders():
        with contextlib.suppress(OSError):
            pids |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
    return pids


def _unmount_below(folder: Path) -> None:
    """Unmount what is mounted below a folder, the last mounted first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for target in reversed(mounts):
        if target.startswith(f"{folder}/"):
            command = ["umount", "--lazy", target]
            subprocess.run(command, check=False, capture_output=True)
