"""The kinds of objects that the operator deals with, and the paths of objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from batcher_contract.names import SERVICE_LABEL
from batcher_operator.standalone.workload import MANAGED_BY, MANAGED_BY_LABEL

__all__ = [
    "IN_EVERY_MODE",
    "KINDS",
    "OWNED",
    "RUNTIMES",
    "Kind",
    "Resource",
    "is_straight",
    "path_of",
]

Kind = Literal[
    "InferenceService",
    "Pod",
    "Deployment",
    "Service",
    "ConfigMap",
    "HorizontalPodAutoscaler",
    "ServingRuntime",
    "ClusterServingRuntime",
]

_OURS: Final = f"{SERVICE_LABEL},{MANAGED_BY_LABEL}={MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server names it."""

    group: str
    version: str
    plural: str
    labels: str = ""
    """A selector of the objects that are watched; empty for all."""

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/{self.version}".lstrip("/")


KINDS: Final[Mapping[Kind, Resource]] = {
    "InferenceService": Resource("serving.kserve.io", "v1beta1", "inferenceservices"),
    "Pod": Resource("", "v1", "pods", SERVICE_LABEL),
    "Deployment": Resource("apps", "v1", "deployments", _OURS),
    "Service": Resource("", "v1", "services", _OURS),
    "ConfigMap": Resource("", "v1", "configmaps", _OURS),
    "HorizontalPodAutoscaler": Resource("autoscaling", "v2", "horizontalpodautoscalers", _OURS),
    "ServingRuntime": Resource("serving.kserve.io", "v1alpha1", "servingruntimes"),
    "ClusterServingRuntime": Resource("serving.kserve.io", "v1alpha1", "clusterservingruntimes"),
}
"""Those that are watched."""

IN_EVERY_MODE: Final[tuple[Kind, ...]] = ("InferenceService", "Pod")
OWNED: Final[tuple[Kind, ...]] = ("Deployment", "Service", "ConfigMap", "HorizontalPodAutoscaler")
"""What standalone mode makes of an InferenceService."""

RUNTIMES: Final[tuple[Kind, ...]] = ("ServingRuntime", "ClusterServingRuntime")


def path_of(
    api_version: str, plural: str, namespace: str = "", name: str = "", part: str = ""
) -> str:
    """The path of a collection, an object, or a part of it, as its status.

    Names are quoted. Raises ValueError for those that lead elsewhere: `.`, `..`.
    """
    root = "apis" if "/" in api_version else "api"
    segments = [root, *api_version.split("/")]
    if namespace:
        segments += ["namespaces", namespace]
    segments += [each for each in (plural, name, part) if each]
    path = "".join(f"/{quote(each, safe='')}" for each in segments)
    if not is_straight(path):
        raise ValueError(f"{path} leads elsewhere: no object has such a name")
    return path


def is_straight(path: str) -> bool:
    """Whether a path leads where it seems to: clients and proxies fold `.` and `..`."""
    return not any(each in (".", "..") for each in path.split("/"))
