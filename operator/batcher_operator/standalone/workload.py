"""From an InferenceService, and what it refers to, to the objects that run it.

The objects carry the names, labels and annotations of KServe's raw mode, but for the Service, which
goes by a named port (`ports.py`), and for batching's numbers, which are in a ConfigMap, so that
they change without new pods.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from batcher_contract import FIELDS, Fault, SettingsError
from batcher_contract.names import (
    BATCHER_ANNOTATION,
    COMPONENT_LABEL,
    SERVICE_LABEL,
    SETTINGS_FILE,
)
from batcher_contract.standalone import COMPONENTS, MODEL_PATH, is_object_name, judge, scheme_of
from batcher_operator.standalone.batching import Origins, read_batching, template_annotations
from batcher_operator.standalone.credentials import Account, Credentials, Secret, credentials_of
from batcher_operator.standalone.frameworks import model_of
from batcher_operator.standalone.looks import Json, mapping, objects, text, texts
from batcher_operator.standalone.placeholders import Metadata
from batcher_operator.standalone.pods import Parts, predictor_parts, transformer_parts
from batcher_operator.standalone.ports import serve_by_name
from batcher_operator.standalone.rollout import rollout_strategy
from batcher_operator.standalone.runtimes import Runtime
from batcher_operator.standalone.scaling import (
    autoscaler_spec,
    fixed_replicas,
    idle_beside_another,
)
from batcher_operator.standalone.storage import Initializer, occupied_by, with_model

__all__ = [
    "MANAGED_BY",
    "MANAGED_BY_LABEL",
    "Found",
    "Platform",
    "Unwanted",
    "Workload",
    "account_of",
    "component_name",
    "settings_name",
    "workload_of",
]

MANAGED_BY: Final = "inference-batcher"
"""The value of the label `app.kubernetes.io/managed-by` of each object here."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
_MODEL_FORMAT: Final = "modelFormat"
_SOURCE: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"
_READ_ONLY: Final = "storage.kserve.io/readonly"
_STOP: Final = "serving.kserve.io/stop"
_NOT_COPIED: Final = (
    "autoscaling.knative.dev/min-scale",
    "autoscaling.knative.dev/max-scale",
    _SOURCE,
    _MODEL_FORMAT,
)
_NOT_COPIED_FROM: Final = (
    "internal.serving.kserve.io/",
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    "meta.helm.sh/",
)
"""Prefixes of what KServe would write on pods itself, and of what tools note about the
InferenceService."""

_CONFIG_MAP: Final = FIELDS["settings_config_map"].annotation_key
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an installation says about the workloads that it makes."""

    initializer: Initializer = field(default_factory=Initializer)
    sidecar_memory_limit: str = "1Gi"
    """A sidecar's memory limit where no annotation sets it; its queue takes a share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is in the cluster, of which an InferenceService's workload is made."""

    runtimes: tuple[Runtime, ...] = ()
    """Those of its namespace and those of the cluster."""

    accounts: Mapping[str, Account] = field(default_factory=dict)
    """ServiceAccounts of its namespace by name: those that `account_of` names."""

    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Secrets of its namespace by name: those that these accounts list."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """By component: the file of settings in its ConfigMap, if there is one."""

    autoscaled: frozenset[str] = frozenset()
    """Names of Deployments that an autoscaler of the user's own scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """An object that is to be deleted, if it is there and the InferenceService owns it."""

    kind: str
    name: str
    after_rollout_of: str = ""
    """The Deployment that has to be rolled out, or gone, first: its pods may need the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an InferenceService comes to."""

    objects: tuple[Json, ...]
    """To be applied, in this order. Nothing of a component that has faults."""

    unwanted: tuple[Unwanted, ...]
    faults: tuple[Fault, ...]
    """Why what runs is left as it is, or nothing is run; all of them, with their paths."""

    batching_faults: tuple[Fault, ...]
    """Settings that were not applied; all else is."""

    warnings: tuple[str, ...]
    """What has no effect."""

    runtime: Runtime | None
    """What serves the model, if a runtime does."""

    stopped: bool
    """Whether it is not to run at all, by annotation."""


def component_name(service: str, component: str) -> str:
    """The name of a component's Deployment, Service and autoscaler."""
    return f"{service}-{component}"


def settings_name(service: str, component: str) -> str:
    """The name of a component's ConfigMap of settings."""
    return f"{service}-{component}-batcher"


