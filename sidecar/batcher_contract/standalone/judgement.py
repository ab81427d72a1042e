"""All that standalone mode has to say about an InferenceService."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.standalone import annotations, components, pods, scaling
from batcher_contract.standalone.looks import mapping, objects
from batcher_contract.standalone.names import COMPONENTS

__all__ = ["Judgement", "judge"]

_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME: Final = {"predictor": 48, "transformer": 46}
"""The label `app: isvc.<name>-<component>` of KServe's raw mode has room for 63 characters."""

_NOT_RUN: Final = {
    "canary": "splits traffic, which is not done without KServe",
    "explainer": "is not run without KServe",
}


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


def _faults(service: Mapping[str, Any]) -> Iterator[Fault]:
    spec = mapping(service.get("spec"))
    yield from _name_faults(service, spec)
    yield from annotations.faults(service)
    for key, problem in _NOT_RUN.items():
        if spec.get(key):
            yield Fault(f"spec.{key}", None, problem, components.INSTALL)
    for name in COMPONENTS:
        component = mapping(spec.get(name))
        if component:
            yield from components.faults(component, f"spec.{name}")
            yield from scaling.faults(component, f"spec.{name}")
            yield from pods.faults(component, f"spec.{name}")
    yield from components.model_faults(mapping(spec.get("predictor")), "spec.predictor")
    if "transformer" in spec and not objects(mapping(spec["transformer"]).get("containers")):
        remedy = "name the transformer's container in it, or remove spec.transformer"
        yield Fault("spec.transformer.containers", None, "is missing", remedy)


def _name_faults(service: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Fault]:
    meta = mapping(service.get("metadata"))
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


def _warnings(service: Mapping[str, Any]) -> Iterator[str]:
    spec, meta = mapping(service.get("spec")), mapping(service.get("metadata"))
    yield from annotations.warnings(meta.get("annotations"), "metadata")
    scaler = annotations.scaler_class(service)
    for name in COMPONENTS:
        component, where = mapping(spec.get(name)), f"spec.{name}"
        yield from annotations.warnings(component.get("annotations"), where)
        yield from components.warnings(component, where)
        yield from scaling.warnings(component, where, scaler)
        yield from pods.warnings(component, where)
