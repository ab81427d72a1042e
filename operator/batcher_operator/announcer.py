"""Brings the Events of InferenceServices about: one worker, each Event once.

Handlers only say which InferenceService to look at; several words about one are one look. An Event
has a name that follows from what it says, so that a second operator, or this one after a restart,
does not say it again. Warnings are said again when their Event may have expired, while they last.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn, Protocol

from batcher_contract.settings import Mode
from batcher_operator.memory import Memory
from batcher_operator.metrics import Metrics
from batcher_operator.reconcile import Notice, reconcile
from batcher_operator.views import Key, Service

__all__ = ["Announcer", "EventSink", "event_of"]

REPEAT_S: Final = 3600.0
"""How long API servers keep Events unless told otherwise (`--event-ttl`)."""

_RETRY_S: Final = 5.0
_COMPONENT: Final = "inference-batcher"

_log = logging.getLogger(__name__)


class EventSink(Protocol):
    """Where Events go."""

    async def create_event(self, event: dict[str, Any]) -> None:
        """Create an Event of core/v1; one of that name that exists already is as good.

        Raises PermissionError where the namespace takes no Events, OSError where the API server
        gives no answer.
        """


def event_of(service: Service, notice: Notice, now: str) -> dict[str, Any]:
    """The Event (core/v1) that says this; `now` is a time of RFC 3339."""
    said = "\n".join((service.uid, notice.kind, notice.reason, notice.message))
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{service.key.name}.{digest}",
            "namespace": service.key.namespace,
        },
        "involvedObject": {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "name": service.key.name,
            "namespace": service.key.namespace,
            "uid": service.uid,
        },
        "type": notice.kind,
        "reason": notice.reason,
        "message": notice.message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "reportingInstance": "",
    }


class Announcer:
    """Looks at InferenceServices that changed and says what there is to say."""

    def __init__(
        self,
        memory: Memory,
        sink: EventSink,
        metrics: Metrics,
        image: str,
        mode: Mode = "kserve",
    ) -> None:
        self._memory = memory
        self._sink = sink
        self._metrics = metrics
        self._image = image
        self._mode: Mode = mode
        self._waiting: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._said: dict[Key, dict[Notice, float]] = {}
        self._more: dict[Key, tuple[Notice, ...]] = {}
        self._files: dict[Key, Mapping[str, str]] = {}

    def look_at(self, keys: Collection[Key]) -> None:
        """Have these InferenceServices looked at."""
        self._waiting.update(dict.fromkeys(keys))
        self._wake.set()

    def tell_more(
        self, key: Key, notices: tuple[Notice, ...], files: Mapping[str, str] | None = None
    ) -> None:
        """Have this told of an InferenceService as well, instead of what was told so before.

        `files` are the settings files of its running sidecars, by component.
        """
        files = files or {}
        if (notices, files) != (self._more.get(key, ()), self._files.get(key, {})):
            self._more[key], self._files[key] = notices, files
            self.look_at((key,))

    async def keep(self, begin: asyncio.Event) -> NoReturn:
        """Work for good, from when `begin` is set: before that, pods may seem to be missing."""
        await begin.wait()
        while True:
            try:
                async with asyncio.timeout(REPEAT_S / 4):
                    await self._wake.wait()
            except TimeoutError:
                self._waiting.update(dict.fromkeys(self._said))
            if not await self.work():
                await asyncio.sleep(_RETRY_S)

    async def work(self, clock: Callable[[], float] = time.monotonic) -> bool:
        """Say all that is to be said now; whether all of it could be."""
        self._wake.clear()
        waiting, self._waiting = self._waiting, {}
        while waiting:
            key = next(iter(waiting))
            try:
                await self._look(key, clock())
            except OSError as error:
                self._metrics.event_failed()
                _log.warning("cannot create Events, trying again in %g s: %s", _RETRY_S, error)
                self._waiting = waiting | self._waiting
                self._wake.set()
                return False
            del waiting[key]
        return True

    async def _look(self, key: Key, now_s: float) -> None:
        service = self._memory.service(key)
        notices: tuple[Notice, ...] = ()
        if service is None:
            self._more.pop(key, None)
            self._files.pop(key, None)
        else:
            pods = self._memory.pods_of(key)
            found = reconcile(service, pods, self._image, self._mode, self._files.get(key))
            notices = tuple(dict.fromkeys((*found, *self._more.get(key, ()))))
        before = self._said.pop(key, {})
        said = {notice: before[notice] for notice in notices if notice in before}
        if notices:
            self._said[key] = said
        for notice in notices:
            last_s = said.get(notice)
            if last_s is None or (notice.kind == "Warning" and now_s - last_s >= REPEAT_S):
                assert service is not None  # noqa: S101 - there are notices only of services
                await self._say(service, notice)
                said[notice] = now_s

    async def _say(self, service: Service, notice: Notice) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            await self._sink.create_event(event_of(service, notice, now))
        except PermissionError as error:
            # As one that is being deleted. It is not tried again: others are waiting.
            self._metrics.event_failed()
            _log.warning("namespace %r takes no Event: %s", service.key.namespace, error)
            return
        self._metrics.event(notice.reason)
        _log.info(
            "event: namespace=%r inferenceservice=%r reason=%s message=%r",
            service.key.namespace, service.key.name, notice.reason, notice.message,
        )  # fmt: skip
