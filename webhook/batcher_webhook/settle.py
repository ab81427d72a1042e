"""Settings and resources that a batcher section, annotations and defaults come to together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from batcher_contract import BatcherSettings, Fault, PodOptions, parse_annotations
from batcher_contract.quantities import parse_quantity

__all__ = ["Resources", "Settled", "settle"]

_MEMORY_SHARE = 4  # of the sidecar's limit, which is what it takes for its queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests and limits of one container, as Kubernetes quantities."""

    cpu_request: str = "100m"
    cpu_limit: str = "1"
    memory_request: str = "100Mi"
    memory_limit: str = "1Gi"

    def merged(self, existing: Mapping[str, Any], wanted: PodOptions) -> dict[str, Any]:
        """A container's `resources`: what is wanted, else what exists, else these.

        Where a request would exceed its limit, the one that nobody asked for gives way, because
        the API server would refuse the pod.
        """
        requests = _quantities(existing.get("requests"))
        limits = _quantities(existing.get("limits"))
        for resource in ("cpu", "memory"):
            request: str | None = getattr(wanted, f"{resource}_request")
            limit: str | None = getattr(wanted, f"{resource}_limit")
            low = request or requests.get(resource) or getattr(self, f"{resource}_request")
            high = limit or limits.get(resource) or getattr(self, f"{resource}_limit")
            if _exceeds(low, high):
                low, high = (low, low) if limit is None and request is not None else (high, high)
            requests[resource], limits[resource] = low, high
        return {**existing, "limits": limits, "requests": requests}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What holds for one sidecar."""

    settings: BatcherSettings
    """Only what was given differs from the fields' defaults: the rest is the sidecar's to choose,
    which knows its container."""

    given: frozenset[str]
    """Names of the fields that somebody set."""

    options: PodOptions
    resources: Mapping[str, Any]
    """The container's `resources`."""

    faults: tuple[Fault, ...]
    """What was not applied, and why; the field is called as in the section or annotations."""


def settle(
    section: Mapping[str, str],
    annotations: Mapping[str, str],
    defaults: Resources,
    existing: Mapping[str, Any] | None = None,
) -> Settled:
    """Read a section and annotations over the resources of a container that exists, if any."""
    options = parse_annotations(annotations, section=section).extras
    resources = defaults.merged(existing or {}, options)
    memory_bytes = parse_quantity(resources["limits"]["memory"])
    base = BatcherSettings()
    if memory_bytes is not None and memory_bytes > 0:
        base = replace(base, max_queue_bytes=int(memory_bytes) // _MEMORY_SHARE)
    parsed = parse_annotations(annotations, base, section)
    chosen: dict[str, Any] = {
        name: getattr(parsed.settings, name)
        for name in parsed.given
        if hasattr(parsed.settings, name)
    }
    return Settled(
        settings=replace(BatcherSettings(), **chosen),
        given=parsed.given,
        options=parsed.extras,
        resources=resources,
        faults=parsed.faults,
    )


def _quantities(value: object) -> dict[str, Any]:
    found = value if isinstance(value, dict) else {}
    # The API server accepts numbers for quantities, and gives texts back.
    return {str(key): str(text) for key, text in found.items() if text is not None}


def _exceeds(low: str, high: str) -> bool:
    request, limit = parse_quantity(low), parse_quantity(high)
    return request is not None and limit is not None and request > limit
