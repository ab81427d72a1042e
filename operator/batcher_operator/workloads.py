"""Standalone mode: brings about what `standalone.workload` says, and tells what became of it.

Handlers only say which InferenceService to look at. A look reads what it refers to, applies what
there should be (server-side, so that nothing else is touched), deletes what there should not, and
writes the status where it differs. It may be stopped anywhere: the next look begins anew.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn, Protocol

from batcher_contract.names import COMPONENT_LABEL, SERVICE_LABEL, SETTINGS_FILE
from batcher_contract.standalone import COMPONENTS
from batcher_operator.kube import Conflict, Refused
from batcher_operator.reconcile import Notice
from batcher_operator.resources import KINDS, OWNED, path_of
from batcher_operator.standalone.credentials import read_account, read_secret
from batcher_operator.standalone.failures import Failure, failures_of
from batcher_operator.standalone.looks import is_name
from batcher_operator.standalone.runtimes import Runtime, read_runtime
from batcher_operator.standalone.scaling import replicas_to_hand_over
from batcher_operator.standalone.status import (
    Observed,
    components_in,
    is_rolled_out,
    is_up,
    status_of,
)
from batcher_operator.standalone.workload import (
    MANAGED_BY,
    Found,
    Platform,
    Unwanted,
    Workload,
    account_of,
    component_name,
    settings_name,
    workload_of,
)
from batcher_operator.views import Key

__all__ = ["Store", "Workloads", "key_of_owned", "notices_of"]

_RETRY_S: Final = 5.0
_ALL_AGAIN_S: Final = 300.0
"""How often all are looked at: not everything that they refer to is watched."""

_RUNTIMES: Final = "serving.kserve.io/v1alpha1"
_SCALER: Final = "serving.kserve.io/autoscalerClass"
_HANDING_OVER: Final = f"{MANAGED_BY}-replicas"

_log = logging.getLogger(__name__)

Object = dict[str, Any]


class Store(Protocol):
    """The API server. Each call is bounded in time and raises OSError with a sentence."""

    async def get(self, path: str) -> Object | None:
        """An object, or None where there is none."""

    async def put(self, path: str, body: Mapping[str, Any]) -> Object:
        """Replace an object; Conflict if its resourceVersion is not the one in `body`."""

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> Object:
        """Server-side apply, also against other managers."""

    async def delete(self, path: str, uid: str) -> None:
        """Delete an object if it is still the one of this uid."""

    async def list_items(self, path: str, labels: str = "") -> list[Object]:
        """The objects of a collection, or those that a selector of labels fits.

        None where there is no such kind.
        """


class Workloads:
    """Looks at InferenceServices that changed, or what they own did, and brings them about."""

    def __init__(
        self,
        store: Store,
        platform: Platform,
        tell: Callable[[Key, tuple[Notice, ...], Mapping[str, str]], None],
        all_keys: Callable[[], Collection[Key]],
    ) -> None:
        self._store = store
        self._platform = platform
        self._tell = tell
        self._all_keys = all_keys
        self._waiting: dict[Key, None] = {}
        self._wake = asyncio.Event()

    def look_at(self, keys: Collection[Key]) -> None:
        """Have these InferenceServices looked at."""
        self._waiting.update(dict.fromkeys(keys))
        self._wake.set()

    def look_at_all(self) -> None:
        """Have all of them looked at, as after a runtime has changed."""
        self.look_at(self._all_keys())

    async def keep(self, begin: asyncio.Event, why_not: Callable[[], str]) -> NoReturn:
        """Work for good from when `begin` is set, but not while `why_not` gives a reason."""
        await begin.wait()
        self.look_at_all()
        while True:
            try:
                async with asyncio.timeout(_ALL_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                self.look_at_all()
            if why_not() or not await self.work():
                await asyncio.sleep(_RETRY_S)

    async def work(self) -> bool:
        """Look at all that wait; whether each look came to its end."""
        self._wake.clear()
        waiting, self._waiting = self._waiting, {}
        again = []
        for key in waiting:
            try:
                await self._look(key)
            except Conflict:
                again.append(key)
            except OSError as error:
                _log.warning("cannot look at %s/%s: %s", key.namespace, key.name, error)
                again.append(key)
        if again:
            self.look_at(again)
        return not again

    async def _look(self, key: Key) -> None:
        service = await self._store.get(_path_of_service(key))
        if service is None or "deletionTimestamp" in service["metadata"]:
            # What it owned goes with it.
            self._tell(key, (), {})
            return
        found = await self._find(key, service)
        workload = workload_of(service, found, self._platform)
        applied, troubles = await self._apply(key, workload, _scaled(service, workload, found))
        for unwanted in workload.unwanted:
            await self._delete(key, service, unwanted, applied)
        observed = await self._observe(key, service, applied, troubles)
        observed = replace(observed, failures=await self._failures(key, observed))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status = status_of(service, workload, observed, now)
        if service.get("status") != status:
            await self._store.put(_path_of_service(key, "status"), {**service, "status": status})
        notices = notices_of(workload, troubles, observed.failures)
        self._tell(key, notices, {**found.settings, **_files_of(applied)})

    async def _find(self, key: Key, service: Object) -> Found:
        """What the InferenceService refers to."""
        spec = service.get("spec") or {}
        components = {name: spec.get(name) or {} for name in COMPONENTS if spec.get(name)}
        accounts, secrets, settings = {}, {}, {}
        for name, component in components.items():
            account_name = account_of(component)
            raw = await self._named("serviceaccounts", key, account_name)
            if raw is not None:
                accounts[account_name] = account = read_account(raw)
                for each in account.secrets:
                    if (secret := await self._named("secrets", key, each)) is not None:
                        secrets[each] = read_secret(secret)
            called = settings_name(key.name, name)
            config_map = await self._named("configmaps", key, called)
            text = ((config_map or {}).get("data") or {}).get(SETTINGS_FILE)
            if text is not None:
                settings[name] = text
        return Found(
            runtimes=await self._runtimes(key),
            accounts=accounts,
            secrets=secrets,
            settings=settings,
            autoscaled=await self._autoscaled(key, service["metadata"]["uid"]),
        )

    async def _named(self, plural: str, key: Key, name: str) -> Object | None:
        """An object that something in the namespace names, whatever it holds for a name."""
        if not is_name(name):
            return None
        return await self._store.get(path_of("v1", plural, key.namespace, name))

    async def _runtimes(self, key: Key) -> tuple[Runtime, ...]:
        inside = path_of(_RUNTIMES, "servingruntimes", key.namespace)
        own = await self._store.list_items(inside)
        clusters = await self._store.list_items(path_of(_RUNTIMES, "clusterservingruntimes"))
        return tuple(map(read_runtime, (*own, *clusters)))

    async def _autoscaled(self, key: Key, uid: str) -> frozenset[str]:
        """Deployments that autoscalers of the user's own scale."""
        path = path_of("autoscaling/v2", "horizontalpodautoscalers", key.namespace)
        return frozenset(
            scaler["spec"]["scaleTargetRef"]["name"]
            for scaler in await self._store.list_items(path)
            if scaler["spec"]["scaleTargetRef"]["kind"] == "Deployment" and not _owns(uid, scaler)
        )

    async def _apply(
        self, key: Key, workload: Workload, scaled: Collection[str]
    ) -> tuple[dict[str, Object], dict[str, str]]:
        """Apply the objects; what they are now by path, and by component what was refused.

        `scaled` names the Deployments whose `replicas` are somebody else's.
        """
        applied: dict[str, Object] = {}
        troubles: dict[str, str] = {}
        for wanted in workload.objects:
            component = wanted["metadata"]["labels"]["component"]
            if component in troubles:
                continue
            path = _path_of(key, wanted["kind"], wanted["metadata"]["name"])
            try:
                if wanted["kind"] == "Deployment" and wanted["metadata"]["name"] in scaled:
                    await self._hand_over_replicas(path)
                applied[path] = await self._store.apply(path, wanted, MANAGED_BY)
            except Refused as error:
                if error.status in (409, 429) or error.status >= 500:
                    raise
                name = f"{wanted['kind']} {wanted['metadata']['name']}"
                troubles[component] = f"the {name} cannot be applied: {error}"
        return applied, troubles

    async def _hand_over_replicas(self, path: str) -> None:
        """Let go of a number that we set, without its falling back to 1 in between."""
        found = await self._store.get(path)
        kept = replicas_to_hand_over(found, MANAGED_BY) if found else None
        if kept is not None:
            await self._store.apply(path, kept, _HANDING_OVER)

    async def _delete(
        self, key: Key, service: Object, unwanted: Unwanted, applied: Mapping[str, Object]
    ) -> None:
        path = _path_of(key, unwanted.kind, unwanted.name)
        found = await self._store.get(path)
        if found is None or not _owns(service["metadata"]["uid"], found):
            return
        if unwanted.after_rollout_of:
            deployment = _path_of(key, "Deployment", unwanted.after_rollout_of)
            if not is_rolled_out(await self._as_it_is(deployment, applied)):
                return  # its events bring us back
        await self._store.delete(path, found["metadata"]["uid"])

    async def _observe(
        self,
        key: Key,
        service: Object,
        applied: Mapping[str, Object],
        troubles: Mapping[str, str],
    ) -> Observed:
        deployments, services = {}, []
        for component in components_in(service.get("spec") or {}):
            name = component_name(key.name, component)
            found = await self._as_it_is(_path_of(key, "Deployment", name), applied)
            if found is not None:
                deployments[name] = found
            if await self._as_it_is(_path_of(key, "Service", name), applied) is not None:
                services.append(name)
        return Observed(deployments=deployments, services=services, troubles=troubles)

    async def _as_it_is(self, path: str, applied: Mapping[str, Object]) -> Object | None:
        """An object; it is asked for only where applying it has not just brought it."""
        return applied.get(path) or await self._store.get(path)

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
        Notice("Warning", "SettingIgnored", f"{fault}; what was in force before stays")
        for fault in workload.batching_faults
    ]
    found += [Notice("Warning", "NotHonoured", warning) for warning in workload.warnings]
    found += [Notice("Warning", "ApplyFailed", trouble) for trouble in troubles.values()]
    for component, failure in failures.items():
        message = f"pods of spec.{component} are not ready: {failure.message}"
        if failure.reason == "ModelLoadFailed":
            found.append(Notice("Warning", "ModelLoadFailed", message))
        else:
            found.append(Notice("Warning", "ContainerFailed", message))
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


def _owns(uid: str, found: Object) -> bool:
    owners = found["metadata"].get("ownerReferences") or ()
    return any(owner.get("uid") == uid for owner in owners)


def _path_of_service(key: Key, part: str = "") -> str:
    of = KINDS["InferenceService"]
    return path_of(of.api_version, of.plural, key.namespace, key.name, part)


def _path_of(key: Key, kind: str, name: str) -> str:
    of = next(KINDS[each] for each in OWNED if each == kind)
    return path_of(of.api_version, of.plural, key.namespace, name)


def key_of_owned(raw: Mapping[str, Any]) -> Key:
    """The InferenceService that an object of its workload names in its label."""
    meta = raw.get("metadata") or {}
    return Key(meta.get("namespace") or "", (meta.get("labels") or {}).get(SERVICE_LABEL) or "")
