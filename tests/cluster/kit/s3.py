"""An S3 server in the cluster: versitygw, whose buckets are folders."""

import secrets
from typing import Final

from tests.apiserver.kit import Manifest
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.iris import training
from tests.cluster.kit.workloads import RESTRICTED

__all__ = ["S3Server"]

_PORT: Final = 7070
_NAME: Final = "s3"


class S3Server:
    """A server whose bucket `sandbox` holds an iris classifier at `iris_svm/v1/model.joblib`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self.endpoint = f"{_NAME}.{namespace}.svc.cluster.local:{_PORT}"
        """Its address, without encryption."""
        self.access_key = secrets.token_hex(8)
        self.secret_key = secrets.token_hex(16)

    def start(self) -> None:
        """Make it and wait until it answers."""
        self._cluster.apply(*self._manifests())
        self._cluster.kubectl(
            *("wait", "--for=condition=Ready", f"pod/{_NAME}", "-n", self._namespace),
            "--timeout=120s", within_s=150,
        )  # fmt: skip

    def requests(self) -> list[str]:
        """What it was asked so far, as in `200 GET /bucket/object`, but for probes."""
        log = self._cluster.kubectl("logs", _NAME, "-n", self._namespace)
        # time | vgw | status | duration | address | method | path | ...
        fields = ([field.strip() for field in line.split("|")] for line in log.splitlines())
        asked = [f"{each[2]} {each[5]} {each[6]}" for each in fields if len(each) > 6]
        return [each for each in asked if not each.endswith(" /health")]

    def _manifests(self) -> list[Manifest]:
        meta = {"name": _NAME, "namespace": self._namespace, "labels": {"app": _NAME}}
        container: Manifest = {
            "name": "versitygw",
            "image": image(self._cluster, "s3"),
            "imagePullPolicy": "IfNotPresent",
            # Not every file system of a volume takes the attributes that it keeps metadata in.
            "args": [f"--port=:{_PORT}", "--health=/health", "posix", "--nometa", "/buckets"],
            "env": [
                {"name": "ROOT_ACCESS_KEY_ID", "value": self.access_key},
                {"name": "ROOT_SECRET_ACCESS_KEY", "value": self.secret_key},
            ],
            "readinessProbe": {
                "httpGet": {"path": "/health", "port": _PORT},
                "periodSeconds": 1,
            },
            "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "buckets", "mountPath": "/buckets"}],
        }
        spec = {
            "initContainers": [training(self._cluster, "buckets", "sandbox/iris_svm/v1")],
            "containers": [container],
            "volumes": [{"name": "buckets", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 0,
        }
        ports = [{"port": _PORT, "targetPort": _PORT}]
        return [
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"selector": {"app": _NAME}, "ports": ports},
            },
        ]
