"""What a predictor or transformer may ask for, and which model a predictor serves."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.standalone.looks import mapping, objects, shown
from batcher_contract.standalone.names import (
    FRAMEWORKS,
    MODEL_CONTAINER,
    TRANSFORMER_CONTAINER,
    is_object_name,
    scheme_of,
)

__all__ = ["INSTALL", "faults", "model_faults", "uri_faults", "warnings"]

INSTALL: Final = "remove it, or have KServe run the service"
_SCHEMES: Final = ("s3", "gs", "hf", "http", "https", "pvc")
_NOT_DONE: Final = {
    "logger": "logs payloads, which is not done without KServe",
    "name": "names one of several predictors, and there is one without KServe",
    "storageContainerName": "names a container that only KServe knows",
    "storageUris": "asks for several models, and one is provided without KServe",
    "workerSpec": "asks for several nodes, which only KServe provides",
}
_OF_KNATIVE: Final = {
    "containerConcurrency": "is enforced by Knative only",
    "timeout": "is enforced by Knative only",
}
_STRATEGIES: Final = ("RollingUpdate", "Recreate")


def faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What a component asks for that only KServe does, and how its pods are replaced."""
    for key, problem in _NOT_DONE.items():
        if component.get(key):
            yield Fault(f"{where}.{key}", shown(component[key]), problem, INSTALL)
    percent = component.get("canaryTrafficPercent")
    if percent not in (None, 100):
        problem = "splits traffic, which is not done without KServe"
        yield Fault(f"{where}.canaryTrafficPercent", str(percent), problem, "remove it")
    strategy = mapping(component.get("deploymentStrategy"))
    kind, path = strategy.get("type"), f"{where}.deploymentStrategy"
    if kind not in (None, "", *_STRATEGIES):
        remedy = f"give {' or '.join(_STRATEGIES)}"
        yield Fault(f"{path}.type", shown(kind), "is no way to replace pods", remedy)
    if kind == "Recreate" and strategy.get("rollingUpdate"):
        remedy = "remove it, or give the type RollingUpdate"
        yield Fault(f"{path}.rollingUpdate", None, "is not for the type Recreate", remedy)


def warnings(component: Mapping[str, Any], where: str) -> Iterator[str]:
    """What of a component only Knative enforces."""
    for key, why in _OF_KNATIVE.items():
        # A transformer of KServe's SDK is told how many workers to run.
        told = where == "spec.transformer" and key == "containerConcurrency"
        if component.get(key) is not None and not told:
            yield f"{where}.{key} has no effect: it {why}"


def model_faults(predictor: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What is wrong about what serves, and about where its model is."""
    given = [key for key in (*FRAMEWORKS, "model") if isinstance(predictor.get(key), Mapping)]
    containers = objects(predictor.get("containers"))
    named = [c for c in containers if c.get("name") == MODEL_CONTAINER]
    if len(given) > 1 or (given and named):
        names = [*given, *(["containers"] if named else [])]
        problem = f"serves by several of its fields ({', '.join(names)})"
        yield Fault(where, None, problem, "keep one of them")
    elif not given and not containers:
        remedy = "give it a model, or containers of your own"
        yield Fault(where, None, "says nothing of what to run", remedy)
    elif not given and len(containers) > 1 and not named:
        problem = f"has several and none is named {MODEL_CONTAINER}"
        remedy = f"name the one that serves {MODEL_CONTAINER}"
        yield Fault(f"{where}.containers", None, problem, remedy)
    for key in given:
        yield from _one_model_faults(mapping(predictor[key]), f"{where}.{key}")
    for index, container in enumerate(containers):
        variables = [entry.get("name") for entry in objects(container.get("env"))]
        if container.get("name") == TRANSFORMER_CONTAINER and "STORAGE_URI" in variables:
            path = f"{where}.containers[{index}].env[STORAGE_URI]"
            problem = "is not read: a transformer beside its model server has that one's model"
            remedy = f"remove it, and say there where the model is ({MODEL_CONTAINER})"
            yield Fault(path, None, problem, remedy)


def _one_model_faults(model: Mapping[str, Any], where: str) -> Iterator[Fault]:
    if model.get("name"):
        problem = "names a container that the runtime names"
        yield Fault(f"{where}.name", str(model["name"]), problem, "remove it")
    if model.get("storage"):
        problem = "asks for storage by key, which only KServe knows"
        remedy = f"give {where}.storageUri, and credentials in a Secret of the ServiceAccount"
        yield Fault(f"{where}.storage", None, problem, remedy)
    if mapping(model.get("confidential")).get("enabled"):
        yield Fault(f"{where}.confidential", None, "is not done without KServe", INSTALL)
    uri = model.get("storageUri")
    if isinstance(uri, str):
        yield from uri_faults(uri, f"{where}.storageUri")


def uri_faults(uri: str, path: str) -> Iterator[Fault]:
    """What is wrong with the address of a model."""
    scheme, _, rest = uri.partition("://")
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    if scheme_of(uri) not in _SCHEMES or scheme != scheme.lower():
        yield Fault(path, uri, "is at no storage that models are fetched from", f"give {known}")
    elif not rest.strip("/") or rest.startswith("/"):
        yield Fault(path, uri, "names no place", f"give what follows {scheme}://")
    elif scheme == "pvc" and ".." in rest.split("/"):
        yield Fault(path, uri, "leads out of its volume", "give a path without ..")
    elif scheme == "pvc" and not is_object_name(rest.partition("/")[0]):
        remedy = "give the claim's name, then a path in it"
        yield Fault(path, uri, "names no PersistentVolumeClaim", remedy)
