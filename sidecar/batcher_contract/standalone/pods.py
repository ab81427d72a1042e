"""The pods that a component asks for: what the API server would refuse, or could not serve."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.names import INFERENCE_PORT_NAME, is_http2_port
from batcher_contract.standalone.components import uri_faults
from batcher_contract.standalone.looks import mapping, objects, shown
from batcher_contract.standalone.names import (
    FRAMEWORKS,
    MODEL_CONTAINER,
    MODEL_PATH,
    MODEL_VOLUMES,
    TRANSFORMER_CONTAINER,
    is_object_name,
)

__all__ = ["faults", "warnings"]

_OF_NO_DEPLOYMENT: Final = ("activeDeadlineSeconds", "ephemeralContainers")
_ACCOUNTS: Final = ("serviceAccountName", "serviceAccount")
_ADDRESS: Final = "STORAGE_URI"
_SIDECAR: Final = "agent"
_SERVICE_NAME: Final = "INFERENCE_SERVICE_NAME"
_MODELS: Final = (*FRAMEWORKS, "model")
_Container = tuple[str, Mapping[str, Any]]
"""A container and its path."""

_Keys = tuple[str, ...]
_POD_KEYS: Final[Mapping[str, _Keys]] = {
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_CONTAINER_KEYS: Final[Mapping[str, _Keys]] = {
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
}
"""What items of these lists go by: server-side apply takes no two that have it in common."""

_DEFAULTS: Final = {"protocol": "TCP"}


def faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What keeps a component's pods from being made as they are meant."""
    for key in _OF_NO_DEPLOYMENT:
        if component.get(key):
            problem = "is not for pods of a Deployment"
            yield Fault(f"{where}.{key}", shown(component[key]), problem, "remove it")
    policy = component.get("restartPolicy")
    if policy not in (None, "", "Always"):
        problem = "is not for pods of a Deployment"
        yield Fault(f"{where}.restartPolicy", str(policy), problem, "give Always, or leave it out")
    for key in _ACCOUNTS:
        account = component.get(key)
        if isinstance(account, str) and account and not is_object_name(account):
            remedy = "give lower case letters, digits, dashes and dots, as in s3-sa"
            yield Fault(f"{where}.{key}", account, "names no ServiceAccount", remedy)
    for key, keys in _POD_KEYS.items():
        yield from _repeated(objects(component.get(key)), f"{where}.{key}", keys)
    yield from _container_name_faults(component, where)
    holders = 0
    for path, container in _containers(component, where):
        for entry in objects(container.get("env")):
            uri = entry.get("value")
            if entry.get("name") == _ADDRESS and isinstance(uri, str) and uri:
                yield from uri_faults(uri, f"{path}.env[{_ADDRESS}]")
        for index, port in enumerate(objects(container.get("ports"))):
            if port.get("name") == INFERENCE_PORT_NAME:
                holders += 1
                if index or holders > 1:
                    problem = "is the name that requests come to the container's first port by"
                    field = f"{path}.ports[{index}].name"
                    yield Fault(field, INFERENCE_PORT_NAME, problem, "give the port another name")
    for path, container in (*_containers(component, where), *_early(component, where)):
        for key, keys in _CONTAINER_KEYS.items():
            yield from _repeated(objects(container.get(key)), f"{path}.{key}", keys)
        yield from _repeated(objects(container.get("ports")), f"{path}.ports", ("name",))
    yield from _mount_faults(component, where)


def warnings(component: Mapping[str, Any], where: str) -> Iterator[str]:
    """What of a component's pods is run otherwise than it is written."""
    for path, container in _containers(component, where):
        if any(entry.get("name") == _SERVICE_NAME for entry in objects(container.get("env"))):
            yield f"{path}.env[{_SERVICE_NAME}] has no effect: it is the InferenceService's name"
    if component.get("batcher") is not None:
        for why in _obstacles(component):
            yield f"{where}.batcher has no effect: {why}"


