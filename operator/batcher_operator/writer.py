"""Writes what an InferenceService comes to: applies its objects, deletes what is not wanted.

Only what is ours, or nobody's yet, is written: an object that somebody else made under such a name
would be taken over by a forced apply, and go with the InferenceService.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from batcher_contract.names import COMPONENT_LABEL
from batcher_operator.kube import Conflict, Refused
from batcher_operator.ownership import is_ours, owns
from batcher_operator.resources import KINDS, OWNED, Kind, path_of
from batcher_operator.standalone.scaling import replicas_to_hand_over
from batcher_operator.standalone.status import is_rolled_out
from batcher_operator.standalone.workload import MANAGED_BY, Unwanted, Workload
from batcher_operator.store import Object, Store
from batcher_operator.views import Key

__all__ = ["Outcome", "Writer", "path_of_owned"]

_HANDING_OVER: Final = f"{MANAGED_BY}-replicas"
_PATIENCE: Final = 5
"""How many times an object is tried, one after the other, before it is told that it fails."""

_MISSHAPEN: Final = ("failed to create typed", "failed to convert new object")
"""The API server's words, with status 500, where an object does not fit its kind's schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the objects of a workload."""

    applied: Mapping[str, Object]
    """Objects by path, as they are now."""

    troubles: Mapping[str, str]
    """By component: why not all of it was applied."""

    may_pass: bool
    """Whether a trouble is of a kind that goes by itself, so that it is to be tried again."""


class Writer:
    """Writes objects, and remembers which are ours and which versions looks took into account."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ours: dict[Key, dict[str, str]] = {}
        """The uid of each object by path."""

        self._absent: dict[Key, set[str]] = {}
        """Paths at which there was nothing to delete."""

        self._versions: dict[Key, set[str]] = {}

    def forget(self, key: Key) -> None:
        """Remember nothing of an InferenceService that is gone."""
        for memory in (self._ours, self._absent, self._versions):
            memory.pop(key, None)

    def doubt(self) -> None:
        """Look again whether there is something to delete where there was not."""
        self._absent.clear()

    def wrote(self, key: Key, version: str) -> bool:
        """Whether the last look at this InferenceService took an object of this version."""
        return version in self._versions.get(key, ())

    def begin(self, key: Key) -> None:
        """A new look begins."""
        self._versions[key] = set()

    def took(self, key: Key, found: Object) -> None:
        """Remember that a look takes an object into account as it is here."""
        version = found["metadata"].get("resourceVersion")
        if version:
            self._versions.setdefault(key, set()).add(version)

    async def apply(
        self, key: Key, uid: str, workload: Workload, scaled: Collection[str], tries: int
    ) -> Outcome:
        """Apply the objects of a workload; nothing of a component one of whose is not ours.

        `uid` is the InferenceService's, `scaled` names the Deployments whose `replicas` are
        somebody else's, `tries` is how many times in a row this failed before. Raises OSError for
        what may pass, until it has been tried often.
        """
        paths = [
            path_of_owned(key, wanted["kind"], wanted["metadata"]["name"])
            for wanted in workload.objects
        ]
        taken: dict[str, list[str]] = {}
        for path, wanted in zip(paths, workload.objects, strict=True):
            if not await self._is_free(key, uid, path):
                taken.setdefault(_component(wanted), []).append(
                    f"the {_called(wanted)} exists and is not ours: rename or delete it"
                )
        troubles = {component: "; ".join(words) for component, words in taken.items()}
        applied: dict[str, Object] = {}
        may_pass = bool(taken)  # nobody tells when they are gone: they are not watched
        for path, wanted in zip(paths, workload.objects, strict=True):
            if _component(wanted) in troubles:
                continue
            try:
                if wanted["kind"] == "Deployment" and wanted["metadata"]["name"] in scaled:
                    await self._hand_over_replicas(path)
                applied[path] = await self._apply(key, path, wanted)
            except OSError as error:
                if _may_pass(error):
                    if isinstance(error, Conflict) or tries < _PATIENCE:
                        raise
                    may_pass = True
                trouble = f"the {_called(wanted)} cannot be applied: {error}"
                troubles[_component(wanted)] = trouble
        return Outcome(applied=applied, troubles=troubles, may_pass=may_pass)

    async def _is_free(self, key: Key, uid: str, path: str) -> bool:
        """Whether a path leads to nothing, or to what is ours."""
        ours = self._ours.setdefault(key, {})
        if path not in ours:
            found = await self._store.get(path)
            if found is not None:
                if not is_ours(uid, found):
                    return False
                ours[path] = found["metadata"]["uid"]
        return True

    async def _apply(self, key: Key, path: str, wanted: Object) -> Object:
        """Apply an object, if it is still the one that was found to be ours; else Conflict."""
        ours = self._ours[key]
        if path in ours:
            wanted = {**wanted, "metadata": {**wanted["metadata"], "uid": ours[path]}}
        try:
            applied = await self._store.apply(path, wanted, MANAGED_BY)
        except Refused as error:
            # Another object in its place is refused as a uid that must not change.
            uid = ours.pop(path, None)
            if uid is not None and not isinstance(error, Conflict):
                found = await self._store.get(path)
                if found is None or found["metadata"]["uid"] != uid:
                    raise Conflict(409, f"{path} is not what it was") from error
            raise
        ours[path] = applied["metadata"]["uid"]
        self._absent.get(key, set()).discard(path)
        self.took(key, applied)
        return applied

    async def _hand_over_replicas(self, path: str) -> None:
        """Let go of a number that we set, without its falling back to 1 in between."""
        found = await self._store.get(path)
        kept = replicas_to_hand_over(found, MANAGED_BY) if found else None
        if kept is not None:
            await self._store.apply(path, kept, _HANDING_OVER)

    async def delete(
        self, key: Key, uid: str, unwanted: Unwanted, applied: Mapping[str, Object]
    ) -> None:
        """Delete an object if the InferenceService of this uid owns it and nobody needs it."""
        path = path_of_owned(key, unwanted.kind, unwanted.name)
        absent = self._absent.setdefault(key, set())
        if path in absent:
            return
        found = await self._store.get(path)
        if found is None or not owns(uid, found):
            absent.add(path)
            return
        if unwanted.after_rollout_of:
            deployment = path_of_owned(key, "Deployment", unwanted.after_rollout_of)
            if not is_rolled_out(applied.get(deployment) or await self._store.get(deployment)):
                return  # its events bring us back
        await self._store.delete(path, found["metadata"]["uid"])
        self._ours.get(key, {}).pop(path, None)


def path_of_owned(key: Key, kind: str, name: str) -> str:
    """The path of an object that is made of an InferenceService."""
    resource = KINDS[_owned(kind)]
    return path_of(resource.api_version, resource.plural, key.namespace, name)


def _component(wanted: Object) -> str:
    component: str = wanted["metadata"]["labels"][COMPONENT_LABEL]
    return component


def _called(wanted: Object) -> str:
    return f"{wanted['kind']} {wanted['metadata']['name']}"


def _owned(kind: str) -> Kind:
    return next(each for each in OWNED if each == kind)


def _may_pass(error: OSError) -> bool:
    """Whether the same again may be taken: the API server is busy or not well, not the object."""
    if not isinstance(error, Refused):
        return True
    if error.status >= 500:
        return not any(words in str(error) for words in _MISSHAPEN)
    return error.status in (409, 429)
