"""The command: ``python -m tests.bench``; see ``--help``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from tests.bench import tools
from tests.bench.candidates import REPOSITORY, SIDECAR, Candidate, known
from tests.bench.machine import describe
from tests.bench.processes import StubError, alone
from tests.bench.results import CandidateInfo, Run
from tests.bench.session import PARTS, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION: Final = """\
Measure the batching sidecar beside the model server alone, nginx as a plain reverse proxy and, if
BENCH_PEER names one, another batcher. All of it runs on 127.0.0.1 and is stopped at the end, also
on Ctrl-C. Writes README.md and plots into the output directory.
"""

_EPILOG: Final = """\
environment:
  BENCH_PEER        command of another batcher, split like a shell does it. {port},
                    {component_port} and {max_latency} (ms) are replaced; without {max_latency}
                    the command must say 5 ms itself, and its window overshoot is not measured.
  BENCH_PEER_NAME   what the report calls it (default: peer)

KServe's own agent, built with Go from the kserve/kserve repository (go build ./cmd/agent):
  BENCH_PEER_NAME="KServe agent" BENCH_PEER="env SERVING_READINESS_PROBE='{\\"tcpSocket\\":
  {\\"port\\":{component_port}},\\"timeoutSeconds\\":1,\\"periodSeconds\\":1,
  \\"successThreshold\\":1,\\"failureThreshold\\":3}' ./agent --enable-batcher --max-batchsize 32
  --max-latency {max_latency} --component-port {component_port} --port {port}" make bench
(all in one line)

exit status: 0 measured; 1 a measurement of the sidecar is invalid or missing, or, with --check,
a target is not met; 2 wrong usage or a program is missing.
"""


class Options(argparse.Namespace):
    rounds: int
    seconds: int
    only: list[str]
    candidates: list[str]
    out: Path
    json: Path | None
    render: Path | None
    quick: bool
    check: bool
    wrk_threads: int
    idle_seconds: float
    samples: int


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; ends the process with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=_positive, default=5, help="rounds; candidates take turns in each (5)")
    add("--seconds", type=_positive, default=5, help="load per measurement, whole seconds (5)")
    add(
        "--only",
        action="append",
        choices=PARTS,
        default=[],
        metavar="PART",
        help=f"measure this part only, may be given several times: {', '.join(PARTS)}",
    )
    add(
        "--candidates",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        metavar="A,B",
        help="only these: direct, nginx, sidecar, peer (all)",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the report goes (docs/bench; for a partial or quick run .cache/bench)",
    )
    add("--json", type=Path, metavar="FILE", help="also write every single measurement here")
    add(
        "--render",
        type=Path,
        metavar="FILE",
        help="measure nothing: write the report of a run that --json kept",
    )
    add("--quick", action="store_true", help="smoke test: 1 round of 1 s, few samples")
    add("--check", action="store_true", help="exit with 1 if a target is not met")
    add("--wrk-threads", type=_positive, default=1, help="threads of the load generator (1)")
    add("--idle-seconds", type=float, default=15, help="how long each is watched at rest (15)")
    add("--samples", type=_positive, default=200, help="calls of the overshoot measurement (200)")
    options = parser.parse_args(arguments, namespace=Options())
    if options.quick:
        options.rounds, options.seconds = 1, 1
        options.idle_seconds, options.samples = 2, 20
    if options.out is None:
        partial = options.quick or options.only or options.candidates
        options.out = REPOSITORY / (".cache/bench" if partial else "docs/bench")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _say(text: str = "", end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _fail(text: str) -> NoReturn:
    sys.stderr.write(f"bench: {text}\n")
    raise SystemExit(2)


def _choose(options: Options) -> tuple[list[Candidate], list[str]]:
    """The candidates to measure, and what the report should say about those that are not."""
    notes = []
    try:
        found = known(os.environ)
    except ValueError as error:
        _fail(str(error))
    keys = [candidate.key for candidate in found]
    unknown = [name for name in options.candidates if name not in keys]
    if unknown:
        hint = "; peer needs BENCH_PEER" if "peer" in unknown else ""
        _fail(f"no such candidate: {', '.join(unknown)} (there are: {', '.join(keys)}{hint})")
    if options.candidates:
        found = [candidate for candidate in found if candidate.key in options.candidates]
    try:
        tools.require("wrk")
    except tools.MissingTool as error:
        _fail(str(error))
    if any(candidate.key == "nginx" for candidate in found):
        try:
            tools.require("nginx")
        except tools.MissingTool as error:
            if options.candidates:
                _fail(str(error))
            _say(f"without nginx: {error}")
            notes.append("nginx was not installed and is left out.")
            found = [candidate for candidate in found if candidate.key != "nginx"]
    return found, notes


def _write(run: Run, options: Options) -> bool:
    """Write the report and print its verdicts; False when a target is not met."""
    # matplotlib takes a second to import and is not wanted for --help.
    from tests.bench.plots import draw
    from tests.bench.report import page
    from tests.bench.verdicts import verdicts

    options.out.mkdir(parents=True, exist_ok=True)
    drawn = draw(run, options.out)
    (options.out / "README.md").write_text(page(run, drawn), encoding="utf-8")
    if options.json is not None:
        encoded = msgspec.json.format(msgspec.json.encode(run))
        options.json.write_bytes(encoded + b"\n")
    found = verdicts(run)
    _say()
    for verdict in found:
        state = "met    " if verdict.met else "NOT MET"
        _say(f"{state}  {verdict.what}: {verdict.found}, target {verdict.target}")
    _say(f"\nreport: {options.out / 'README.md'}")
    return all(verdict.met for verdict in found)


def _stop(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status."""
    options = parse(arguments)
    if options.render is not None:
        try:
            run = msgspec.json.decode(options.render.read_bytes(), type=Run)
        except (OSError, msgspec.MsgspecError) as error:
            _fail(f"{options.render} is not a run that --json kept: {error}")
        return 0 if _write(run, options) or not options.check else 1
    candidates, notes = _choose(options)
    parts = options.only or list(PARTS)
    run = Run(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=describe(),
        seconds=options.seconds,
        rounds=options.rounds,
        candidates=[
            CandidateInfo(key=one.key, label=one.label, command=one.shown()) for one in candidates
        ],
        notes=notes,
    )
    session = Session(
        run,
        candidates,
        say=_say,
        threads=options.wrk_threads,
        idle_seconds=options.idle_seconds,
        samples=options.samples,
    )
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _stop)
    try:
        with alone(lambda: _say("another benchmark runs on this machine: waiting for its end")):
            session.measure(parts)
    except KeyboardInterrupt:
        _say("\ninterrupted: everything is stopped, nothing was written")
        return 130
    except StubError as error:
        _fail(str(error))
    all_met = _write(run, options)
    return 0 if session.whole(SIDECAR) and (all_met or not options.check) else 1


if __name__ == "__main__":
    sys.exit(main())
