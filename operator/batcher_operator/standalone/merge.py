"""A runtime's container and pod with the user's over them, as KServe merges them.

That is Kubernetes' strategic merge patch (`k8s.io/apimachinery/pkg/util/strategicpatch`) with the
merge keys of `k8s.io/api/core/v1`, but for arguments, which add up. Where the patch would leave two
kinds of one thing, which the API server refuses, the user's stays: a probe's handler, the source of
an environment variable, that of a volume.

The order of items counts, as requests are for the first port: the user's come in their order,
before those of the runtime alone, but for what the runtime has before an item that is in both
(`mergeSortedSlice` there).
"""

from collections.abc import Mapping
from typing import Any, Final

from batcher_operator.standalone.looks import Json, listed, mapping, objects, plain

__all__ = ["merged_container", "merged_pod"]

_CONTAINER_KEYS: Final = {
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_POD_KEYS: Final = {
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumes": "name",
}
_OF_RUNTIME_PODS: Final = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "volumes",
    "imagePullSecrets",
    "schedulerName",
    "resourceClaims",
)
"""What a runtime may say about pods, besides their containers."""

_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_HANDLED: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def merged_container(runtimes: Mapping[str, Any], users: Mapping[str, Any]) -> Json:
    """The runtime's container with the user's over it; its name stays unless the user gives one."""
    base, over = plain(runtimes), plain(users)
    for key in _HANDLED:
        _drop_handler(base.get(key), over.get(key))
    for hook in ("preStop", "postStart"):
        _drop_handler(mapping(base.get("lifecycle")).get(hook), _hook(over, hook))
    merged = _merged(base, over, _CONTAINER_KEYS)
    arguments = [*listed(base.get("args")), *listed(over.get("args"))]
    if arguments:
        merged["args"] = arguments
    return merged


def merged_pod(runtimes: Mapping[str, Any], users: Mapping[str, Any]) -> Json:
    """What a runtime says about pods with the user's pod fields over it; containers are neither's.

    Volumes and resource claims of one name are the user's as a whole.
    """
    base = {key: plain(runtimes[key]) for key in _OF_RUNTIME_PODS if key in runtimes}
    return _merged(base, plain(users), _POD_KEYS, whole_items=True)


def _merged(base: Json, over: Json, keys: Mapping[str, str], *, whole_items: bool = False) -> Json:
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        if value is None:
            # In a patch this would remove; in an object that was read it says nothing.
            continue
        if key in keys and isinstance(value, list) and isinstance(known, list):
            result[key] = _merged_list(known, value, keys[key], whole_items)
        elif isinstance(value, dict) and isinstance(known, dict):
            result[key] = _merged(known, value, {})
        else:
            result[key] = value
    return result


def _merged_list(base: list[Any], over: list[Any], key: str, whole_items: bool) -> list[Any]:
    known, users = objects(base), objects(over)
    alone = [
        (place, item)
        for place, item in enumerate(known)
        if not any(_same(item, each, key) for each in users)
    ]
    result: list[Any] = []
    for item in users:
        place = next((i for i, each in enumerate(known) if _same(each, item, key)), -1)
        while alone and alone[0][0] < place:
            result.append(alone.pop(0)[1])
        if place < 0 or whole_items or {"value", "valueFrom"} & item.keys():
            result.append(item)
        else:
            result.append(_merged(known[place], item, {}))
    return [*result, *(item for _, item in alone)]


def _same(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    # A port's number may be there once for each protocol.
    protocols = [each.get("protocol", "TCP") for each in (one, other)]
    return bool(one.get(key) == other.get(key) and protocols[0] == protocols[1])


def _drop_handler(base: object, over: object) -> None:
    if isinstance(base, dict) and any(mapping(over).get(key) for key in _HANDLERS):
        for key in _HANDLERS:
            base.pop(key, None)


def _hook(container: Json, name: str) -> object:
    return mapping(container.get("lifecycle")).get(name)
