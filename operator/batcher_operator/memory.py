"""All that the operator knows of the cluster, from watch events; the latest state of each object.

Kept for comparison, too: `behind` tells which objects the API server has in another state than
events brought, which is how a watch that has died is found out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batcher_operator.resources import Kind
from batcher_operator.views import (
    Key,
    Other,
    Pod,
    Service,
    read_other,
    read_pod,
    read_service,
)

__all__ = ["Memory"]


class Memory:
    """InferenceServices by name, pods by uid and by the InferenceService that they belong to.

    In standalone mode also which versions there are of what InferenceServices own or refer to.
    """

    def __init__(self) -> None:
        self._services: dict[Key, Service] = {}
        self._pods: dict[str, Pod] = {}
        self._uids: dict[Key, set[str]] = {}
        self._others: dict[Kind, dict[str, Other]] = {}

    def take_other(self, kind: Kind, raw: Mapping[str, Any], gone: bool) -> tuple[Other, bool]:
        """Take in one event of what InferenceServices own or refer to; whether that matters."""
        known, other = self._others.setdefault(kind, {}), read_other(raw)
        if gone:
            known.pop(other.uid, None)
            return other, True
        before, known[other.uid] = known.get(other.uid), other
        return other, before is None or before.digest != other.digest

    def take(self, kind: Kind, raw: Mapping[str, Any], gone: bool) -> Key:
        """Take in one event; the InferenceService that is to be looked at again."""
        if kind == "InferenceService":
            service = read_service(raw)
            if gone:
                self._services.pop(service.key, None)
            else:
                self._services[service.key] = service
            return service.key
        pod = read_pod(raw)
        self._forget_pod(pod.uid)
        if not gone:
            self._pods[pod.uid] = pod
            self._uids.setdefault(pod.key, set()).add(pod.uid)
        return pod.key

    def service(self, key: Key) -> Service | None:
        """An InferenceService that exists."""
        return self._services.get(key)

    def services(self) -> Iterator[Service]:
        """All InferenceServices."""
        return iter(self._services.values())

    def pods(self) -> Iterator[Pod]:
        """All pods of InferenceServices."""
        return iter(self._pods.values())

    def pods_of(self, key: Key) -> list[Pod]:
        """The pods of an InferenceService, whether it still exists or not."""
        return [self._pods[uid] for uid in sorted(self._uids.get(key, ()))]

    def versions(self, kind: Kind) -> dict[str, str]:
        """The resourceVersion that was last seen of each object, by uid."""
        known: Iterable[Service | Pod | Other]
        if kind == "InferenceService":
            known = self._services.values()
        elif kind == "Pod":
            known = self._pods.values()
        else:
            known = self._others.get(kind, {}).values()
        return {item.uid: item.resource_version for item in known}

    def forget(self, kind: Kind, uids: set[str]) -> set[Key]:
        """Drop objects whose end was missed; the InferenceServices to be looked at again."""
        if kind == "InferenceService":
            keys = {s.key for s in self._services.values() if s.uid in uids}
            for key in keys:
                del self._services[key]
            return keys
        if kind != "Pod":
            others = self._others.get(kind, {})
            return {others.pop(uid).key for uid in uids & others.keys()}
        keys = {self._pods[uid].key for uid in uids if uid in self._pods}
        for uid in uids:
            self._forget_pod(uid)
        return keys

    def _forget_pod(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            uids = self._uids[pod.key]
            uids.discard(uid)
            if not uids:
                del self._uids[pod.key]
