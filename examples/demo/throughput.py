"""The fourth scene: many callers at once, with and without the sidecar."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from examples.demo.load_client import Result
from examples.demo.scenes import PATH

if TYPE_CHECKING:
    from examples.demo.scenes import Site
    from examples.demo.stage import Stage

__all__ = ["WARM_UP_S", "compare"]

WARM_UP_S = 0.5
FINISH_TIMEOUT_S = 30.0
LOAD_CLIENT = Path(__file__).with_name("load_client.py")


@dataclass
class Way:
    """One way to the model, and what was measured on it in all rounds."""

    name: str
    port: int
    results: list[Result] = field(default_factory=list)
    calls: int = 0

    @property
    def rates(self) -> list[float]:
        """Right answers per second, by round."""
        return [len(result.latencies_us) / result.seconds for result in self.results]

    @property
    def answered(self) -> int:
        """All answers, warm-up included, as `calls` is."""
        return sum(result.answered for result in self.results)

    def percentile_ms(self, percent: int) -> float:
        """Latency that `percent` of all measured requests did not exceed."""
        latencies = sorted(us for result in self.results for us in result.latencies_us)
        if not latencies:
            return float("nan")
        return latencies[min(len(latencies) - 1, len(latencies) * percent // 100)] / 1000


def compare(
    site: Site, stage: Stage, cases: Path, *, port: int, callers: int, rounds: int, seconds: float
) -> None:
    """Load the model server and the sidecar by turns with the same client; print what came out.

    `port` is that of the sidecar to compare. Raises `DemoError` if the load client fails.
    """
    report = site.report
    straight = Way("straight", site.model_port)
    batched = Way("through the sidecar", port)
    ways = (straight, batched)
    round_s = WARM_UP_S + seconds
    times = f"{rounds} rounds" if rounds > 1 else "1 round"
    report.say(
        f"{callers} callers, each sending one row and waiting for its answer. {times} of "
        f"{seconds:g} s each way, by turns; the same load client in a process of its own."
    )
    with report.progress() as progress:
        task = progress.add_task("", total=len(ways) * rounds * round_s)
        for number in range(rounds):
            for way in ways:
                progress.update(task, description=f"round {number + 1}: {way.name}")
                before = site.counters()
                began = time.monotonic()
                done = (number * len(ways) + ways.index(way)) * round_s
                client = stage.start(
                    "The load client",
                    [
                        str(LOAD_CLIENT),
                        *("--port", str(way.port), "--path", PATH, "--cases", str(cases)),
                        *("--callers", str(callers), "--seconds", str(seconds)),
                        *("--warm-up", str(WARM_UP_S)),
                    ],
                )
                output = client.finish(
                    round_s + FINISH_TIMEOUT_S,
                    lambda done=done, began=began: progress.update(  # type: ignore[misc]
                        task, completed=done + min(round_s, time.monotonic() - began)
                    ),
                )
                way.results.append(Result(**json.loads(output.splitlines()[-1])))
                way.calls += site.counters().since(before).calls
    _print(site, straight, batched)


def _print(site: Site, straight: Way, batched: Way) -> None:
    report = site.report
    ways = (straight, batched)
    report.table(
        ("<", "req/s", "p50 ms", "p99 ms", "requests", "model calls", "client CPU"),
        [
            (
                way.name,
                f"{statistics.fmean(way.rates):,.0f}",
                f"{way.percentile_ms(50):.1f}",
                f"{way.percentile_ms(99):.1f}",
                f"{way.answered:,}",
                f"{way.calls:,}",
                f"{statistics.fmean([result.cpu_share for result in way.results]):.0%}",
            )
            for way in ways
        ],
    )
    report.say(
        "requests and model calls: the rounds whole, warm-up included. client CPU: share of one "
        "core that the load client used. req/s by round: "
        + "; ".join(f"{way.name} {', '.join(f'{rate:,.0f}' for rate in way.rates)}" for way in ways)
        + ".",
        style="dim",
    )
    wrong = sum(result.wrong for way in ways for result in way.results)
    first = next((r.first_wrong for way in ways for r in way.results if r.first_wrong), "")
    report.claim(
        wrong == 0 and all(way.answered for way in ways),
        f"All {sum(way.answered for way in ways):,} answers were 200 with the right prediction.",
        f"{wrong:,} answers were not 200 with the right prediction; the first: {first}",
    )
    report.claim(
        0 < batched.calls < batched.answered,
        f"The sidecar made one model call out of {batched.answered / max(batched.calls, 1):.1f} "
        "requests on average.",
        f"{batched.answered:,} requests should reach the model in fewer calls, but "
        f"took {batched.calls:,}.",
    )
    rate = statistics.fmean(batched.rates) / max(statistics.fmean(straight.rates), 1e-9)
    report.fact(
        f"With the sidecar: {rate:.2f} times the requests per second, "
        + " and ".join(
            f"p{percent} {batched.percentile_ms(percent):.1f} ms instead of "
            f"{straight.percentile_ms(percent):.1f}"
            for percent in (50, 99)
        )
        + "."
    )
