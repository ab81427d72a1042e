"""Verdicts and the page of a run."""

from pathlib import Path

import msgspec
import pytest

from tests.bench.plots import draw
from tests.bench.report import page
from tests.bench.results import CandidateInfo, Failure, Idle, Measurement, Overshoot, Run
from tests.bench.verdicts import verdicts

CPU = "CPU per request"


def measurement(
    candidate: str,
    number: int,
    cpu_us: float,
    *,
    workload: str = "iris",
    per_s: float = 100,
    problem: str = "",
) -> Measurement:
    return Measurement(
        workload=workload,
        candidate=candidate,
        round=number,
        requests=100,
        requests_per_s=per_s,
        served=101,
        upstream_calls=10,
        p50_ms=1,
        p99_ms=2,
        max_ms=3,
        cpu_us_per_request=cpu_us,
        rss_rest_bytes=2**20,
        rss_peak_bytes=2**21,
        generator_cores=0.5,
        model_cores=0.1,
        other_cores=0,
        problems=(problem,) if problem else (),
    )


def run(*measurements: Measurement) -> Run:
    return Run(
        date="2026-01-31",
        machine={"Kernel": "Linux"},
        seconds=5,
        rounds=3,
        candidates=[
            CandidateInfo(key="sidecar", label="ours", command="ours --port PORT"),
            CandidateInfo(key="peer", label="theirs", command="theirs PORT"),
        ],
        measurements=list(measurements),
    )


def test_targets_are_judged_by_the_median_of_the_pairs() -> None:
    found = verdicts(
        run(
            *(measurement("sidecar", number, 16, per_s=140) for number in range(3)),
            *(measurement("peer", number, cpu) for number, cpu in enumerate((40, 20, 35))),
        )
    )
    assert [(one.target, one.met) for one in found] == [("≤ 0.5", True), ("≥ 1.5×", False)]  # noqa: RUF001
    assert found[0].found.startswith("0.457 (0.400")


def test_the_open_inference_protocol_is_held_against_the_plain_proxy_and_the_model_server() -> None:
    image, serial = "v2-image-binary", "v2-serial"
    found = verdicts(
        run(
            measurement("sidecar", 0, 30, workload=image),
            measurement("nginx", 0, 10, workload=image),
            measurement("peer", 0, 100, workload=image),
            measurement("sidecar", 0, 30, workload=serial, per_s=310),
            measurement("direct", 0, 10, workload=serial, per_s=100),
        )
    )
    assert [(one.target, one.found, one.met) for one in found] == [
        ("≤ 2", "3.00", False),
        ("≥ 3×", "3.10×", True),  # noqa: RUF001
    ]


def test_rounds_with_problems_count_for_nothing_and_are_named() -> None:
    found = run(
        measurement("sidecar", 0, 1, problem="3 answers were errors"),
        measurement("sidecar", 1, 18),
        measurement("peer", 0, 20),
        measurement("peer", 1, 20),
    )
    assert next(one for one in verdicts(found) if CPU in one.what).found == "0.900"
    text = page(found)
    assert "- iris, ours, round 1: 3 answers were errors" in text
    assert "1 of 2" in text


def test_without_a_peer_there_are_no_ratios_but_what_needs_none() -> None:
    found = run(measurement("sidecar", 0, 10))
    found.idle.append(Idle(candidate="sidecar", seconds=10, cpu_percent=0.3, rss_bytes=40 * 2**20))
    found.overshoot.append(
        Overshoot(
            candidate="sidecar",
            window_ms=50,
            samples=200,
            unbatched_p50_ms=0.2,
            least_ms=0.1,
            p50_ms=0.5,
            p99_ms=1.5,
            most_ms=4,
        )
    )
    assert [(one.what, one.met) for one in verdicts(found)] == [
        ("window overshoot p99", True),
        ("idle CPU", False),
        ("resident memory at rest", True),
    ]
    assert "`BENCH_PEER` was not set" in page(found)


def test_what_failed_is_told() -> None:
    found = run(measurement("sidecar", 0, 10))
    found.failures += [
        Failure(candidate="peer", part="iris"),
        Failure(candidate="peer", part="iris"),
        Failure(candidate="peer", part="image"),
    ]
    assert "> theirs could not be measured: iris, image." in page(found)


def test_a_run_that_was_kept_gives_the_same_page() -> None:
    found = run(measurement("sidecar", 0, 10), measurement("peer", 0, 30))
    again = msgspec.json.decode(msgspec.json.encode(found), type=Run)
    assert page(again) == page(found)


def test_plots_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    drawn = draw(run(measurement("sidecar", 0, 10), measurement("peer", 0, 30)), tmp_path)
    assert [name for name, _ in drawn] == ["cpu.png", "throughput.png", "latency.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name, _ in drawn)
    assert draw(run(), tmp_path) == []


@pytest.mark.parametrize("candidate", ["sidecar", "peer"])
def test_a_candidate_without_a_valid_round_is_shown_as_invalid(candidate: str) -> None:
    found = run(measurement(candidate, 0, 10, problem="no request was answered"))
    assert "| invalid |" in page(found)
    assert verdicts(found) == []
