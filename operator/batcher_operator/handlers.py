"""kopf: which objects are watched, and what an event sets off.

Handlers are thin: an event goes into the memory, and the InferenceService that it is about is to be
looked at. They are `on.event` only, which writes nothing: KServe would copy kopf's annotations into
pod templates and so roll every service.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import kopf

from batcher_operator.default_runtimes import DefaultRuntimes
from batcher_operator.memory import Memory
from batcher_operator.resources import KINDS, OWNED, RUNTIMES, Kind
from batcher_operator.standalone.failures import has_failed
from batcher_operator.views import Key
from batcher_operator.workloads import Workloads

__all__ = ["build_registry", "build_settings"]

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

    @_on_event(registry, "InferenceService")
    async def on_service(event: kopf.RawEvent, **_: Any) -> None:
        raw, gone = event["object"], event["type"] == "DELETED"
        key = memory.take("InferenceService", raw, gone)
        look_at((key,))
        version = raw["metadata"].get("resourceVersion", "")
        if workloads is not None and (gone or not workloads.wrote(key, version)):
            workloads.look_at((key,))

    @_on_event(registry, "Pod")
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        raw, gone = event["object"], event["type"] == "DELETED"
        key = memory.take("Pod", raw, gone)
        look_at((key,))
        # Pods that come up are seen in their Deployments.
        if workloads is not None and not gone and has_failed(raw):
            workloads.look_at((key,))

    if workloads is not None:
        _watch_workloads(registry, memory, workloads, runtimes)

    @kopf.on.login(registry=registry, id="login")
    async def on_login(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    return registry


def _watch_workloads(
    registry: kopf.OperatorRegistry,
    memory: Memory,
    workloads: Workloads,
    runtimes: DefaultRuntimes | None,
) -> None:
    def watch_owned(kind: Kind) -> None:
        @_on_event(registry, kind)
        async def on_owned(event: kopf.RawEvent, **_: Any) -> None:
            gone = event["type"] == "DELETED"
            other, matters = memory.take_other(kind, event["object"], gone)
            if gone or (matters and not workloads.wrote(other.key, other.resource_version)):
                workloads.look_at((other.key,))

    def watch_runtimes(kind: Kind) -> None:
        @_on_event(registry, kind)
        async def on_runtime(event: kopf.RawEvent, **_: Any) -> None:
            gone = event["type"] == "DELETED"
            if memory.take_other(kind, event["object"], gone)[1]:
                workloads.look_at_all()
                if runtimes is not None:
                    runtimes.look_again()

    for kind in OWNED:
        watch_owned(kind)
    for kind in RUNTIMES:
        watch_runtimes(kind)


def _on_event(registry: kopf.OperatorRegistry, kind: Kind) -> Callable[[Any], Any]:
    of = KINDS[kind]
    return kopf.on.event(
        of.group, of.version, of.plural, registry=registry, id=f"watch-{of.plural}"
    )  # fmt: skip


def build_settings() -> kopf.OperatorSettings:
    """What is watched is narrowed down by the API server, so that nothing else is ever sent."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    for of in KINDS.values():
        if of.labels:
            settings.watching.label_selectors[of.group, of.version, of.plural] = of.labels
    # Kinds that come later are not noticed: the operator waits for KServe's before it starts kopf.
    settings.scanning.disabled = True
    settings.watching.chunk_size = _PAGE
    settings.networking.connect_timeout = _CONNECT_TIMEOUT_S
    settings.networking.request_timeout = _REQUEST_TIMEOUT_S
    settings.process.ultimate_exiting_timeout = _EXIT_TIMEOUT_S
    return settings
