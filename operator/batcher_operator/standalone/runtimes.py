"""Which ServingRuntime serves a model, and what KServe adds for some of them.

The rules are those of KServe's `predictor_model.go` and `reconcileModel`, but that runtimes between
which nothing decides are a fault: KServe takes the newest, so that one that is added to a cluster
may change what runs.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from batcher_contract import Fault, SettingsError
from batcher_operator.standalone.looks import (
    Json,
    listed,
    mapping,
    named,
    objects,
    plain,
    text,
    texts,
    whole,
)

__all__ = ["Runtime", "choose", "read_runtime", "with_defaults", "with_tag"]

_SERVER_TYPE: Final = "serving.kserve.io/server-type"
_TYPE_OF_NAME: Final = {
    "kserve-mlserver": "mlserver",
    "kserve-torchserve": "torchserve",
    "kserve-tritonserver": "tritonserver",
    "kserve-tensorflow-serving": "tensorflow-serving",
    "kserve-huggingfaceserver": "huggingfaceserver",
    "kserve-vllmserver": "vllmserver",
}
_GPU_BY_TAG: Final = ("tensorflow-serving", "torchserve", "huggingfaceserver")
_MLSERVER_CLASSES: Final = {
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "mlflow": "mlserver_mlflow.MLflowRuntime",
}
_TAG: Final = re.compile(r":[\w.-]*$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A ServingRuntime, or a ClusterServingRuntime where the namespace is empty."""

    name: str
    namespace: str
    annotations: Mapping[str, str]
    """Of the object itself, not those that it gives to pods."""

    spec: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind, for people and for the status."""
        return "ServingRuntime" if self.namespace else "ClusterServingRuntime"

    @property
    def server_type(self) -> str:
        """Which model server it runs, where something depends on that; else empty."""
        return self.annotations.get(_SERVER_TYPE) or _TYPE_OF_NAME.get(self.name, "")


def read_runtime(raw: Mapping[str, Any]) -> Runtime:
    """A runtime of v1alpha1 as the API server sent it."""
    meta = mapping(raw.get("metadata"))
    return Runtime(
        name=text(meta.get("name")),
        namespace=text(meta.get("namespace")),
        annotations=texts(meta.get("annotations")),
        spec=plain(mapping(raw.get("spec"))),
    )


def choose(
    model: Mapping[str, Any], runtimes: Iterable[Runtime], namespace: str, where: str
) -> Runtime:
    """The runtime for a `model` section of an InferenceService in `namespace`.

    One that is named, of the namespace before one of the cluster; else among those that may be
    chosen: of the namespace before the cluster's, then by priority. Raises SettingsError where
    there is none, or several and nothing to decide by; `where` is the section's path.
    """
    usable = [each for each in runtimes if each.namespace in ("", namespace)]
    usable.sort(key=lambda each: (not each.namespace, each.name))
    name = text(model.get("runtime"))
    if not name:
        return _chosen(model, usable, where)
    found = next((each for each in usable if each.name == name), None)
    path = f"{where}.runtime"
    if found is None:
        problem = "names no ServingRuntime of the namespace and no ClusterServingRuntime"
        remedy = "create it, or leave the field out to have one chosen"
        raise SettingsError([Fault(path, name, problem, remedy)])
    for problem in _unsuitable(model, found, named_by_user=True):
        remedy = "name another, or leave the field out to have one chosen"
        raise SettingsError([Fault(path, name, problem, remedy)])
    return found


def _chosen(model: Mapping[str, Any], usable: Iterable[Runtime], where: str) -> Runtime:
    fitting = [each for each in usable if not any(_unsuitable(model, each, named_by_user=False))]
    label, protocol = _format_label(model), text(model.get("protocolVersion")) or "v1"
    if not fitting:
        problem = f"is served by no runtime that speaks {protocol} and may be chosen by itself"
        remedy = (
            "create a ServingRuntime with the format and autoSelect, change the format's version "
            f"or {where}.protocolVersion, or name one in {where}.runtime"
        )
        raise SettingsError([Fault(f"{where}.modelFormat", label, problem, remedy)])
    near = [each for each in fitting if each.namespace] or fitting
    best = max(_priority(model, each) for each in near)
    tied = [each for each in near if _priority(model, each) == best]
    if len(tied) > 1:
        names = ", ".join(each.name for each in tied)
        problem = f"is served equally well by the {tied[0].kind}s {names}"
        remedy = f"name one in {where}.runtime, or give them priorities"
        raise SettingsError([Fault(f"{where}.modelFormat", label, problem, remedy)])
    return tied[0]


def _unsuitable(
    model: Mapping[str, Any], runtime: Runtime, *, named_by_user: bool
) -> Iterator[str]:
    """Why a runtime cannot serve a model; each goes on from the runtime's name."""
    spec = runtime.spec
    if spec.get("disabled") is True:
        yield "is disabled"
    if spec.get("multiModel") is True:
        yield "is for several models at once"
    if spec.get("workerSpec") is not None:
        yield "is for several nodes"
    spoken = [each for each in listed(spec.get("protocolVersions")) if isinstance(each, str)]
    protocol = text(model.get("protocolVersion")) or ("" if named_by_user else "v1")
    if spoken and protocol and protocol not in spoken:
        yield f"speaks {' and '.join(spoken)}, not {protocol}"
    if _format_label(model) not in set(_labels(runtime, autoselect=not named_by_user)):
        yield f"does not serve the format {_format_label(model)}"
    if named(spec.get("containers"), "kserve-container") is None:
        yield "has no container named kserve-container"


