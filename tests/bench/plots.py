"""The plots of a run: bars on a logarithmic scale, in colours that colour-blind readers tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from tests.bench.stats import significant, spread
from tests.bench.verdicts import Value, cpu_us, requests_per_s, values
from tests.bench.workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.bench.results import CandidateInfo, Measurement, Run

# Okabe and Ito's palette; the hatching tells the bars apart without colour too.
_STYLE: Final = {
    "direct": ("#999999", ""),
    "nginx": ("#56B4E9", "//"),
    "sidecar": ("#009E73", ""),
    "peer": ("#E69F00", ".."),
}
_SHORT: Final = {
    "iris": "iris row\n64 callers\ninstant",
    "floats": "768 floats\n32 callers\ninstant",
    "image": "224x224x3 image\n16 callers\ninstant",
    "concurrent": "iris row\n256 callers\nconcurrent 5 ms",
    "wide": "the same with\n8 batches\nin flight",
    "serial": "iris row\n256 callers\nserial 5 ms",
    "v2-floats": "768 floats\nv2 JSON\n32 callers",
    "v2-floats-binary": "768 floats\nv2 binary\n32 callers",
    "v2-image-binary": "224x224x3 image\nv2 binary\n16 callers",
    "v2-serial": "768 floats\nv2 binary\nserial 5 ms",
}


def draw(run: Run, directory: Path) -> list[tuple[str, str]]:
    """Write the plots as PNG into `directory`; (file name, title) of each that has data."""
    shown = [workload for workload in WORKLOADS if _measured(run, workload)]
    if not shown:
        return []
    drawn = []
    for name, title, axis, value, whisker in (
        ("cpu.png", "CPU per request (less is better)", "µs per request", cpu_us, None),
        (
            "throughput.png",
            "Throughput (more is better)",
            "requests per second",
            requests_per_s,
            None,
        ),
        (
            "latency.png",
            "Latency: median, whisker to p99 (less is better)",
            "ms",
            _p50_ms,
            _p99_ms,
        ),
    ):
        _bars(run, shown, directory / name, title, axis, value, whisker)
        drawn.append((name, title))
    return drawn


def _p50_ms(measurement: Measurement) -> float:
    return measurement.p50_ms


def _p99_ms(measurement: Measurement) -> float:
    return measurement.p99_ms


def _measured(run: Run, workload: Workload) -> bool:
    return any(
        measured.workload == workload.key and not measured.problems for measured in run.measurements
    )


def _bars(
    run: Run,
    workloads: Sequence[Workload],
    file: Path,
    title: str,
    axis: str,
    value: Value,
    whisker: Value | None,
) -> None:
    figure, axes = plt.subplots(figsize=(2.2 + 2.1 * len(workloads), 4.6), layout="constrained")
    try:
        width = 0.8 / len(run.candidates)
        for index, candidate in enumerate(run.candidates):
            offset = (index - (len(run.candidates) - 1) / 2) * width
            _candidate(axes, run, workloads, candidate, offset, width, value, whisker)
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.5, high * 1.6)
        axes.set_xticks(range(len(workloads)), [_SHORT[one.key] for one in workloads])
        axes.set_ylabel(f"{axis}, logarithmic")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=len(run.candidates), frameon=False)
        figure.savefig(file, dpi=110)
    finally:
        plt.close(figure)


def _candidate(
    axes: Axes,
    run: Run,
    workloads: Sequence[Workload],
    candidate: CandidateInfo,
    offset: float,
    width: float,
    value: Value,
    whisker: Value | None,
) -> None:
    colour, hatch = _STYLE.get(candidate.key, ("#CC79A7", "xx"))
    places: list[float] = []
    heights: list[float] = []
    below: list[float] = []
    above: list[float] = []
    for place, workload in enumerate(workloads):
        found = list(values(run, workload.key, candidate.key, value).values())
        if not found:
            continue
        middle = spread(found)
        if whisker is None:
            low, high = middle.low, middle.high
        else:
            low = middle.median
            high = spread(list(values(run, workload.key, candidate.key, whisker).values())).median
        places.append(place + offset)
        heights.append(middle.median)
        below.append(middle.median - low)
        above.append(max(0.0, high - middle.median))
    axes.bar(
        places,
        heights,
        width * 0.92,
        label=candidate.label,
        color=colour,
        hatch=hatch,
        edgecolor="white",
        linewidth=0.5,
        yerr=(below, above),
        error_kw={"ecolor": "#333333", "elinewidth": 0.9, "capsize": 2},
    )
    for at, height, over in zip(places, heights, above, strict=True):
        axes.annotate(
            significant(height, 2 if height < 1000 else 3),
            (at, height + over),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
