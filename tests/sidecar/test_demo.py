"""`examples/demo/demo.py`, run as users run it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from examples.demo.stage import DemoError, Stage

ROOT: Final = Path(__file__).parents[2]
DEMO: Final = ROOT / "examples" / "demo" / "demo.py"
MARKER: Final = "DEMO_TEST_RUN"
COLUMNS: Final = 80
RUN_S: Final = 100.0
END_S: Final = 10.0
POLL_S: Final = 0.05

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
    pytest.mark.timeout(RUN_S + 20),
]


class DemoRun:
    """The demo as a process. All that it starts inherits a mark by which it can be found."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.mark = f"{MARKER}={uuid.uuid4()}"
        self._output = folder / "output.txt"
        name, value = self.mark.split("=")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(DEMO), "--quick"],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT / "sidecar"),
                    "COLUMNS": str(COLUMNS),
                    "PYTHONIOENCODING": "utf-8",
                    name: value,
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def programs(self) -> list[str]:
        """The command lines of the programs that it started and that still run."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) == self.process.pid:
                continue
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has gone, or is not ours to read
                continue
        return [command for command in found if command]

    def wait(self, reached: Callable[[], bool], what: str, within_s: float = RUN_S) -> None:
        """Look again and again until `reached`."""
        end_s = time.monotonic() + within_s
        while not reached():
            assert time.monotonic() < end_s, f"not within {within_s} s: {what}\n{self.output}"
            assert self.process.poll() is None or what == "its end", self.output
            time.sleep(POLL_S)

    def exit_code(self, within_s: float = RUN_S) -> int:
        self.wait(lambda: self.process.poll() is not None, "its end", within_s)
        return int(self.process.returncode)

    def stop(self) -> None:
        """End it if it still runs; what it started ends with it."""
        self.process.kill()
        self.process.wait()


StartDemo = Callable[..., DemoRun]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    runs: list[DemoRun] = []

    def start(env: Mapping[str, str] | None = None) -> DemoRun:
        runs.append(DemoRun(tmp_path, env))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


def has_the_words(run: DemoRun, *words: str) -> None:
    text = " ".join(run.output.split())
    for word in words:
        assert word in text, run.output


def test_every_claim_holds_and_nothing_is_left(start_demo: StartDemo) -> None:
    run = start_demo()

    assert run.exit_code() == 0, run.output

    has_the_words(
        run,
        '"batchId":',
        '"message": ""',
        '"predictions": [0, 0, 0]',
        "ok Being alone, it waited the whole window",
        "ok Both travelled in one batch of 52",
        "ok The model server counted 1 call with 52 rows",
        "ok The bad one got the model server's own 500",
        "ok Its three neighbours got 200",
        "straight",
        "through the sidecar",
        "answers were 200 with the right prediction",
        "All 11 claims held.",
    )
    assert "\x1b" not in run.output  # no terminal, no colours
    assert max(len(line) for line in run.output.splitlines()) <= COLUMNS
    assert run.programs() == []


def test_an_interrupt_while_the_model_server_starts_leaves_nothing(start_demo: StartDemo) -> None:
    run = start_demo()
    run.wait(lambda: any("model_server.py" in line for line in run.programs()), "start")

    run.process.send_signal(signal.SIGINT)

    assert run.exit_code(END_S) == 128 + signal.SIGINT, run.output
    run.wait(lambda: not run.programs(), "its end", END_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupt_under_load_leaves_nothing(
    start_demo: StartDemo, number: signal.Signals
) -> None:
    run = start_demo()
    run.wait(lambda: any("load_client.py" in line for line in run.programs()), "load")

    run.process.send_signal(number)

    status = run.exit_code(END_S)
    assert status == (-number if number is signal.SIGKILL else 128 + number), run.output
    run.wait(lambda: not run.programs(), "its end", END_S)


def test_a_program_that_does_not_start_is_told_with_its_words() -> None:
    with Stage() as stage:
        program = stage.start("The sidecar", ["-c", "raise SystemExit('no such flag')"])
        with pytest.raises(DemoError, match=r"The sidecar ended with status 1.*\nno such flag"):
            program.wait_ready("http://127.0.0.1:1/", END_S)


def test_claims_that_do_not_hold_fail_the_demo(start_demo: StartDemo, tmp_path: Path) -> None:
    package = tmp_path / "other" / "batcher_sidecar"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os, sys\n"
        f"os.environ['PYTHONPATH'] = {str(ROOT / 'sidecar')!r}\n"
        "flags = [flag for flag in sys.argv[1:] if flag != '--enable-batcher']\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'batcher_sidecar', *flags])\n"
    )
    run = start_demo({"PYTHONPATH": str(package.parent)})

    assert run.exit_code() == 1, run.output

    has_the_words(
        run,
        "NO The answer should be 200 with a batchId",
        "NO A lone request should wait 400 ms",
        "The demo did not hold:",
    )
    assert run.programs() == []
