"""How a model comes into its pod: fetched by an init container, or in a volume that is there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batcher_contract.standalone import (
    MODEL_CONTAINER,
    MODEL_PATH,
    MODEL_VOLUMES,
    TRANSFORMER_CONTAINER,
    scheme_of,
)
from batcher_operator.standalone.credentials import Credentials
from batcher_operator.standalone.looks import Json, mapping, named, objects, plain, set_env, text

__all__ = ["Initializer", "address_of", "occupied_by", "with_model"]

_CONTAINER: Final = "storage-initializer"
_FETCHED, _CLAIMED = MODEL_VOLUMES
_MOUNTED_BY: Final = (MODEL_CONTAINER, TRANSFORMER_CONTAINER)
_ADDRESS: Final = "STORAGE_URI"
_HUGGING_FACE: Final = {
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "HF_XET_HIGH_PERFORMANCE": "1",
    "HF_XET_NUM_CONCURRENT_RANGE_GETS": "8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Initializer:
    """The container that fetches models, as an installation has it.

    Its image takes pairs of an address and a folder, as `kserve/storage-initializer` does.
    """

    image: str = "kserve/storage-initializer:v0.20.0"
    resources: Mapping[str, Any] = field(
        default_factory=lambda: {
            "requests": {"cpu": "100m", "memory": "100Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        }
    )


def address_of(container: Mapping[str, Any]) -> str:
    """Where a container of the user's own has its model: the value of its variable STORAGE_URI."""
    return text((named(container.get("env"), _ADDRESS) or {}).get("value"))


def occupied_by(container: Mapping[str, Any]) -> str:
    """The volume that a container mounts where its model comes; empty where there is none."""
    if container.get("name") in _MOUNTED_BY:
        for mount in objects(container.get("volumeMounts")):
            at, volume = text(mount.get("mountPath")), text(mount.get("name"))
            if at.rstrip("/") == MODEL_PATH and volume not in MODEL_VOLUMES:
                return volume
    return ""


def with_model(
    pod: Json,
    uri: str,
    credentials: Credentials,
    initializer: Initializer,
    *,
    read_only: bool = True,
) -> None:
    """Have a pod's spec provide the model of `uri` to the containers that serve it."""
    if scheme_of(uri) == "pvc":
        claim, _, path = uri.partition("://")[2].partition("/")
        volume: Json = {"name": _CLAIMED, "persistentVolumeClaim": {"claimName": claim}}
        mount: Json = {"name": _CLAIMED, "mountPath": MODEL_PATH}
        if path.strip("/"):
            mount["subPath"] = path.strip("/")
    else:
        volume = {"name": _FETCHED, "emptyDir": {}}
        mount = {"name": _FETCHED, "mountPath": MODEL_PATH}
        if named(pod.get("initContainers"), _CONTAINER) is None:
            fetching = _container(pod, uri, credentials, initializer)
            fetching["volumeMounts"] = [mount, *plain(credentials.mounts)]
            pod["initContainers"] = [*objects(pod.get("initContainers")), fetching]
            for each in credentials.volumes:
                _add(pod, "volumes", plain(each))
    _add(pod, "volumes", volume)
    for container in objects(pod.get("containers")):
        if container.get("name") in _MOUNTED_BY:
            _add(container, "volumeMounts", {**mount, "readOnly": read_only})
            if address_of(container):
                set_env(container, _ADDRESS, MODEL_PATH)


def _container(pod: Json, uri: str, credentials: Credentials, initializer: Initializer) -> Json:
    env = [*plain(credentials.env)]
    if scheme_of(uri) == "hf":
        known = {entry["name"] for entry in env}
        env += [{"name": k, "value": v} for k, v in _HUGGING_FACE.items() if k not in known]
    context: Json = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if mapping(pod.get("securityContext")).get("runAsUser") != 0:
        # Else the container could not start.
        context["runAsNonRoot"] = True
    return {
        "name": _CONTAINER,
        "image": initializer.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [uri, MODEL_PATH],
        **({"env": env} if env else {}),
        "resources": plain(initializer.resources),
        "securityContext": context,
        # Why a model could not be fetched is then told by the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _add(holder: Json, key: str, item: Json) -> None:
    if named(holder.get(key), item["name"]) is None:
        holder[key] = [*objects(holder.get(key)), item]