def _obstacles(component: Mapping[str, Any]) -> Iterator[str]:
    """Why pods get no sidecar, as far as one can tell without their runtime."""
    ports = objects(_front(component).get("ports"))
    name = ports[0].get("name") if ports else None
    if isinstance(name, str) and is_http2_port(name):
        yield f"the first port is named {name}, and HTTP/2 is not batched"
    if component.get("hostNetwork"):
        yield "on the host's network the sidecar's ports may be taken"
    if component.get("resources"):
        yield "the pod's own resources leave no room for a sidecar"
    for _, container in _containers(component, ""):
        if container.get("name") == _SIDECAR:
            yield f"a container is named {_SIDECAR}, as the sidecar is to be"


def _containers(component: Mapping[str, Any], where: str) -> list[_Container]:
    """The containers of a component, the one of its model among them."""
    listed = enumerate(objects(component.get("containers")))
    found = [(f"{where}.containers[{index}]", each) for index, each in listed]
    models = [key for key in _MODELS if isinstance(component.get(key), Mapping)]
    return [*found, *((f"{where}.{key}", mapping(component[key])) for key in models)]


def _early(component: Mapping[str, Any], where: str) -> list[_Container]:
    listed = enumerate(objects(component.get("initContainers")))
    return [(f"{where}.initContainers[{index}]", each) for index, each in listed]


def _serving(component: Mapping[str, Any], where: str) -> list[_Container]:
    """The containers that get the model: its server, and a transformer beside it."""
    found = _containers(component, where)
    names = (MODEL_CONTAINER, TRANSFORMER_CONTAINER)
    serving = [
        (path, each)
        for path, each in found
        if each.get("name") in names or path.rpartition(".")[2] in _MODELS
    ]
    # Where no other is the model server, the first is given its name.
    servers = [each for _, each in serving if each.get("name") != TRANSFORMER_CONTAINER]
    return serving if servers else [*found[:1], *serving]


def _front(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container that requests are for."""
    serving = [each for _, each in _serving(component, "")]
    beside = [each for each in serving if each.get("name") == TRANSFORMER_CONTAINER]
    return next(iter([*beside, *serving]), {})


def _container_name_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    own = objects(component.get("containers"))
    serves = any(isinstance(component.get(key), Mapping) for key in _MODELS)
    named = any(each.get("name") == MODEL_CONTAINER for each in own)
    seen: dict[object, str] = {}
    for key in ("containers", "initContainers"):
        for index, container in enumerate(objects(component.get(key))):
            path, name = f"{where}.{key}[{index}].name", container.get("name")
            given_one = key == "containers" and index == 0 and not serves and not named
            if not isinstance(name, str) or not name:
                if not given_one:
                    yield Fault(path, None, "is missing", "name the container")
            elif (first := seen.setdefault(name, path)) != path:
                yield Fault(path, name, f"is the name of another, {first}", "give it another")


def _mount_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """A volume of the user's own where the model comes."""
    serving = _serving(component, where)
    if not any(_address(container) for _, container in serving):
        return
    for path, container in serving:
        for index, mount in enumerate(objects(container.get("volumeMounts"))):
            at = mount.get("mountPath")
            if (
                isinstance(at, str)
                and at.rstrip("/") == MODEL_PATH
                and mount.get("name") not in MODEL_VOLUMES
            ):
                field = f"{path}.volumeMounts[{index}].mountPath"
                remedy = "mount the volume elsewhere, or say of no model where it is"
                yield Fault(field, at, "is where the model comes", remedy)


def _address(container: Mapping[str, Any]) -> bool:
    entries = objects(container.get("env"))
    in_env = any(each.get("name") == _ADDRESS and each.get("value") for each in entries)
    return bool(container.get("storageUri")) or in_env


def _repeated(items: Sequence[Mapping[str, Any]], path: str, keys: _Keys) -> Iterator[Fault]:
    seen: dict[tuple[str | int, ...], int] = {}
    for index, item in enumerate(items):
        values = [item.get(key, _DEFAULTS.get(key)) for key in keys]
        identity = tuple(each for each in values if each and isinstance(each, str | int))
        if len(identity) == len(keys) and (first := seen.setdefault(identity, index)) != index:
            field, value = f"{path}[{index}].{keys[0]}", str(identity[0])
            yield Fault(field, value, f"is there already, in {path}[{first}]", "keep one of them")
