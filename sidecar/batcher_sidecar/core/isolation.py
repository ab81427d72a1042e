"""How far a failed batch is taken apart (rule 9), and which keys are better left unbatched."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

V = TypeVar("V")

BURST_CALLS = 64
REFILL_PER_CALL = 0.2
STRIKES = 2
UNBATCHED_S = 60.0
_REMEMBERED_KEYS = 1024


class CallBudget:
    """A token bucket for extra calls: a burst of 64, refilled by a fifth of all calls."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: float = BURST_CALLS

    def note_call(self) -> None:
        """Count any call to the model server."""
        self._tokens = min(BURST_CALLS, self._tokens + REFILL_PER_CALL)

    def take(self) -> bool:
        """Pay for one extra call; False when the budget is spent."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class KeyMemory:
    """Remembers, of a bounded number of keys, isolations without a single culprit.

    Two in a row mean that the model cannot serve this key in batches (or that most of its callers
    are wrong): it travels unbatched for a minute, then is tried again.
    """

    __slots__ = ("_strikes", "_unbatched_until_s")

    def __init__(self) -> None:
        self._strikes: OrderedDict[Hashable, int] = OrderedDict()
        self._unbatched_until_s: OrderedDict[Hashable, float] = OrderedDict()

    def unbatched_until_s(self, key: Hashable) -> float:
        """Return until when this key travels unbatched; 0 if it does not."""
        if not self._unbatched_until_s:
            return 0.0
        return self._unbatched_until_s.get(key, 0.0)

    def forget_expired(self, now_s: float) -> None:
        """Forget the keys that may be batched again; they stand in the order of their times."""
        memory = self._unbatched_until_s
        while memory:
            key = next(iter(memory))
            if memory[key] > now_s:
                break
            del memory[key]

    def batch_served(self, key: Hashable) -> None:
        """A batch of several was answered whole."""
        if self._strikes:
            self._strikes.pop(key, None)

    def batch_isolated(self, key: Hashable, culprits: int, now_s: float) -> None:
        """A batch was taken apart and ``culprits`` of its members failed standing alone."""
        strikes = 0 if culprits == 1 else self._strikes.get(key, 0) + 1
        self._strikes.pop(key, None)
        if strikes >= STRIKES:
            _remember(self._unbatched_until_s, key, now_s + UNBATCHED_S)
        elif strikes:
            _remember(self._strikes, key, strikes)


def _remember(memory: OrderedDict[Hashable, V], key: Hashable, value: V) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED_KEYS:
        memory.popitem(last=False)
