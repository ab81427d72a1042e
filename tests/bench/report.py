"""The Markdown page of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.candidates import DIRECT, PEER, SIDECAR
from tests.bench.measure import WINDOW_MS
from tests.bench.results import BUSY_GENERATOR, BUSY_MACHINE
from tests.bench.stats import spread
from tests.bench.verdicts import Value, cpu_us, label, ranged, ratio, requests_per_s, verdicts
from tests.bench.workloads import MAX_BATCH_SIZE, MAX_LATENCY_MS, WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.bench.results import CandidateInfo, Run

_MIB: Final = 2**20
_DASH: Final = "\N{EN DASH}"

_INTRODUCTION: Final = """\
Taken on %(date)s by `make bench`: rounds %(rounds)d, each measurement %(seconds)d s. Medians, \
with the least and the greatest value of all rounds in brackets. Cores are shared with whatever \
else runs, so compare within this run only.
"""

_HOW: Final = f"""\
## How it was taken

- Batches of {MAX_BATCH_SIZE} instances, a window of {MAX_LATENCY_MS} ms; everything on 127.0.0.1 \
of one machine: load generator, candidate and model server share its cores.
- The load generator is wrk, closed loop: each caller sends its next request when it has its \
answer. Latency percentiles are wrk's, over all requests.
- Candidates take turns within each round, in an order that shifts by one from round to round. \
For every measurement candidate and model server start afresh and are warmed up for 1 s. Ratios \
are taken pair by pair within a round; the median of them is reported.
- CPU per request: user and system time of all the candidate's processes, over the instances \
that the model server answered meanwhile, so requests in flight at the end count on both sides.
- A measurement with any error status, socket error or timeout, or with more answers than the \
model server has given, is invalid.
- The model server is a stub that counts instances without parsing JSON. `instant` answers at \
once; `concurrent` and `serial` need 5 ms + 0.05 ms per instance for a call, all calls in \
parallel or one at a time.
- ¹ No proxy at all. Its CPU and memory are those of the model server stub itself."""


def page(run: Run, plots: Iterable[tuple[str, str]] = ()) -> str:
    """The whole page; `plots` are (file name, what it shows)."""
    parts = [
        "# Benchmark\n",
        _INTRODUCTION % {"date": run.date, "rounds": run.rounds, "seconds": run.seconds},
        *(f"> {note}\n" for note in [*run.notes, *_failures(run), *_busy(run)]),
        _invalid(run),
        "## What it must reach\n",
        _verdict_table(run),
        "## Load\n",
        *(f"![{title}]({name})\n" for name, title in plots),
        *(_workload(run, workload) for workload in WORKLOADS),
        _rest(run),
        _overshoot(run),
        _how(run),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _verdict_table(run: Run) -> str:
    found = verdicts(run)
    if not any(measured.candidate == PEER for measured in run.measurements):
        hint = "No peer was measured (`BENCH_PEER` was not set), so there are no ratios.\n"
    else:
        hint = ""
    if not found:
        return hint or "This run measured nothing that has a target.\n"
    rows = [
        [verdict.what, verdict.target, verdict.found, "met" if verdict.met else "**not met**"]
        for verdict in found
    ]
    return hint + _table(["", "target", "measured", ""], rows)


def _invalid(run: Run) -> str:
    lines = [
        f"- {measured.workload}, {label(run, measured.candidate)}, round {measured.round + 1}: "
        + "; ".join(measured.problems)
        for measured in run.measurements
        if measured.problems
    ]
    if not lines:
        return ""
    return (
        "**Measurements with errors**, flagged invalid and left out of every number below:\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _failures(run: Run) -> list[str]:
    parts: dict[str, list[str]] = {}
    for failure in run.failures:
        parts.setdefault(failure.candidate, []).append(failure.part)
    return [
        f"{label(run, key)} could not be measured: {', '.join(dict.fromkeys(found))}."
        for key, found in parts.items()
    ]


def _busy(run: Run) -> list[str]:
    if not run.measurements:
        return []
    other = spread([one.other_cores for one in run.measurements])
    if other.median < BUSY_MACHINE:
        return []
    return [f"The machine was busy with other work: it used {ranged(other, 2)} cores meanwhile."]


def _workload(run: Run, workload: Workload) -> str:
    rows = []
    for candidate in run.candidates:
        mine = [
            measured
            for measured in run.measurements
            if measured.workload == workload.key and measured.candidate == candidate.key
        ]
        valid = [measured for measured in mine if not measured.problems]
        if not mine:
            continue
        if not valid:
            rows.append([candidate.label, "invalid", *[""] * 6])
            continue
        columns: tuple[Value, ...] = (
            cpu_us,
            requests_per_s,
            lambda measured: measured.p50_ms,
            lambda measured: measured.p99_ms,
            lambda measured: measured.instances_per_call,
            lambda measured: measured.rss_peak_bytes / _MIB,
        )
        cells = [ranged(spread([value(one) for one in valid])) for value in columns]
        rows.append([_marked(candidate), *cells, f"{len(valid)} of {len(mine)}"])
    if not rows:
        return ""
    body_bytes = len(workload.request().body)
    size = f"{body_bytes} bytes" if body_bytes < 10_000 else f"{body_bytes / 1000:.0f} kB"
    text = f"### {workload.title[0].upper()}{workload.title[1:]}\n\nRequests of {size}"
    text += f", measured {workload.stretch} times as long.\n\n" if workload.stretch > 1 else ".\n\n"
    head = ["", "CPU µs per request", "requests/s", "p50 ms", "p99 ms"]
    head += ["instances per upstream call", "peak RSS MiB", "valid rounds"]
    text += _table(head, rows)
    ratios = [
        f"{name} {ranged(measured)}"
        for name, value in (("CPU per request", cpu_us), ("throughput", requests_per_s))
        if (measured := ratio(run, workload.key, value, PEER)) is not None
    ]
    if ratios:
        ours, theirs = label(run, SIDECAR), label(run, PEER)
        text += f"\nRatio of {ours} to {theirs}, pair by pair: {'; '.join(ratios)}.\n"
    return text


def _marked(candidate: CandidateInfo) -> str:
    return candidate.label + (" ¹" if candidate.key == DIRECT else "")


def _rest(run: Run) -> str:
    if not run.idle:
        return ""
    labels = {candidate.key: _marked(candidate) for candidate in run.candidates}
    rows = [
        [
            labels[idle.candidate],
            f"{idle.cpu_percent:.3f}",
            f"{idle.rss_bytes / _MIB:.1f}",
            f"{idle.seconds:.0f}",
        ]
        for idle in run.idle
    ]
    return "## At rest\n\nAfter 100 requests, nobody calls.\n\n" + _table(
        ["", "CPU, % of a core", "RSS MiB", "measured for, s"], rows
    )


def _overshoot(run: Run) -> str:
    if not run.overshoot:
        return ""
    rows = [
        [
            label(run, found.candidate),
            f"{found.p50_ms:.2f}",
            f"{found.p99_ms:.2f}",
            f"{found.least_ms:.2f}",
            f"{found.most_ms:.2f}",
            f"{found.unbatched_p50_ms:.2f}",
            _DASH if found.queue_p99_ms is None else f"{found.queue_p99_ms:.2f}",
            str(found.samples),
        ]
        for found in run.overshoot
    ]
    head = ["ms", "p50", "p99", "least", "most", "unbatched call, p50"]
    head += ["p99 by its own `queue;dur`", "calls"]
    return (
        "## How exactly the window is kept\n\n"
        f"Lone requests with a window of {WINDOW_MS} ms: latency less window less the median time "
        "of the same call through the same process without batching.\n\n" + _table(head, rows)
    )


def _how(run: Run) -> str:
    measured = run.measurements
    busy = [one for one in measured if one.generator_cores > BUSY_GENERATOR]
    lines = [_HOW]
    if measured:
        other = spread([one.other_cores for one in measured])
        lines.append(f"- Other processes of the machine used {ranged(other, 2)} cores meanwhile.")
    if busy:
        pairs = sorted({f"{one.workload}/{one.candidate}" for one in busy})
        lines.append(
            f"- wrk used more than {BUSY_GENERATOR:.0%} of a core in {len(busy)} measurements "
            f"({', '.join(pairs)}): there the throughput may be wrk's."
        )
    commands = [f"- {one.label}: `{one.command}`" for one in run.candidates if one.command]
    machine = [f"- {name}: {text}" for name, text in run.machine.items()]
    return "\n".join([*lines, "", "Commands:", "", *commands, "", "Machine:", "", *machine, ""])
