"""An iris classifier, trained in the cluster: what it is asked, and what it says."""

from typing import Final

from tests.apiserver.kit import Manifest
from tests.cluster.kit.cluster import Cluster
from tests.cluster.kit.images import image
from tests.cluster.kit.workloads import RESTRICTED

__all__ = ["SETOSA", "VIRGINICA", "training"]

SETOSA: Final = [5.1, 3.5, 1.4, 0.2]
"""An iris of species 0."""
VIRGINICA: Final = [6.3, 3.3, 6.0, 2.5]
"""An iris of species 2."""


def training(cluster: Cluster, volume: str, folder: str = "") -> Manifest:
    """An init container that writes the classifier to a folder of a volume."""
    return {
        "name": "training",
        "image": image(cluster, "sklearn"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/app/train.py", f"/volume/{folder}"],
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": volume, "mountPath": "/volume"}],
    }
