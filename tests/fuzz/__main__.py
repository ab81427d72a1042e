"""The command: ``python -m tests.fuzz``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.codec import CodecTarget
from tests.fuzz.engine import Finding, Fuzzer, Target, attempt
from tests.fuzz.port import PortTarget
from tests.fuzz.reader import ReaderTarget
from tests.fuzz.tensors import TensorTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION: Final = """\
Throw generated and mutated bytes at the data port (clients, connections and a scripted model server
in one process and in virtual time), at the reading of requests, and at the codecs of both
protocols. The cases depend on the seed alone.
"""
_EPILOG: Final = """\
exit status: 0 no fault found; 1 a fault found, whose smallest known case is shown and kept in a
file; 2 wrong usage.
"""
_FOLDER: Final = Path(__file__).parents[2] / ".cache" / "fuzz"

TARGETS: Final[dict[str, Target[Any]]] = {
    target.name: target for target in (PortTarget(), ReaderTarget(), CodecTarget(), TensorTarget())
}


class Options(argparse.Namespace):
    seconds: float
    seed: int
    target: list[str]
    shrink_seconds: float
    keep_going: bool
    out: Path
    replay: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, or replay; return the exit status."""
    options = _parse(arguments)
    warnings.simplefilter("error")
    if options.replay is not None:
        return _replay(options.replay)
    targets = [TARGETS[name] for name in options.target or TARGETS]
    fuzzer = Fuzzer(targets, options.seed, shrink_s=options.shrink_seconds)
    _say(f"seed {options.seed}")
    known: list[str] = []
    left_s = options.seconds
    while left_s > 0:
        finding, left_s = fuzzer.run(left_s, known=known, tell=lambda: _tell(fuzzer))
        if finding is None:
            break
        known.append(finding.fault.kind)
        _show(finding, options)
        if not options.keep_going:
            break
    _say(f"{_counts(fuzzer)}: {len(known) or 'no'} fault{'' if len(known) == 1 else 's'} found")
    return 1 if known else 0


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="how long (60)")
    add("--seed", type=int, default=secrets.randbelow(1 << 32), help="repeats an earlier run")
    add("--target", action="append", choices=TARGETS, default=[], help="only this (repeatable)")
    add("--shrink-seconds", type=float, default=20.0, help="to make a case smaller, at most (20)")
    add("--keep-going", action="store_true", help="look on for other faults after the first")
    add("--out", type=Path, default=_FOLDER, help="where cases are kept (.cache/fuzz)")
    add("--replay", type=Path, metavar="FILE", help="run a case that was kept")
    return parser.parse_args(arguments, namespace=Options())


def _replay(path: Path) -> int:
    content = json.loads(path.read_text())
    target = TARGETS[content["target"]]
    fault = attempt(target, target.decode(content["case"]))
    _say("no fault any more" if fault is None else f"{fault.kind}\n{fault.detail}")
    return 0 if fault is None else 1


def _show(finding: Finding, options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{finding.target}-{options.seed}-{finding.number}.json"
    kept = {"target": finding.target, "fault": finding.fault.kind, "case": finding.case}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    _say(
        f"\nFAULT in {finding.target}: {finding.fault.kind}\n{finding.fault.detail}\n"
        f"smallest case known:\n{json.dumps(finding.case)}\n"
        f"replay it with: python -m tests.fuzz --replay {path}\n"
    )


def _counts(fuzzer: Fuzzer) -> str:
    return ", ".join([f"{name} {runs} cases" for name, runs in fuzzer.runs.items()])


def _tell(fuzzer: Fuzzer) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r{_counts(fuzzer)} ")
        sys.stdout.flush()


def _say(text: str) -> None:
    sys.stdout.write(f"\r{text}\n" if sys.stdout.isatty() else f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
