"""A bounded memory in which what is made up cannot drive out what is in use."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

KEPT_S: Final = 60.0
"""How long an entry must have been unused before another one may take its lasting place."""
_TOUCH_EVERY_S: Final = 1.0


class Used(Protocol):
    """An entry; the memory notes when it was asked for last."""

    used_s: float


V = TypeVar("V", bound=Used)


class Remembered(Generic[V]):
    """Newcomers have few places and displace one another, least recently used first.

    Those that proved their worth get one of the lasting places, if any is free or its holder has
    not been used for a while; else they stay newcomers.
    """

    def __init__(self, newcomers: int, lasting: int, forget: Callable[[V], None]) -> None:
        self._max_newcomers = newcomers
        self._max_lasting = lasting
        self._forget = forget
        self._newcomers: OrderedDict[Hashable, V] = OrderedDict()
        self._lasting: OrderedDict[Hashable, V] = OrderedDict()

    def __iter__(self) -> Iterator[V]:
        return chain(self._newcomers.values(), self._lasting.values())

    def get(self, key: Hashable, now_s: float) -> V | None:
        """Return an entry that is asked for."""
        shelf = self._lasting
        entry = shelf.get(key)
        if entry is None:
            shelf = self._newcomers
            entry = shelf.get(key)
            if entry is None:
                return None
        if now_s - entry.used_s >= _TOUCH_EVERY_S:
            entry.used_s = now_s
            shelf.move_to_end(key)
        return entry

    def add(self, key: Hashable, entry: V, now_s: float) -> None:
        """Remember a newcomer, in the place of what had that key."""
        for shelf in (self._newcomers, self._lasting):
            if key in shelf:
                self._forget(shelf.pop(key))
        entry.used_s = now_s
        self._newcomers[key] = entry
        if len(self._newcomers) > self._max_newcomers:
            _, forgotten = self._newcomers.popitem(last=False)
            self._forget(forgotten)

    def keep(self, key: Hashable, now_s: float) -> None:
        """Give a newcomer a lasting place."""
        if key not in self._newcomers:
            return
        if len(self._lasting) >= self._max_lasting:
            if now_s - next(iter(self._lasting.values())).used_s < KEPT_S:
                return
            _, forgotten = self._lasting.popitem(last=False)
            self._forget(forgotten)
        self._lasting[key] = self._newcomers.pop(key)
