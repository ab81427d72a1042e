"""The program `batcher-webhook` as a process."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.webhook.kit import make_pair

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT / 'sidecar'}:{ROOT / 'webhook'}"}
NEEDED = ("--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key", "--sidecar-image", "r/i:1")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "batcher_webhook", *args],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_names_every_flag() -> None:
    done = run("--help")
    assert done.returncode == 0
    for flag in (*NEEDED[::2], "--port", "--health-port", "--sidecar-uid", "--sidecar-cpu-limit"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((), "--tls-cert-file, --tls-key-file, --sidecar-image"),
        ((*NEEDED, "--port", "0"), '"0" is less than 1: give a whole number from 1 to 65535'),
        ((*NEEDED, "--port", "9084"), "--health-port 9084 is also --port: give each its own"),
        ((*NEEDED, "--sidecar-uid", "0"), '--sidecar-uid: "0" is less than 1'),
        ((*NEEDED, "--sidecar-memory-limit", "1x"), "is not a Kubernetes quantity"),
        ((*NEEDED, "--sidecar-cpu-request", "2"), "exceeds --sidecar-cpu-limit 1: lower it"),
        ((*NEEDED, "--nonsense"), "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_flag_is_told_in_a_sentence(args: tuple[str, ...], sentence: str) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("batcher-webhook: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay_s", [0, 60])
def test_it_serves_on_for_a_while_when_it_is_told_to_end(
    tmp_path: Path,
    number: signal.Signals,
    delay_s: int,
    unused_tcp_port_factory: Callable[[], int],
) -> None:
    make_pair().write(tmp_path)
    port, health_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "batcher_webhook", "--sidecar-image", "r/i:1"),
            *("--tls-cert-file", str(tmp_path / "tls.crt")),
            *("--tls-key-file", str(tmp_path / "tls.key"), "--host", "127.0.0.1"),
            *("--port", str(port), "--health-port", str(health_port), "--log-format", "json"),
            *("--shutdown-delay", str(delay_s)),
        ],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        while "serving on port" not in (line := process.stderr.readline()):
            assert line, "it ended"
        url = f"http://127.0.0.1:{health_port}/readyz"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(number)
        if delay_s:
            wait_until_not_ready(url)
            process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        assert process.stderr is not None
        process.stderr.close()


def wait_until_not_ready(url: str) -> None:
    """Ask until the answer is 503; pytest's own timeout bounds it."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 503
                assert b"going away" in error.read()
            return
