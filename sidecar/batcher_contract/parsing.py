"""Reading values over the table of fields, for flags and annotations alike.

Every fault is collected, not only the first. A value at fault is not applied: the base's value
stands, so that a caller who may not refuse still has settings that work.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from batcher_contract.faults import Fault
from batcher_contract.fields import FIELDS, ORDERS, Field, Group, Order
from batcher_contract.kinds import BadValueError, plain
from batcher_contract.settings import BatcherSettings, PodOptions, ProcessOptions

__all__ = ["Reading", "nearest"]

_Values = TypeVar("_Values", BatcherSettings, PodOptions, ProcessOptions)

_MUST = {
    # (the low one speaks, strictly): what it must be, what to give
    (True, True): ("must be less than", "less than", "raise"),
    (True, False): ("must be at most", "at most", "raise"),
    (False, True): ("must exceed", "more than", "lower"),
    (False, False): ("must be at least", "at least", "lower"),
}


def nearest(word: str, known: Iterable[str], prefix: str) -> str | None:
    """The known word most like a misspelt one, if any is; what all begin with does not count."""
    bare = {key.removeprefix(prefix): key for key in known}
    close = difflib.get_close_matches(word.removeprefix(prefix).lstrip("-"), bare, n=1, cutoff=0.5)
    return bare[close[0]] if close else None


@dataclass(slots=True)
class Reading:
    """Texts read into values, and what was wrong with them; made by `read`."""

    spell: Callable[[Field], str]
    """How a field is called where these texts were written."""

    texts: dict[str, str]
    """By field name: what was written."""

    values: dict[str, Any]
    """By field name: what it stands for; nothing that is at fault."""

    faults: list[Fault]

    @classmethod
    def read(cls, texts: Mapping[str, str], spell: Callable[[Field], str]) -> "Reading":
        """Read texts, given by field name, each on its own."""
        reading = cls(spell, dict(texts), {}, [])
        for name, text in texts.items():
            kind = FIELDS[name].kind
            try:
                reading.values[name] = kind.parse(text)
            except BadValueError as error:
                remedy = f"give {kind.expected}"
                reading.faults.append(Fault(spell(FIELDS[name]), text, str(error), remedy))
        return reading

    def apply(self, base: _Values, group: Group) -> _Values:
        """The base with this group's values in it, all orders held if they hold in the base.

        Values that contradict each other become faults and are not applied.
        """
        values = {name: v for name, v in self.values.items() if FIELDS[name].group == group}
        orders = [order for order in ORDERS if FIELDS[order.low].group == group]
        applied = _replaced(base, values, orders)
        broken = [order for order in orders if not order.holds(applied)]
        for order in broken:
            if self._is_news(order):
                self.faults.append(self._contradiction(order, applied))
        while culprits := {n for order in broken for n in (order.low, order.high) if n in values}:
            for name in culprits:
                del values[name], self.values[name]
            applied = _replaced(base, values, orders)
            broken = [order for order in orders if not order.holds(applied)]
        return applied

    def _is_news(self, order: Order) -> bool:
        """Whether neither of the two was at fault on its own, which was told already."""
        unread = self.texts.keys() - self.values.keys()
        return not unread & {order.low, order.high}

    def _contradiction(self, order: Order, values: object) -> Fault:
        low_speaks = order.low in self.values and order.high not in self.values
        subject, other = FIELDS[order.low], FIELDS[order.high]
        if not low_speaks:
            subject, other = other, subject
        must, give, change = _MUST[low_speaks, order.strict]
        own, others = getattr(values, subject.name), getattr(values, other.name)
        text = self.texts.get(subject.name, subject.kind.render(own))
        bound = other.show(others)
        if order.scale != 1:
            number = other.kind.magnitude(others)
            number = number * order.scale if low_speaks else number / order.scale
            bound = f"{plain(number)} {getattr(subject.kind, 'unit', '')}"
        called = self.spell(other)
        problem = f"{must} {called}, which is {other.show(others)}"
        remedy = f"give {give} {bound}, or {change} {called}"
        return Fault(self.spell(subject), text, problem, remedy)


def _replaced(base: _Values, values: Mapping[str, Any], orders: Iterable[Order]) -> _Values:
    result = dataclasses.replace(base, **values)
    for order in orders:
        if order.low_gives_way and order.low not in values and not order.holds(result):
            result = dataclasses.replace(result, **{order.low: getattr(result, order.high)})
    return result
