"""etcd, the API server, the controllers and the scheduler of the one-node cluster."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.apiserver.kit import Authority, program_path
from tests.cluster.kit.daemons import Daemons
from tests.cluster.kit.network import HOST_IP, NODE_IP, POD_RANGE, SERVICE_RANGE

__all__ = ["NODE_NAME", "Credentials", "start_control_plane"]

NODE_NAME: Final = "inference-batcher"
URL: Final = f"https://{NODE_IP}:6443"
_NAMES: Final = (
    *(NODE_IP, HOST_IP, "127.0.0.1", "10.96.0.1", NODE_NAME, "localhost", "kubernetes"),
    *("kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
)


class Credentials:
    """Certificates and kubeconfig files of all parts, good for a day."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        self.folder = folder
        self._authority = Authority("inference-batcher test cluster")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(self._authority.certificate)
        for name in ("apiserver", "kubelet"):
            self._authority.issue(name, names=_NAMES).write(folder, name)
        # The name that kubelets know the API server's own requests by.
        admins = ["system:masters"]
        self._authority.issue("kube-apiserver", organizations=admins).write(folder, "to-kubelet")
        self._authority.issue("service-accounts").write(folder, "accounts")
        self.admin = self._kubeconfig("admin", "admin", admins)
        self.controllers = self._kubeconfig("controllers", "system:kube-controller-manager")
        self.scheduler = self._kubeconfig("scheduler", "system:kube-scheduler")
        self.proxy = self._kubeconfig("proxy", "system:kube-proxy")
        self.node = self._kubeconfig("node", f"system:node:{NODE_NAME}", ["system:nodes"])

    def _kubeconfig(self, name: str, user: str, organizations: Iterable[str] = ()) -> Path:
        certificate, key = self._authority.issue(user, organizations=organizations).write(
            self.folder, name
        )
        keys = {"client-certificate": str(certificate), "client-key": str(key)}
        cluster = {"server": URL, "certificate-authority": str(self.ca)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NODE_NAME, "cluster": cluster}],
            "users": [{"name": name, "user": keys}],
            "contexts": [{"name": name, "context": {"cluster": NODE_NAME, "user": name}}],
            "current-context": name,
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(content, indent=1))
        return path


def start_control_plane(daemons: Daemons, credentials: Credentials, state: Path) -> None:
    """Start its programs; they find one another in their own time."""
    folder = credentials.folder
    daemons.start(
        "etcd",
        program_path("etcd"),
        f"--data-dir={state / 'etcd'}",
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
    )
    daemons.start(
        "kube-apiserver",
        program_path("kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={NODE_IP}",
        f"--advertise-address={NODE_IP}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # Webhooks are then called at their endpoints: no proxy stands between.
        "--enable-aggregator-routing=true",
        f"--cert-dir={folder}",
        f"--tls-cert-file={folder / 'apiserver.crt'}",
        f"--tls-private-key-file={folder / 'apiserver.key'}",
        f"--client-ca-file={credentials.ca}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={credentials.ca}",
        f"--kubelet-client-certificate={folder / 'to-kubelet.crt'}",
        f"--kubelet-client-key={folder / 'to-kubelet.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={folder / 'accounts.crt'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        "--profiling=false",
    )
    daemons.start(
        "kube-controller-manager",
        program_path("kube-controller-manager"),
        f"--kubeconfig={credentials.controllers}",
        f"--root-ca-file={credentials.ca}",
        f"--service-account-private-key-file={folder / 'accounts.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--cluster-cidr={POD_RANGE}",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    )
    daemons.start(
        "kube-scheduler",
        program_path("kube-scheduler"),
        f"--kubeconfig={credentials.scheduler}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    )
