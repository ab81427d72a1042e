"""Reads what an InferenceService refers to: runtimes, credentials, autoscalers, settings."""

import time
from collections.abc import Callable
from typing import Final

from batcher_contract.names import SETTINGS_FILE
from batcher_contract.standalone import COMPONENTS, is_object_name
from batcher_operator.ownership import is_ours
from batcher_operator.resources import KINDS, path_of
from batcher_operator.standalone.credentials import Account, Secret, read_account, read_secret
from batcher_operator.standalone.runtimes import Runtime, read_runtime
from batcher_operator.standalone.workload import Found, account_of, settings_name
from batcher_operator.store import Object, Store
from batcher_operator.views import Key

__all__ = ["References"]

_FRESH_S: Final = 1.0
"""How long runtimes are not read again. Those that come meanwhile have an event of their own."""


class References:
    """Reads from the API server, and runtimes at most once a second."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._runtimes: dict[str, tuple[float, tuple[Runtime, ...]]] = {}
        self._changes = 0

    def doubt(self) -> None:
        """Read runtimes again: one has changed."""
        self._runtimes.clear()
        self._changes += 1

    async def find(self, key: Key, service: Object) -> Found:
        """What the InferenceService refers to; raises OSError."""
        uid = service["metadata"]["uid"]
        spec = service.get("spec") or {}
        components = {name: spec.get(name) or {} for name in COMPONENTS if spec.get(name)}
        accounts: dict[str, Account] = {}
        secrets: dict[str, Secret] = {}
        settings = {}
        for name, component in components.items():
            account_name = account_of(component)
            raw = await self._named("serviceaccounts", key, account_name)
            if raw is not None:
                accounts[account_name] = account = read_account(raw)
                for each in account.secrets:
                    if (secret := await self._named("secrets", key, each)) is not None:
                        secrets[each] = read_secret(secret)
            config_map = await self._named("configmaps", key, settings_name(key.name, name))
            text = ((config_map or {}).get("data") or {}).get(SETTINGS_FILE)
            if config_map is not None and text is not None and is_ours(uid, config_map):
                settings[name] = text
        return Found(
            runtimes=(*await self._those_in(key.namespace), *await self._those_in("")),
            accounts=accounts,
            secrets=secrets,
            settings=settings,
            autoscaled=await self._autoscaled(key, uid),
        )

    async def _named(self, plural: str, key: Key, name: str) -> Object | None:
        """An object that something in the namespace names, whatever it holds for a name."""
        if not is_object_name(name):
            return None
        return await self._store.get(path_of("v1", plural, key.namespace, name))

    async def _those_in(self, namespace: str) -> tuple[Runtime, ...]:
        """The runtimes of a namespace, or without one those of the cluster."""
        now_s, changes = self._clock(), self._changes
        read_s, known = self._runtimes.get(namespace, (float("-inf"), ()))
        if now_s - read_s < _FRESH_S:
            return known
        of = KINDS["ServingRuntime" if namespace else "ClusterServingRuntime"]
        found = await self._store.list_items(path_of(of.api_version, of.plural, namespace))
        runtimes = tuple(map(read_runtime, found))
        if changes == self._changes:
            self._runtimes[namespace] = now_s, runtimes
        return runtimes

    async def _autoscaled(self, key: Key, uid: str) -> frozenset[str]:
        """Deployments that autoscalers of the user's own scale."""
        of = KINDS["HorizontalPodAutoscaler"]
        found = await self._store.list_items(path_of(of.api_version, of.plural, key.namespace))
        return frozenset(
            scaler["spec"]["scaleTargetRef"]["name"]
            for scaler in found
            if scaler["spec"]["scaleTargetRef"]["kind"] == "Deployment" and not is_ours(uid, scaler)
        )