def _format_label(model: Mapping[str, Any]) -> str:
    wanted = mapping(model.get("modelFormat"))
    version = text(wanted.get("version"))
    return text(wanted.get("name")) + (f" {version}" if version else "")


def _labels(runtime: Runtime, *, autoselect: bool) -> Iterator[str]:
    # A model without a version is served by any; one with a version by exactly that.
    for known in objects(runtime.spec.get("supportedModelFormats")):
        if not autoselect or known.get("autoSelect") is True:
            yield text(known.get("name"))
            yield _format_label({"modelFormat": known})


def _priority(model: Mapping[str, Any], runtime: Runtime) -> int:
    wanted = mapping(model.get("modelFormat")).get("name")
    known = named(runtime.spec.get("supportedModelFormats"), text(wanted)) or {}
    return whole(known.get("priority")) or 0


def with_defaults(model: Json, runtime: Runtime, name: str) -> tuple[Json, dict[str, str]]:
    """The `model` section with what its server needs, and labels for its placeholders and pods.

    `name` is the InferenceService's.
    """
    model, labels = plain(model), {}
    stored = text(model.get("storageUri")) != ""
    if runtime.server_type == "mlserver":
        if stored:
            _add_env(model, "MLSERVER_MODEL_NAME", name)
            _add_env(model, "MLSERVER_MODEL_URI", "/mnt/models")
        else:
            _add_env(model, "MLSERVER_LOAD_MODELS_AT_STARTUP", "false")
        of_format = text(mapping(model.get("modelFormat")).get("name"))
        labels["modelClass"] = _MLSERVER_CLASSES.get(of_format, "mlserver_sklearn.SKLearnModel")
    elif runtime.server_type == "tritonserver" and not stored:
        model["args"] = [*listed(model.get("args")), "--model-control-mode=explicit"]
    elif runtime.server_type == "torchserve":
        protocol = text(model.get("protocolVersion")) or "v1"
        second = protocol in ("v2", "grpc-v2")
        labels["serviceEnvelope"] = "kservev2" if second else "kserve"
        _add_env(model, "PROTOCOL_VERSION", protocol)
    return model, labels


def _add_env(model: Json, name: str, value: str) -> None:
    if named(model.get("env"), name) is None:
        model["env"] = [*objects(model.get("env")), {"name": name, "value": value}]


def with_tag(image: str, model: Mapping[str, Any], runtime: Runtime, limits: object) -> str:
    """The runtime's image in the version that is asked for, or for the GPU or CPU that is there."""
    if "@sha256:" in image:
        return image
    version = text(model.get("runtimeVersion"))
    if version:
        return f"{_TAG.sub('', image)}:{version}"
    tag = _TAG.search(image)
    if tag is None:
        return image
    names = [str(key) for key in mapping(limits)]
    gpu = any(key == "nvidia.com/gpu" or key.startswith("nvidia.com/mig-") for key in names)
    bare = image[: tag.start()]
    if gpu and runtime.server_type in _GPU_BY_TAG and not image.endswith("-gpu"):
        return f"{image}-gpu"
    if not gpu and runtime.server_type == "vllmserver" and not bare.endswith("-cpu"):
        return f"{bare}-cpu{tag[0]}"
    return image
