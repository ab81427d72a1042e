"""Standalone mode: brings about what `standalone.workload` says, and tells what became of it.

Handlers only say which InferenceService to look at. A look reads what it refers to, applies what
there should be (server-side, so that nothing else is touched), deletes what there should not, and
writes the status where it differs. It may be stopped anywhere: the next look begins anew.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Final, NoReturn

from batcher_contract.names import COMPONENT_LABEL, SERVICE_LABEL, SETTINGS_FILE
from batcher_operator.ownership import is_ours
from batcher_operator.reconcile import Notice
from batcher_operator.references import References
from batcher_operator.resources import KINDS, path_of
from batcher_operator.rounds import Rounds
from batcher_operator.standalone.failures import Failure, failures_of
from batcher_operator.standalone.status import Observed, components_in, is_up, status_of
from batcher_operator.standalone.workload import (
    Found,
    Platform,
    Workload,
    component_name,
    workload_of,
)
from batcher_operator.store import Object, Store
from batcher_operator.views import Key
from batcher_operator.writer import Outcome, Writer, path_of_owned

__all__ = ["Workloads", "notices_of"]

_SCALER: Final = "serving.kserve.io/autoscalerClass"


class Workloads:
    """Looks at InferenceServices that changed, or what they own did, and brings them about."""

    def __init__(
        self,
        store: Store,
        platform: Platform,
        tell: Callable[[Key, tuple[Notice, ...], Mapping[str, str]], None],
        all_keys: Callable[[], Collection[Key]],
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._platform = platform
        self._tell = tell
        self._all_keys = all_keys
        self._references = References(store)
        self._writer = Writer(store)
        self._rounds = Rounds(self.look, self._all_anew, on_failure)

    def look_at(self, keys: Collection[Key]) -> None:
        """Have these InferenceServices looked at."""
        self._rounds.look_at(keys)

    def look_at_all(self) -> None:
        """Have all of them looked at: a runtime has changed."""
        self._references.doubt()
        self._rounds.look_at_all()

    def wrote(self, key: Key, version: str) -> bool:
        """Whether the last look already took this version of an object into account."""
        return self._writer.wrote(key, version)

    async def keep(self, begin: asyncio.Event, why_not: Callable[[], Awaitable[str]]) -> NoReturn:
        """Work for good from when `begin` is set, but not while `why_not` gives a reason."""
        await self._rounds.keep(begin, why_not)

    def _all_anew(self) -> Collection[Key]:
        self._writer.doubt()
        return self._all_keys()

    async def look(self, key: Key, tries: int = 0) -> bool:
        """Look at one, having failed `tries` times in a row; False if it has to be tried again.

        Raises OSError where that is not even told.
        """
        service = await self._store.get(_path_of_service(key))
        if service is None or "deletionTimestamp" in service["metadata"]:
            # What it owned goes with it.
            self._writer.forget(key)
            self._tell(key, (), {})
            return True
        uid = service["metadata"]["uid"]
        self._writer.begin(key)
        self._writer.took(key, service)
        found = await self._references.find(key, service)
        workload = workload_of(service, found, self._platform)
        scaled = _scaled(service, workload, found)
        outcome = await self._writer.apply(key, uid, workload, scaled, tries)
        for unwanted in workload.unwanted:
            await self._writer.delete(key, uid, unwanted, outcome.applied)
        observed = await self._observe(key, service, outcome)
        observed = replace(observed, failures=await self._failures(key, observed))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status = status_of(service, workload, observed, now)
        if service.get("status") != status:
            changed = {**service, "status": status}
            self._writer.took(key, await self._store.put(_path_of_service(key, "status"), changed))
        notices = notices_of(workload, outcome.troubles, observed.failures)
        self._tell(key, notices, {**found.settings, **_files_of(outcome.applied)})
        return not outcome.may_pass

    async def _observe(self, key: Key, service: Object, outcome: Outcome) -> Observed:
        deployments, services = {}, []
        for component in components_in(service.get("spec") or {}):
            name = component_name(key.name, component)
            found = await self._as_it_is(key, service, "Deployment", name, outcome.applied)
            if found is not None:
                deployments[name] = found
            if await self._as_it_is(key, service, "Service", name, outcome.applied) is not None:
                services.append(name)
        return Observed(deployments=deployments, services=services, troubles=outcome.troubles)

    async def _as_it_is(
        self, key: Key, service: Object, kind: str, name: str, applied: Mapping[str, Object]
    ) -> Object | None:
        """One of our objects; it is asked for only where applying it has not just brought it."""
        path = path_of_owned(key, kind, name)
        found = applied.get(path) or await self._store.get(path)
        return found if found and is_ours(service["metadata"]["uid"], found) else None

    async def _failures(self, key: Key, observed: Observed) -> Mapping[str, Failure]:
        """Why pods are not ready, by component, where a Deployment is not up."""
        down = [name for name, found in observed.deployments.items() if not is_up(found)]
        if not down:
            return {}
        pods = await self._store.list_items(
            path_of("v1", "pods", key.namespace), f"{SERVICE_LABEL}={key.name}"
        )
        found = failures_of(pods)
        return {each: why for each, why in found.items() if component_name(key.name, each) in down}


def notices_of(
    workload: Workload, troubles: Mapping[str, str], failures: Mapping[str, Failure]
) -> tuple[Notice, ...]:
    """What there is to say about a workload."""
    found = [Notice("Warning", "InvalidSpec", str(fault)) for fault in workload.faults]
    found += [
        Notice("Warning", "SettingIgnored", f"{fault}; the last good value holds, or the default")
        for fault in workload.batching_faults
    ]
    found += [Notice("Warning", "NotHonoured", warning) for warning in workload.warnings]
    found += [Notice("Warning", "ApplyFailed", trouble) for trouble in troubles.values()]
    for component, failure in failures.items():
        message = f"pods of spec.{component} are not ready: {failure.message}"
        found.append(Notice("Warning", failure.reason, message))
    return tuple(found)


def _files_of(applied: Mapping[str, Object]) -> dict[str, str]:
    """The settings files among what was applied, by component."""
    return {
        each["metadata"]["labels"][COMPONENT_LABEL]: each["data"][SETTINGS_FILE]
        for each in applied.values()
        if each["kind"] == "ConfigMap"
    }


def _scaled(service: Object, workload: Workload, found: Found) -> frozenset[str]:
    ours = {
        wanted["metadata"]["name"]
        for wanted in workload.objects
        if wanted["kind"] == "HorizontalPodAutoscaler"
    }
    names = {wanted["metadata"]["name"] for wanted in workload.objects}
    annotations = service["metadata"].get("annotations") or {}
    others = names if annotations.get(_SCALER) == "external" else found.autoscaled
    return frozenset(ours | others)


def _path_of_service(key: Key, part: str = "") -> str:
    of = KINDS["InferenceService"]
    return path_of(of.api_version, of.plural, key.namespace, key.name, part)
