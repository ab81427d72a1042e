"""kopf: which objects are watched, and what an event sets off.

Handlers are thin: an event goes into the memory, and the InferenceService that it is about is to be
looked at. They are `on.event` only, which writes nothing: KServe would copy kopf's annotations into
pod templates and so roll every service.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import kopf

from batcher_contract.names import SERVICE_LABEL
from batcher_operator.default_runtimes import DefaultRuntimes
from batcher_operator.memory import Memory
from batcher_operator.resources import Kind
from batcher_operator.standalone.failures import has_failed
from batcher_operator.standalone.workload import MANAGED_BY, MANAGED_BY_LABEL
from batcher_operator.views import Key
from batcher_operator.workloads import Workloads, key_of_owned

__all__ = ["GROUP", "PLURAL", "VERSION", "build_registry", "build_settings"]

GROUP: Final = "serving.kserve.io"
VERSION: Final = "v1beta1"
PLURAL: Final = "inferenceservices"

_OWNED: Final = (
    ("apps", "v1", "deployments"),
    ("", "v1", "services"),
    ("", "v1", "configmaps"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
)
_OURS: Final = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
_PAGE: Final = 250
_CONNECT_TIMEOUT_S: Final = 10.0
_REQUEST_TIMEOUT_S: Final = 60.0
_EXIT_TIMEOUT_S: Final = 10.0


def build_registry(
    memory: Memory,
    look_at: Callable[[Collection[Key]], None],
    login: Callable[[], Awaitable[kopf.ConnectionInfo]],
    workloads: Workloads | None = None,
    runtimes: DefaultRuntimes | None = None,
) -> kopf.OperatorRegistry:
    """Handlers for the events of InferenceServices and of their pods.

    With `workloads`, also for those of what these are made of, and of what they own; `runtimes`
    are looked at with them.
    """
    registry = kopf.OperatorRegistry()

    def watch(kind: Kind, group: str, version: str, plural: str) -> None:
        @kopf.on.event(group, version, plural, registry=registry, id=f"watch-{plural}")
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            gone = event["type"] == "DELETED"
            key = memory.take(kind, event["object"], gone)
            look_at((key,))
            if workloads is None:
                return
            # Pods that come up are seen in their Deployments.
            if kind == "InferenceService" or (not gone and has_failed(event["object"])):
                workloads.look_at((key,))

    watch("InferenceService", GROUP, VERSION, PLURAL)
    watch("Pod", "", "v1", "pods")
    if workloads is not None:
        _watch_workloads(registry, workloads, runtimes)

    @kopf.on.login(registry=registry, id="login")
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    return registry


def _watch_workloads(
    registry: kopf.OperatorRegistry, workloads: Workloads, runtimes: DefaultRuntimes | None
) -> None:
    for group, version, plural in _OWNED:

        @kopf.on.event(group, version, plural, registry=registry, id=f"watch-{plural}")
        async def on_owned(event: kopf.RawEvent, **_: Any) -> None:
            workloads.look_at((key_of_owned(event["object"]),))

    for plural in ("servingruntimes", "clusterservingruntimes"):

        @kopf.on.event(GROUP, "v1alpha1", plural, registry=registry, id=f"watch-{plural}")
        async def on_runtime(**_: Any) -> None:
            workloads.look_at_all()
            if runtimes is not None:
                runtimes.look_again()


def build_settings() -> kopf.OperatorSettings:
    """What is watched is narrowed down by the API server, so that nothing else is ever sent."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.watching.label_selectors["", "v1", "pods"] = SERVICE_LABEL
    for group, version, plural in _OWNED:
        settings.watching.label_selectors[group, version, plural] = f"{SERVICE_LABEL},{_OURS}"
    # Kinds that come later are not noticed: the operator waits for KServe's before it starts kopf.
    settings.scanning.disabled = True
    settings.watching.chunk_size = _PAGE
    settings.networking.connect_timeout = _CONNECT_TIMEOUT_S
    settings.networking.request_timeout = _REQUEST_TIMEOUT_S
    settings.process.ultimate_exiting_timeout = _EXIT_TIMEOUT_S
    return settings
