"""The ClusterServingRuntimes that come with an installation, in standalone mode.

They are applied server-side, again whenever one has changed, and deleted once they are not wanted.
One that somebody else made under such a name is left alone: it lacks our label.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import yaml

from batcher_operator.kube import Refused
from batcher_operator.standalone.looks import mapping, text
from batcher_operator.standalone.workload import MANAGED_BY, MANAGED_BY_LABEL
from batcher_operator.surroundings import NAME, NAME_LABEL, is_ours

__all__ = ["DefaultRuntimes", "Store", "read_runtimes"]

_KIND: Final = "ClusterServingRuntime"
_VERSION: Final = "serving.kserve.io/v1alpha1"
_PATH: Final = f"/apis/{_VERSION}/clusterservingruntimes"
_LABELS: Final = {NAME_LABEL: NAME, MANAGED_BY_LABEL: MANAGED_BY}
_RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)

Object = dict[str, Any]


class Store(Protocol):
    """The API server. Each call is bounded in time and raises OSError with a sentence."""

    async def get(self, path: str) -> Object | None:
        """An object, or None where there is none."""

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Object:
        """Server-side apply, also against other managers."""

    async def delete(self, path: str, uid: str) -> None:
        """Delete an object if it is still the one of this uid."""


def read_runtimes(file: Path) -> tuple[Object, ...]:
    """The ClusterServingRuntimes of a file of YAML documents, labelled as ours.

    One without `spec` is not wanted. Raises OSError or ValueError with a sentence that names the
    file.
    """
    try:
        documents = [each for each in yaml.safe_load_all(file.read_text()) if each is not None]
    except (UnicodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    return tuple(_labelled(each, file) for each in documents)


def _labelled(document: object, file: Path) -> Object:
    raw = mapping(document)
    meta = mapping(raw.get("metadata"))
    if (raw.get("apiVersion"), raw.get("kind")) != (_VERSION, _KIND) or not text(meta.get("name")):
        raise ValueError(f"{file} holds something else than a {_KIND} of {_VERSION} with a name")
    return {**raw, "metadata": {**meta, "labels": {**mapping(meta.get("labels")), **_LABELS}}}


class DefaultRuntimes:
    """Sees that the runtimes of an installation are there, and that others' are left alone."""

    def __init__(self, store: Store, runtimes: Iterable[Object]) -> None:
        self._store = store
        self._runtimes = tuple(runtimes)
        self._wake = asyncio.Event()
        self._left_alone: set[str] = set()
        self.why_not_ready = f"the {_KIND}s have yet to be applied"
        """Why they are not as they should be, in a sentence; empty if they are."""

    def look_again(self) -> None:
        """Have them looked at, as after one has changed."""
        self._wake.set()

    async def keep(self, every_s: float, why_not: Callable[[], Awaitable[str]]) -> NoReturn:
        """Look again and again, but not while `why_not` gives a reason."""
        while True:
            self._wake.clear()
            done = not await why_not() and await self._has_looked()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s if done else min(every_s, _RETRY_S)):
                    await self._wake.wait()

    async def _has_looked(self) -> bool:
        before = self.why_not_ready
        try:
            await self.look()
        except OSError as error:
            self.why_not_ready = str(error)
            if self.why_not_ready != before:
                _log.warning("%s", self.why_not_ready)
            return False
        self.why_not_ready = ""
        return True

    async def look(self) -> None:
        """Look once and mend what is not as it should be; raises OSError."""
        for runtime in self._runtimes:
            name = runtime["metadata"]["name"]
            try:
                await self._settle(name, runtime)
            except Refused as error:
                verb = "applied" if "spec" in runtime else "deleted"
                raise OSError(f"the {_KIND} {name} cannot be {verb}: {error}") from error

    async def _settle(self, name: str, runtime: Object) -> None:
        path = f"{_PATH}/{name}"
        found = await self._store.get(path)
        if found is not None and not is_ours(found):
            if name not in self._left_alone:
                self._left_alone.add(name)
                _log.info("the %s %s has no label of ours and is left as it is", _KIND, name)
            return
        self._left_alone.discard(name)
        if "spec" in runtime:
            await self._store.apply(path, runtime, MANAGED_BY)
        elif found is not None:
            await self._store.delete(path, found["metadata"]["uid"])
            _log.info("the %s %s is not wanted any more and was deleted", _KIND, name)
