"""What an InferenceService may ask for that standalone mode, without KServe, does not do.

The webhook tells it while somebody applies the object, and the operator wherever it comes upon it.
Faults keep an object from being run, warnings do not; nothing is dropped in silence.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.names import INFERENCE_PORT_NAME

__all__ = ["COMPONENTS", "FRAMEWORKS", "MODEL_CONTAINER", "Judgement", "judge", "scheme_of"]

COMPONENTS: Final = ("predictor", "transformer")
"""The parts of an InferenceService that standalone mode runs."""

MODEL_CONTAINER: Final = "kserve-container"
"""The container that requests are for, unless a transformer stands before it in its pod."""

FRAMEWORKS: Final = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
"""The older spelling of a model: its format is the field's name."""

_KSERVE: Final = "serving.kserve.io/"
_CLASS: Final = f"{_KSERVE}autoscalerClass"
_MODE: Final = f"{_KSERVE}deploymentMode"
_HONOURED: Final = (_CLASS, _MODE, f"{_KSERVE}stop")
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME: Final = {"predictor": 48, "transformer": 46}
"""The label `app: isvc.<name>-<component>` of KServe's raw mode has room for 63 characters."""

_SCHEMES: Final = ("s3", "gs", "hf", "http", "https", "pvc")
_INSTALL: Final = "remove it, or have KServe run the service"
_NOT_RUN: Final = {
    "canary": "splits traffic, which is not done without KServe",
    "explainer": "is not run without KServe",
}
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
_OF_NO_DEPLOYMENT: Final = ("activeDeadlineSeconds", "ephemeralContainers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What standalone mode makes of an InferenceService."""

    faults: tuple[Fault, ...]
    """Why it is not run as it is; each with its path from the object's root."""

    warnings: tuple[str, ...]
    """What is run without; sentences without their full stop."""


def judge(service: Mapping[str, Any]) -> Judgement:
    """Judge an InferenceService (v1beta1); never raises, whatever it holds."""
    faults = dict.fromkeys(_faults(service))
    return Judgement(faults=tuple(faults), warnings=tuple(dict.fromkeys(_warnings(service))))


def scheme_of(uri: str) -> str:
    """The scheme of a model's address in lower case; empty where it has none."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else ""


def _faults(service: Mapping[str, Any]) -> Iterator[Fault]:
    spec = _map(service.get("spec"))
    yield from _name_faults(service, spec)
    yield from _mode_faults(service)
    for key, problem in _NOT_RUN.items():
        if spec.get(key):
            yield Fault(f"spec.{key}", None, problem, _INSTALL)
    for name in COMPONENTS:
        component = _map(spec.get(name))
        if component:
            where = f"spec.{name}"
            yield from _component_faults(component, where)
            yield from _replica_faults(component, where)
            yield from _pod_faults(component, where)
            yield from _container_faults(component, where)
    yield from _model_faults(_map(spec.get("predictor")), "spec.predictor")
    if "transformer" in spec and not _objects(_map(spec["transformer"]).get("containers")):
        remedy = "name the transformer's container in it, or remove spec.transformer"
        yield Fault("spec.transformer.containers", None, "is missing", remedy)


def _name_faults(service: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Fault]:
    meta = _map(service.get("metadata"))
    name = meta.get("name")
    if not isinstance(name, str) or not name:
        # The API server may have yet to make it up.
        if not meta.get("generateName"):
            yield Fault("metadata.name", None, "is missing", "give one")
        return
    if not _NAME.fullmatch(name):
        remedy = "give lower case letters, digits and dashes, a letter first"
        yield Fault("metadata.name", name, "names no Service", remedy)
    part = "transformer" if spec.get("transformer") else "predictor"
    if len(name) > _LONGEST_NAME[part]:
        problem = f"is too long for the label app: isvc.<name>-{part}"
        yield Fault(
            "metadata.name", name, problem, f"give at most {_LONGEST_NAME[part]} characters"
        )


def _mode_faults(service: Mapping[str, Any]) -> Iterator[Fault]:
    annotations = _map(_map(service.get("metadata")).get("annotations"))
    mode, scaler = annotations.get(_MODE), annotations.get(_CLASS)
    if mode not in (None, "Standard", "RawDeployment"):
        remedy = "set Standard, or leave the annotation out"
        path = f"metadata.annotations[{_MODE}]"
        yield Fault(path, str(mode), "is run by KServe only", remedy)
    if scaler not in (None, "hpa", "none", "external"):
        path = f"metadata.annotations[{_CLASS}]"
        yield Fault(path, str(scaler), "is not done without KServe", "set hpa, none or external")


def _component_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    for key, problem in _NOT_DONE.items():
        if component.get(key):
            yield Fault(f"{where}.{key}", _shown(component[key]), problem, _INSTALL)
    percent = component.get("canaryTrafficPercent")
    if percent not in (None, 100):
        problem = "splits traffic, which is not done without KServe"
        yield Fault(f"{where}.canaryTrafficPercent", str(percent), problem, "remove it")


def _replica_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    least, most = _whole(component.get("minReplicas")), _whole(component.get("maxReplicas"))
    for key, count in (("minReplicas", least), ("maxReplicas", most)):
        if count is not None and count < 0:
            yield Fault(f"{where}.{key}", str(count), "is less than 0", "give at least 1")
    if least is not None and most and least > most > 0:
        problem = f"is more than {where}.maxReplicas, which is {most}"
        yield Fault(f"{where}.minReplicas", str(least), problem, f"give at most {most}")
    metric, target = component.get("scaleMetric"), component.get("scaleTarget")
    if metric not in (None, "cpu", "memory"):
        problem = "is a metric of Knative"
        yield Fault(f"{where}.scaleMetric", str(metric), problem, "give cpu or memory")
    if metric == "memory" and target is None:
        problem = "is missing beside scaleMetric memory"
        remedy = "give the percentage of the requested memory to aim at"
        yield Fault(f"{where}.scaleTarget", None, problem, remedy)
    whole = _whole(target)
    if whole is not None and whole < 1:
        yield Fault(f"{where}.scaleTarget", str(whole), "is less than 1", "give a percentage")
    for index, each in enumerate(_objects(_map(component.get("autoScaling")).get("metrics"))):
        path = f"{where}.autoScaling.metrics[{index}]"
        name = _map(each.get("resource")).get("name")
        if each.get("type") != "Resource":
            yield Fault(f"{path}.type", _shown(each.get("type")), "needs KEDA", "give Resource")
        elif name not in ("cpu", "memory"):
            problem = "is no resource that pods are scaled by"
            yield Fault(f"{path}.resource.name", _shown(name), problem, "give cpu or memory")


def _pod_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    for key in _OF_NO_DEPLOYMENT:
        if component.get(key):
            problem = "is not for pods of a Deployment"
            yield Fault(f"{where}.{key}", _shown(component[key]), problem, "remove it")
    policy = component.get("restartPolicy")
    if policy not in (None, "", "Always"):
        problem = "is not for pods of a Deployment"
        yield Fault(f"{where}.restartPolicy", str(policy), problem, "give Always, or leave it out")


def _container_faults(component: Mapping[str, Any], where: str) -> Iterator[Fault]:
    containers = _objects(component.get("containers"))
    parts = [(f"{where}.containers[{i}]", each) for i, each in enumerate(containers)]
    parts += [(f"{where}.{key}", _map(component.get(key))) for key in (*FRAMEWORKS, "model")]
    holders = 0
    for path, container in parts:
        for entry in _objects(container.get("env")):
            uri = entry.get("value")
            if entry.get("name") == "STORAGE_URI" and isinstance(uri, str) and uri:
                yield from _uri_faults(uri, f"{path}.env[STORAGE_URI]")
        for index, port in enumerate(_objects(container.get("ports"))):
            if port.get("name") == INFERENCE_PORT_NAME:
                holders += 1
                if index or holders > 1:
                    problem = "is the name that requests come to the container's first port by"
                    field = f"{path}.ports[{index}].name"
                    yield Fault(field, INFERENCE_PORT_NAME, problem, "give the port another name")


def _model_faults(predictor: Mapping[str, Any], where: str) -> Iterator[Fault]:
    given = [key for key in (*FRAMEWORKS, "model") if isinstance(predictor.get(key), Mapping)]
    containers = _objects(predictor.get("containers"))
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
        yield from _one_model_faults(_map(predictor[key]), f"{where}.{key}")


def _one_model_faults(model: Mapping[str, Any], where: str) -> Iterator[Fault]:
    if model.get("name"):
        problem = "names a container that the runtime names"
        yield Fault(f"{where}.name", str(model["name"]), problem, "remove it")
    if model.get("storage"):
        problem = "asks for storage by key, which only KServe knows"
        remedy = f"give {where}.storageUri, and credentials in a Secret of the ServiceAccount"
        yield Fault(f"{where}.storage", None, problem, remedy)
    if _map(model.get("confidential")).get("enabled"):
        yield Fault(f"{where}.confidential", None, "is not done without KServe", _INSTALL)
    uri = model.get("storageUri")
    if isinstance(uri, str):
        yield from _uri_faults(uri, f"{where}.storageUri")


def _uri_faults(uri: str, path: str) -> Iterator[Fault]:
    scheme, _, rest = uri.partition("://")
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    if scheme_of(uri) not in _SCHEMES or scheme != scheme.lower():
        yield Fault(path, uri, "is at no storage that models are fetched from", f"give {known}")
    elif not rest.strip("/") or rest.startswith("/"):
        yield Fault(path, uri, "names no place", f"give what follows {scheme}://")
    elif scheme == "pvc" and ".." in rest.split("/"):
        yield Fault(path, uri, "leads out of its volume", "give a path without ..")


def _warnings(service: Mapping[str, Any]) -> Iterator[str]:
    spec, meta = _map(service.get("spec")), _map(service.get("metadata"))
    yield from _annotation_warnings(meta.get("annotations"), "metadata")
    for name in COMPONENTS:
        component = _map(spec.get(name))
        yield from _annotation_warnings(component.get("annotations"), f"spec.{name}")
        for key, why in _OF_KNATIVE.items():
            # A transformer of KServe's SDK is told how many workers to run.
            if component.get(key) is not None and (name, key) != (
                "transformer",
                "containerConcurrency",
            ):
                yield f"spec.{name}.{key} has no effect: it {why}"
        if component.get("minReplicas") == 0:
            yield (
                f"spec.{name}.minReplicas 0 is taken as 1: pods are not scaled to none "
                "without KServe"
            )
        if component.get("batcher") is not None and (port := _http2_port(component)):
            yield (
                f"spec.{name}.batcher has no effect: the first port is named {port}, and HTTP/2 "
                "is not batched"
            )


def _annotation_warnings(annotations: object, path: str) -> Iterator[str]:
    for key in _map(annotations):
        if not isinstance(key, str):
            continue
        foreign = key.startswith(_KSERVE) and (key not in _HONOURED or path != "metadata")
        if foreign or key.startswith("autoscaling.knative.dev/"):
            yield f"{path}.annotations[{key}] has no effect without KServe"


def _http2_port(component: Mapping[str, Any]) -> str:
    for holder in (component.get("model"), *_objects(component.get("containers"))):
        for port in _objects(_map(holder).get("ports"))[:1]:
            name = port.get("name")
            if isinstance(name, str) and name.startswith(("h2c", "grpc")):
                return name
    return ""


def _shown(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _map(value: object) -> Mapping[str, Any]:
    # kopf hands out read-only views that are no dicts.
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    listed: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    return [each for each in listed if isinstance(each, Mapping)]
