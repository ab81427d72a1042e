"""Whatever happens in whatever order: every rule holds after every event (``simulation.py``)."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from batcher_contract import BatcherSettings
from tests.unit.sidecar.core.late import LateSimulation

# Times are multiples of a quarter second, so that sums are exact and many things coincide.
QUARTERS = st.integers(1, 8).map(lambda quarters: quarters / 4)


@st.composite
def some_limits(draw: st.DrawFn) -> dict[str, Any]:
    """Small numbers, so that every limit is met often."""
    max_batch_size = draw(st.integers(1, 8))
    max_latency_s = draw(QUARTERS)
    return {
        "max_batch_size": max_batch_size,
        "max_latency_ms": int(max_latency_s * 1000),
        "timeout_s": max_latency_s + draw(QUARTERS),
        "max_concurrency": draw(st.integers(1, 3)),
        "hard_max_batch_size": draw(st.just(0) | st.integers(max_batch_size, 10)),
        "max_queue_size": draw(st.integers(1, 12)),
    }


class AnyOrder(RuleBasedStateMachine):
    """Requests, answers, failures, departures, terms and settings in any order."""

    simulation: LateSimulation

    @initialize(limits=some_limits(), isolate=st.booleans())
    def begin(self, limits: dict[str, Any], isolate: bool) -> None:
        self.simulation = LateSimulation(BatcherSettings(**limits, isolate_failures=isolate))

    @rule(
        path=st.sampled_from("ab"),
        keys=st.lists(st.sampled_from("xyz"), min_size=1, max_size=6),
        instances=st.integers(1, 5) | st.integers(1, 25),
        alone=st.sampled_from([False] * 7 + [True]),
        bad=st.sampled_from([False] * 4 + [True]),
    )
    def arrive(self, path: str, keys: list[str], instances: int, alone: bool, bad: bool) -> None:
        for key in keys:
            self.simulation.arrive(path, key, instances, alone=alone, bad=bad and key == keys[0])

    @precondition(lambda self: self.simulation.slots)
    @rule(
        data=st.data(),
        count=st.integers(1, 4),
        down=st.sampled_from([False] * 5 + [True]),
        by_rows=st.sampled_from([True] * 5 + [False]),
    )
    def serve(self, data: st.DataObject, count: int, down: bool, by_rows: bool) -> None:
        for _ in range(count):
            if self.simulation.slots:
                slot = data.draw(st.sampled_from(self.simulation.slots))
                self.simulation.serve(slot, down=down, by_rows=by_rows)

    @rule(
        key=st.sampled_from("yz"),
        single=st.booleans(),
        whole=st.booleans(),
        max_rows=st.just(0) | st.integers(1, 6),
    )
    def learn(self, key: str, single: bool, whole: bool, max_rows: int) -> None:
        self.simulation.learn(key, single=single, whole=whole, max_rows=max_rows)

    @precondition(lambda self: self.simulation.live)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.simulation.leave(data.draw(st.sampled_from(self.simulation.live)))

    @rule(duration_s=QUARTERS)
    def advance(self, duration_s: float) -> None:
        self.simulation.advance(duration_s)

    @rule(duration_s=QUARTERS)
    def oversleep(self, duration_s: float) -> None:
        self.simulation.oversleep(duration_s)

    @rule(active=st.booleans())
    def drain(self, active: bool) -> None:
        self.simulation.drain(active=active)

    @rule(limits=some_limits())
    def change(self, limits: dict[str, Any]) -> None:
        self.simulation.change(**limits)

    def teardown(self) -> None:
        if hasattr(self, "simulation") and not self.simulation.broken:
            self.simulation.finish()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40)
