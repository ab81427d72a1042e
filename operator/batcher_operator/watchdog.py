"""Proof that watch events still arrive.

A watch can die in a process that lives on (kopf issues 1145 and 1276), and a cluster where nothing
happens looks the same. So from time to time the objects' resourceVersions are listed and compared
with what events brought. An object that stays behind from one look to the next, without any event
of it in between, was missed: the process is then no longer alive, and the kubelet restarts it.
Objects that are gone without an event (a watch that began anew does not tell) are forgotten.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final, NoReturn, Protocol

from batcher_operator.memory import Memory
from batcher_operator.resources import IN_EVERY_MODE, Kind
from batcher_operator.views import Key

__all__ = ["FIRST_LOOKS_S", "Lister", "Watchdog"]

FIRST_LOOKS_S: Final = 0.25
"""Between looks until the events have caught up for the first time."""

_log = logging.getLogger(__name__)


class Lister(Protocol):
    """Where the objects' versions come from."""

    async def versions(self, kind: Kind) -> Mapping[str, str] | None:
        """The resourceVersion of each object by uid; None where there is no such kind.

        Raises OSError where the API server gives no answer.
        """


class Watchdog:
    """Compares what is with what events brought."""

    def __init__(
        self,
        memory: Memory,
        lister: Lister,
        look_again: Callable[[set[Key]], None],
        more: Collection[Kind] = (),
    ) -> None:
        """`more` kinds are watched than those of every mode.

        Nobody waits for them at the start: what is done about them begins with the objects as they
        are. Their statuses may change all the time, so that one of them is always a little behind.
        """
        self._memory = memory
        self._lister = lister
        self._look_again = look_again
        self._kinds = (*IN_EVERY_MODE, *more)
        self._behind: dict[Kind, dict[str, str | None]] = {kind: {} for kind in self._kinds}
        self._gone: dict[Kind, set[str]] = {kind: set() for kind in self._kinds}
        self._missing: set[Kind] = set()
        self.synced = asyncio.Event()
        """Set once events have brought everything that was there."""

        self.kind_missing: Kind | None = None
        """A kind that the API server does not know. Until it does, nothing is watched."""

        self.trouble: str = ""
        """Why the last look failed, in a sentence; empty if it did not."""

        self.behind_count = 0
        """How many objects had another version at the last look than events had brought."""

        self.stalled: str = ""
        """What is missed, in a sentence; empty while all is well."""

    async def keep(self, every_s: float) -> NoReturn:
        """Look again and again: often until events have caught up, then every so often."""
        loop = asyncio.get_running_loop()
        next_comparison_s = loop.time()
        while True:
            compare = loop.time() >= next_comparison_s
            if compare:
                next_comparison_s = loop.time() + every_s
            try:
                await self.look(compare)
                self.trouble = ""
            except OSError as error:
                if str(error) != self.trouble:
                    _log.warning("cannot compare what is with what events brought: %s", error)
                self.trouble = str(error)
            await asyncio.sleep(every_s if self.synced.is_set() else min(every_s, FIRST_LOOKS_S))

    async def look(self, compare: bool = True) -> None:
        """Look once, and compare with the last look that was compared.

        Raises OSError where the API server gives no answer.
        """
        stalled = []
        behind_count = 0
        for kind in self._kinds:
            if not compare and kind not in IN_EVERY_MODE and kind not in self._missing:
                continue
            there = await self._lister.versions(kind)
            self._missing.discard(kind)
            if there is None:
                self._missing.add(kind)
                there = {}
            seen = self._memory.versions(kind)
            behind = {uid: seen.get(uid) for uid in there if seen.get(uid) != there[uid]}
            if kind in IN_EVERY_MODE:
                behind_count += len(behind)
            if compare:
                if count := self._unmoved(kind, behind):
                    stalled.append(f"events of {count} {kind}(s) do not arrive")
                    behind_count += count if kind not in IN_EVERY_MODE else 0
                self._forget(kind, seen.keys() - there.keys())
        self.behind_count = behind_count
        self.kind_missing = next((kind for kind in self._kinds if kind in self._missing), None)
        if not behind_count and self.kind_missing is None:
            self.synced.set()
        if self.kind_missing is not None and not self.synced.is_set():
            # Nothing is watched yet, so nothing is missed.
            self._behind = {kind: {} for kind in self._kinds}
        if compare:
            before, self.stalled = self.stalled, "; ".join(stalled)
            if self.stalled and self.stalled != before:
                _log.error("%s: the watch has died", self.stalled)

    def _unmoved(self, kind: Kind, behind: dict[str, str | None]) -> int:
        """How many objects are just as far behind as they were at the last comparison."""
        before, self._behind[kind] = self._behind[kind], behind
        return sum(uid in before and before[uid] == seen for uid, seen in behind.items())

    def _forget(self, kind: Kind, gone: set[str]) -> None:
        before, self._gone[kind] = self._gone[kind], gone
        if lost := gone & before:
            self._look_again(self._memory.forget(kind, lost))
