"""What is wrong with a value that somebody wrote, in words that help to mend it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Fault", "SettingsError"]

_LONGEST_QUOTE = 80


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, with what value, why, and what to do about it."""

    field: str
    """The field as its user writes it: `--max-latency`, `inference-batcher.io/timeout`."""

    value: str | None
    """What was written, or None where no value is at fault."""

    problem: str
    """Goes on from field and value: `is less than 1`."""

    remedy: str
    """What to write instead, as a demand: `give a whole number from 1 to 1000`."""

    def __str__(self) -> str:
        """One sentence without its full stop, in one line and of bounded length."""
        return f"{_printable(self.field)} {self.without_field}"

    @property
    def without_field(self) -> str:
        """The rest of the sentence, for where the field is named already."""
        value = "" if self.value is None else f'"{_printable(self.value)}" '
        return f"{value}{self.problem}: {self.remedy}"


class SettingsError(ValueError):
    """Some values are wrong; its text names all of them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


def _printable(text: str) -> str:
    shown = text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
    # Control characters would let a value forge lines in a log or drive a terminal.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in shown)
