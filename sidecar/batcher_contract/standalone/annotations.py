"""Annotations of KServe and Knative: those that standalone mode reads, and all others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batcher_contract.faults import Fault
from batcher_contract.standalone.looks import mapping

__all__ = ["SCALER_CLASS", "faults", "scaler_class", "warnings"]

SCALER_CLASS: Final = "serving.kserve.io/autoscalerClass"
"""Who sets the number of pods: `hpa` (ours), `external` (somebody's own), `none`."""

_MODE: Final = "serving.kserve.io/deploymentMode"
_OF_SERVICES: Final = (SCALER_CLASS, _MODE, "serving.kserve.io/stop")
_ANYWHERE: Final = ("storage.kserve.io/readonly",)
_FOREIGN: Final = ("kserve.io", "knative.dev")


def faults(service: Mapping[str, Any]) -> Iterator[Fault]:
    """What asks for another way of running the service."""
    found = mapping(mapping(service.get("metadata")).get("annotations"))
    mode, scaler = found.get(_MODE), found.get(SCALER_CLASS)
    if mode not in (None, "Standard", "RawDeployment"):
        remedy = "set Standard, or leave the annotation out"
        path = f"metadata.annotations[{_MODE}]"
        yield Fault(path, str(mode), "is run by KServe only", remedy)
    if scaler not in (None, "hpa", "none", "external"):
        path = f"metadata.annotations[{SCALER_CLASS}]"
        yield Fault(path, str(scaler), "is not done without KServe", "set hpa, none or external")


def warnings(annotations: object, path: str) -> Iterator[str]:
    """What of `metadata` or of a component has no effect."""
    for key in mapping(annotations):
        if not isinstance(key, str):
            continue
        honoured = key in _ANYWHERE or (key in _OF_SERVICES and path == "metadata")
        if _is_foreign(key) and not honoured:
            yield f"{path}.annotations[{key}] has no effect without KServe"


def scaler_class(service: Mapping[str, Any]) -> str:
    """Who sets the number of the service's pods."""
    found = mapping(mapping(service.get("metadata")).get("annotations")).get(SCALER_CLASS)
    return found if isinstance(found, str) else "hpa"


def _is_foreign(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    return bool(slash) and f".{domain}".endswith(tuple(f".{each}" for each in _FOREIGN))
