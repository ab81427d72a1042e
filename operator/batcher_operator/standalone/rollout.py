"""How pods of an earlier template make way for those of the next."""

from collections.abc import Mapping
from typing import Any, Final

from batcher_operator.standalone.looks import Json, mapping, plain, text

__all__ = ["rollout_strategy"]

_ROLLING: Final = "RollingUpdate"
_PACE: Final = {"maxSurge": "25%", "maxUnavailable": "25%"}
"""Kubernetes' own defaults. They are written so that they go when another type is asked for."""


def rollout_strategy(component: Mapping[str, Any]) -> Json:
    """A Deployment's `strategy` for a component with its `deploymentStrategy`."""
    given = mapping(component.get("deploymentStrategy"))
    kind = text(given.get("type")) or _ROLLING
    if kind != _ROLLING:
        return {"type": kind}
    pace = {key: plain(value) for key, value in mapping(given.get("rollingUpdate")).items()}
    return {"type": _ROLLING, "rollingUpdate": {**_PACE, **pace}}
