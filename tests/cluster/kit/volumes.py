"""A volume that pods claim: of our own node, or of the cluster's default StorageClass."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.apiserver.kit import Manifest, until
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.control_plane import NODE_NAME

__all__ = ["claimed_volume", "default_storage_class"]

_DEFAULT: Final = "storageclass.kubernetes.io/is-default-class"
_SIZE: Final = "1Gi"
_GONE_S: Final = 90.0


@contextmanager
def claimed_volume(cluster: Cluster, namespace: str, claim: str) -> Iterator[None]:
    """A PersistentVolumeClaim of a namespace, and an empty volume for it.

    A pod that is not root's can write there if it names an fsGroup. In the end the volume of our
    own node is gone, with the namespace; one of a StorageClass goes when the namespace does.
    """
    if cluster.volumes is None:
        # The volume is made when a pod wants it.
        cluster.apply(_claim(claim, namespace, storageClassName=default_storage_class(cluster)))
        yield
        return
    name = f"{namespace}-{claim}"
    folder = cluster.volumes / name
    folder.mkdir(parents=True)
    try:
        owner = cluster.api.get("Namespace", namespace)
        cluster.apply(
            _volume(name, folder, owner),
            # "" is no class: nothing but the volume that is named.
            _claim(claim, namespace, storageClassName="", volumeName=name),
        )
        yield
    finally:
        # They go in this order: pods hold the claim, and the claim holds the volume.
        cluster.api.delete("Namespace", namespace)
        cluster.api.delete("PersistentVolumeClaim", claim, namespace)
        cluster.api.delete("PersistentVolume", name)
        gone = f"the volume {name} is gone"
        until(lambda: cluster.api.find("PersistentVolume", name) is None, gone, _GONE_S)
        shutil.rmtree(folder)


def default_storage_class(cluster: Cluster) -> str:
    """The StorageClass of claims that name none, if volumes go with the claims; else empty."""
    for each in cluster.api.list("StorageClass"):
        annotations = each["metadata"].get("annotations") or {}
        if annotations.get(_DEFAULT) == "true" and each["reclaimPolicy"] == "Delete":
            return str(each["metadata"]["name"])
    return ""


def _claim(name: str, namespace: str, **spec: object) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": _SIZE}},
            **spec,
        },
    }


def _volume(name: str, folder: Path, namespace: Manifest) -> Manifest:
    """A volume that is deleted after the namespace, also if the test that made it was killed."""
    meta = namespace["metadata"]
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": meta["name"], "uid": meta["uid"]}
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": _SIZE},
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
