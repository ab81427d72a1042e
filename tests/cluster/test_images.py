"""What is in the images, seen from inside, in pods of the restricted profile."""

import json
from typing import Any, Final

import pytest

from batcher_contract import __version__
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.workloads import RESTRICTED

LOOK: Final = """
import importlib.metadata, importlib.util, json, os, sys
root = os.lstat("/").st_dev
size = 0
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.lstat(os.path.join(folder, f)).st_dev == root]
    size += sum(os.lstat(os.path.join(folder, file)).st_size for file in files)
try:
    open("/written", "w")
    writable = True
except OSError:
    writable = False
packages = [d.metadata["Name"].lower() for d in importlib.metadata.distributions()]
version = importlib.metadata.version("inference-batcher")
seen = {"size": size, "uid": os.getuid(), "gid": os.getgid(), "packages": packages}
print(json.dumps({**seen, "writable": writable, "version": version}))
"""


def run(cluster: Cluster, namespace: str, name: str, **container: object) -> str:
    """Run a container to its end, with a root that cannot be written to; what it said."""
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
                    **container,
                }
            ],
        },
    }
    cluster.apply(manifest)
    phase = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("wait", phase, f"pod/{name}", "-n", namespace, "--timeout=60s", within_s=90)
    return cluster.kubectl("logs", name, "-n", namespace)


@pytest.mark.parametrize("name", ["sidecar", "control"])
def test_the_images_hold_what_they_need(cluster: Cluster, namespace: str, name: str) -> None:
    what = image(cluster, name)
    seen = json.loads(run(cluster, namespace, "look", image=what, command=["python", "-c", LOOK]))
    assert (seen["uid"], seen["gid"], seen["writable"]) == (65532, 65532, False)
    assert seen["version"] == __version__
    if name == "sidecar":
        of_kubernetes = {"kopf", "kubernetes", "cryptography", "pyyaml", "jsonpatch"}
        assert not of_kubernetes & set(seen["packages"])
        assert seen["size"] <= 200e6
    else:
        assert {"kopf", "kubernetes", "cryptography", "jsonpatch"} <= set(seen["packages"])


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sidecar", None),
        ("control", ["batcher-operator"]),
        ("control", ["batcher-webhook"]),
    ],
)
def test_the_programs_explain_themselves(
    cluster: Cluster, namespace: str, name: str, command: list[str] | None
) -> None:
    more = {"command": command} if command else {}
    out = run(cluster, namespace, "help", image=image(cluster, name), args=["--help"], **more)
    assert out.startswith("usage: batcher-")
