"""Processes under measurement are accounted for and stopped as a group."""

import os
import sys
from pathlib import Path

import pytest

from tests.bench.processes import ProcessGroup, StartError, process_cpu_s

# A shell that starts a child and says its pid once it runs; both would live on for a minute.
FAMILY = ["/bin/sh", "-c", "sleep 60 & echo $!; wait"]


def child_of(log: Path) -> int:
    # A pipe: reading waits until the line is there.
    with log.open() as pipe:
        return int(pipe.readline())


def test_the_whole_group_is_counted_and_killed(tmp_path: Path) -> None:
    log = tmp_path / "output"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with ProcessGroup(FAMILY, log=log) as group:
            child = child_of(log)
            assert {group.pid, child} <= set(group.pids())
            assert group.exit_code() is None
            assert 0 < group.rss_bytes() <= group.peak_rss_bytes() + 2**20
            assert 0 <= group.cpu_s() < 1
        assert group.pids() == []
        assert group.exit_code() == -9
    finally:
        os.close(reader)


def test_a_failure_tells_the_status_and_what_was_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such flag')"]
    with ProcessGroup(command, log=tmp_path / "log") as group:
        assert group.wait(10) == 1
        assert "ended with status 1:\nno such flag" in group.failure()


def test_a_missing_program_is_explained() -> None:
    with (
        pytest.raises(StartError, match="no-such-program cannot be started"),
        ProcessGroup(["no-such-program"]),
    ):
        pass


def test_the_cpu_clock_of_a_process_is_that_of_its_stat() -> None:
    times = os.times()
    assert process_cpu_s(os.getpid()) == pytest.approx(times.user + times.system, abs=0.1)
