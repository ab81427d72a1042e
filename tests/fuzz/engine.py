"""Makes cases, runs them until one finds a fault, and makes that case smaller."""

from __future__ import annotations

import random
import signal
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

__all__ = ["Fault", "Finding", "Fuzzer", "Target", "attempt", "smaller_bytes", "smaller_list"]

CASE_CPU_S: Final = 10.0
"""A case that takes more processor time than this hangs."""

Case = TypeVar("Case")
Item = TypeVar("Item")


class Fault(Exception):
    """The program under test has done something it must never do.

    ``kind`` tells one fault from another; it holds nothing that depends on the case.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


class Target(Protocol[Case]):
    """What is fuzzed. A case is everything that one run depends on."""

    name: str
    share: int
    """Of the time, in relation to the other targets."""

    def generate(self, rng: random.Random) -> Case:
        """Make a case."""
        ...

    def run(self, case: Case) -> None:
        """Run a case from scratch.

        Raises:
            Fault: something is wrong. Any other exception is a fault of the program, too.
        """
        ...

    def smaller(self, case: Case) -> Iterator[Case]:
        """Name simpler cases, the boldest cuts first; ``case`` itself stays as it is."""
        ...

    def encode(self, case: Case) -> Any:
        """Write a case as JSON can hold it."""
        ...

    def decode(self, content: Any) -> Case:
        """Read what ``encode`` wrote."""
        ...


@dataclass(slots=True)
class Finding:
    """A fault, and the smallest case known to show it."""

    target: str
    number: int
    """Which case of its target it was before it was made smaller."""
    case: Any
    """As JSON can hold it."""
    fault: Fault


class Fuzzer:
    """Runs targets in turn. Cases depend on the seed, the target's name and their number only."""

    def __init__(self, targets: Sequence[Target[Any]], seed: int, *, shrink_s: float = 20) -> None:
        self.runs = {target.name: 0 for target in targets}
        """Cases run so far, by the name of their target."""
        self._targets = targets
        self._seed = seed
        self._shrink_s = shrink_s
        self._spent_s = {target.name: 0.0 for target in targets}

    def case(self, target: Target[Case], number: int) -> Case:
        """Make that case of a target."""
        return target.generate(random.Random(f"{self._seed}/{target.name}/{number}"))

    def run(
        self,
        seconds: float,
        *,
        known: Sequence[str] = (),
        tell: Callable[[], None] = lambda: None,
    ) -> tuple[Finding | None, float]:
        """Run for that long, or until a fault is found whose kind is not known.

        Returns the finding and how many seconds are left. ``tell`` is called about once a second.
        """
        started_s = told_s = now_s = time.perf_counter()
        while now_s - started_s < seconds:
            target = min(
                self._targets, key=lambda target: self._spent_s[target.name] / target.share
            )
            number = self.runs[target.name]
            case = self.case(target, number)
            fault = attempt(target, case)
            self.runs[target.name] += 1
            before_s, now_s = now_s, time.perf_counter()
            self._spent_s[target.name] += now_s - before_s
            if fault is not None and fault.kind not in known:
                case, fault = _shrink(target, case, fault, self._shrink_s)
                finding = Finding(target.name, number, target.encode(case), fault)
                return finding, seconds - (now_s - started_s)
            if now_s - told_s >= 1:
                told_s = now_s
                tell()
        return None, 0.0


def attempt(target: Target[Case], case: Case) -> Fault | None:
    """Run one case; return what it found."""
    try:
        with _bounded():
            target.run(case)
    except Fault as fault:
        return fault
    except Exception as error:  # whatever it is, nobody foresaw it
        return _unforeseen(error)
    return None


def _shrink(
    target: Target[Case], case: Case, fault: Fault, seconds: float
) -> tuple[Case, Fault]:
    """Look for a smaller case with the same kind of fault, for a bounded time."""
    end_s = time.perf_counter() + seconds
    improved = True
    while improved:
        improved = False
        for candidate in target.smaller(case):
            if time.perf_counter() > end_s:
                return case, fault
            found = attempt(target, candidate)
            if found is not None and found.kind == fault.kind:
                case, fault, improved = candidate, found, True
                break
    return case, fault


@contextmanager
def _bounded() -> Iterator[None]:
    """End what takes too much processor time by an exception."""

    def hangs(_signal: int, frame: FrameType | None) -> None:
        where = f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_name}" if frame else "?"
        raise Fault("hangs", f"a case took more than {CASE_CPU_S:g} s, now in {where}")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, CASE_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _unforeseen(error: BaseException) -> Fault:
    """Make a fault of an exception; its kind says where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "batcher_" in frame.filename] or frames
    where = f" in {Path(own[-1].filename).name} {own[-1].name}" if own else ""
    return Fault(f"{type(error).__name__}{where}", "".join(traceback.format_exception(error)))


def smaller_list(items: list[Item]) -> Iterator[list[Item]]:
    """Name lists with parts left out, the largest first."""
    size = len(items)
    while size:
        for start in range(0, len(items), size):
            yield items[:start] + items[start + size :]
        size //= 2


def smaller_bytes(data: str) -> Iterator[str]:
    """Name texts (bytes as Latin-1) with parts left out or replaced by something plainer."""
    size = len(data)
    while size:
        for start in range(0, len(data), size):
            yield data[:start] + data[start + size :]
        size //= 2
    if len(data) <= 200:
        for position, char in enumerate(data):
            if char not in "a0":
                for plain in "a0":
                    yield data[:position] + plain + data[position + 1 :]