def account_of(component: Mapping[str, Any]) -> str:
    """The name of the ServiceAccount that a component's pods run as.

    What could be no name is passed over: such a component is not run.
    """
    given = (text(component.get(key)) for key in ("serviceAccountName", "serviceAccount"))
    return next((name for name in given if name and is_object_name(name)), "default")


def workload_of(service: Mapping[str, Any], found: Found, platform: Platform) -> Workload:
    """What there should be for an InferenceService (v1beta1).

    Never raises, whatever the object holds, and is the same for the same input.
    """
    return _Maker(service, found, platform).make()


class _Maker:
    def __init__(self, service: Mapping[str, Any], found: Found, platform: Platform) -> None:
        self._service = service
        self._found = found
        self._platform = platform
        self._meta = mapping(service.get("metadata"))
        self._spec = mapping(service.get("spec"))
        self._name = text(self._meta.get("name"))
        self._namespace = text(self._meta.get("namespace"))
        self._labels = _kept(texts(self._meta.get("labels")))
        self._annotations = texts(self._meta.get("annotations"))
        self._batching_faults: list[Fault] = []
        self._warnings: list[str] = []
        self._runtime: Runtime | None = None

    def make(self) -> Workload:
        judgement = judge(self._service)
        stopped = self._annotations.get(_STOP, "").lower() == "true"
        faults = list(judgement.faults)
        made: list[Json] = []
        unwanted: list[Unwanted] = []
        if stopped:
            unwanted = [each for name in COMPONENTS for each in self._all_of(name)]
        elif not faults:
            for name in COMPONENTS:
                component = mapping(self._spec.get(name))
                if not component:
                    unwanted += self._all_of(name)
                    continue
                try:
                    ours = list(self._objects(name, component))
                except SettingsError as error:
                    faults += error.faults
                    continue
                made += ours
                unwanted += self._left_over(name, ours)
        return Workload(
            objects=tuple(made),
            unwanted=tuple(unwanted),
            faults=tuple(dict.fromkeys(faults)),
            batching_faults=tuple(self._batching_faults),
            warnings=tuple(dict.fromkeys([*judgement.warnings, *self._warnings])),
            runtime=self._runtime,
            stopped=stopped,
        )

    def _objects(self, name: str, component: Mapping[str, Any]) -> Iterator[Json]:
        """The objects of one component; raises SettingsError."""
        parts = self._parts(name, component)
        batched = component.get("batcher") is not None
        called = component_name(self._name, name)
        labels = {
            **parts.labels,
            **self._labels,
            **_kept(texts(component.get("labels"))),
            SERVICE_LABEL: self._name,
            COMPONENT_LABEL: name,
            "app": f"isvc.{called}",
        }
        origins = Origins(
            runtime=_kept(parts.annotations),
            service=_kept(self._annotations),
            component=_kept(texts(component.get("annotations"))),
        )
        annotations = template_annotations(origins.merged)
        self._provide_model(name, component, parts, annotations)
        ports = serve_by_name(parts.spec, called)
        if batched:
            annotations[BATCHER_ANNOTATION] = "true"
            annotations[_CONFIG_MAP] = settings_name(self._name, name)
            batching = read_batching(
                component,
                name,
                origins,
                self._platform.sidecar_memory_limit,
                self._found.settings.get(name),
            )
            self._batching_faults += batching.faults
            settings = {"data": {SETTINGS_FILE: batching.text}}
            yield self._object("v1", "ConfigMap", annotations[_CONFIG_MAP], labels, {}, settings)
        selector = {"app": labels["app"]}
        service = {"spec": {"selector": selector, "ports": ports}}
        yield self._object("v1", "Service", called, labels, annotations, service)
        template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": parts.spec}
        deployment: Json = {
            "selector": {"matchLabels": selector},
            "strategy": rollout_strategy(component),
            "template": template,
        }
        autoscaled = called in self._found.autoscaled
        if autoscaled:
            self._warnings += idle_beside_another(name, component, called)
        replicas = fixed_replicas(component, self._annotations, autoscaled=autoscaled)
        if replicas is not None:
            deployment["replicas"] = replicas
        spec = {"spec": deployment}
        yield self._object("apps/v1", "Deployment", called, labels, annotations, spec)
        scaling = autoscaler_spec(component, self._annotations, called, autoscaled=autoscaled)
        if scaling is not None:
            kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
            yield self._object(*kind, called, labels, annotations, {"spec": scaling})

    def _parts(self, name: str, component: Mapping[str, Any]) -> Parts:
        metadata = Metadata(
            name=self._name,
            namespace=self._namespace,
            labels=texts(self._meta.get("labels")),
            annotations=self._annotations,
        )
        if name == "transformer":
            host = f"{component_name(self._name, 'predictor')}.{self._namespace}"
            return transformer_parts(component, metadata, host)
        found = model_of(component)
        if found is not None and _MODEL_FORMAT not in metadata.annotations:
            # KServe's defaulter notes it there, where placeholders may look for it.
            model_format = text(mapping(found[1].get("modelFormat")).get("name"))
            annotations = {**self._annotations, _MODEL_FORMAT: model_format}
            metadata = Metadata(
                name=self._name,
                namespace=self._namespace,
                labels=metadata.labels,
                annotations=annotations,
            )
        parts = predictor_parts(component, metadata, self._found.runtimes)
        self._runtime = parts.runtime
        return parts

    def _provide_model(
        self,
        name: str,
        component: Mapping[str, Any],
        parts: Parts,
        annotations: dict[str, str],
    ) -> None:
        uri = parts.storage_uri
        if not uri:
            return
        credentials = Credentials()
        if scheme_of(uri) != "pvc":
            credentials = self._credentials(name, component)
        # As KServe notes it; `kubectl describe pod` shows it.
        annotations[_SOURCE] = uri
        _refuse_mounts(name, parts)
        read_only = annotations.get(_READ_ONLY, "true") != "false"
        initializer = self._platform.initializer
        with_model(parts.spec, uri, credentials, initializer, read_only=read_only)

    def _credentials(self, name: str, component: Mapping[str, Any]) -> Credentials:
        """Raises SettingsError where there is no such Secret: the model could not be fetched."""
        account = self._found.accounts.get(account_of(component))
        if account is None:
            # Its pods are refused until it is there, and the Deployment tells.
            return Credentials()
        path = f"spec.{name}.serviceAccountName"
        if account.no_names:
            odd = ", ".join(repr(each[:_SHOWN]) for each in account.no_names)
            problem = f"lists what are no names of Secrets ({odd})"
            remedy = "take them off the ServiceAccount"
            raise SettingsError([Fault(path, account.name, problem, remedy)])
        missing = [each for each in account.secrets if each not in self._found.secrets]
        if missing:
            problem = f"lists Secrets that are not there ({', '.join(missing)})"
            remedy = "create them, or take them off the ServiceAccount"
            raise SettingsError([Fault(path, account.name, problem, remedy)])
        return credentials_of(account, self._found.secrets)

    def _object(
        self,
        api_version: str,
        kind: str,
        name: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        content: Json,
    ) -> Json:
        metadata: Json = {
            "name": name,
            "namespace": self._namespace,
            "labels": {**labels, MANAGED_BY_LABEL: MANAGED_BY},
            "ownerReferences": [
                {
                    "apiVersion": "serving.kserve.io/v1beta1",
                    "kind": "InferenceService",
                    "name": self._name,
                    "uid": text(self._meta.get("uid")),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        if annotations:
            metadata["annotations"] = dict(annotations)
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}

    def _all_of(self, name: str) -> Iterator[Unwanted]:
        called = component_name(self._name, name)
        scaler = "HorizontalPodAutoscaler"
        yield Unwanted(kind=scaler, name=called)
        yield Unwanted(kind="Deployment", name=called)
        yield Unwanted(kind="Service", name=called)
        settings = settings_name(self._name, name)
        yield Unwanted(kind="ConfigMap", name=settings, after_rollout_of=called)

    def _left_over(self, name: str, made: list[Json]) -> Iterator[Unwanted]:
        kinds = {each["kind"] for each in made}
        for each in self._all_of(name):
            if each.kind not in kinds:
                yield each


def _refuse_mounts(name: str, parts: Parts) -> None:
    """Raise SettingsError where a runtime has a volume of its own where the model comes."""
    for container in objects(parts.spec.get("containers")):
        at = occupied_by(container)
        if at and parts.runtime is not None:
            runtime = f"{parts.runtime.kind} {parts.runtime.name}"
            problem = f"has its model where the {runtime} mounts the volume {at}, at {MODEL_PATH}"
            remedy = "mount the volume elsewhere in the runtime, or name another runtime"
            raise SettingsError([Fault(f"spec.{name}", None, problem, remedy)])


def _kept(entries: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations of the InferenceService that are for its pods, too."""
    return {
        key: value
        for key, value in entries.items()
        if key not in _NOT_COPIED and not key.startswith(_NOT_COPIED_FROM)
    }
