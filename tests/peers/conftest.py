"""The servers, started once each for all tests that ask for them."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from batcher_contract.names import READINESS_PROBE_ENV
from tests.peers.kit import mlserver, triton
from tests.peers.kit.programs import ROOT, Program
from tests.peers.kit.side_by_side import HASTY_MS, ROWS, WINDOW_MS, SideBySide
from tests.ports import free_port
from tests.sidecar.kit.process import SidecarProcess
from tests.sidecar.kit.rig import tcp_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[[Path, int], Program]


@contextlib.contextmanager
def _beside(name: str, start: Start, folder: Path) -> Iterator[SideBySide]:
    """Start a server and, before it, a patient sidecar and a hasty one."""
    model_port = free_port()
    model = start(folder, model_port)
    patient, hasty = sidecars = [
        SidecarProcess(
            (
                *("--enable-batcher", "--max-batchsize", str(ROWS)),
                *("--max-latency", str(window_ms)),
            ),
            log=folder / f"sidecar-{window_ms}.log",
            component_port=model_port,
            env={READINESS_PROBE_ENV: tcp_probe(model_port)},
        )
        for window_ms in (WINDOW_MS, HASTY_MS)
    ]
    try:
        for sidecar in sidecars:
            asyncio.run(sidecar.started())
        model.wait_ready(f"http://127.0.0.1:{model_port}/v2/health/ready")
        other = SideBySide(name, model_port, hasty.port, hasty.admin_port)
        yield SideBySide(name, model_port, patient.port, patient.admin_port, other)
        for sidecar in sidecars:
            sidecar.check()
    finally:
        for sidecar in sidecars:
            sidecar.stop()
        model.stop()


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the wheel with Triton is for Linux on x86-64")
    if sys.version_info >= (3, 13):
        pytest.skip("Triton's Python backend needs numpy 1, which has no wheel for this Python")
    with _beside("triton", triton.start, tmp_path_factory.mktemp("triton")) as servers:
        yield servers


def _start_kserve(folder: Path, port: int) -> Program:
    command = [sys.executable, "-m", "tests.peers.kit.sdk_models", str(port)]
    return Program(command, log=folder / "kserve.log", env={"PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="session")
def kserve_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    with _beside("kserve", _start_kserve, tmp_path_factory.mktemp("kserve")) as servers:
        yield servers


@pytest.fixture(scope="session")
def mlserver_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    with _beside("mlserver", mlserver.start, tmp_path_factory.mktemp("mlserver")) as servers:
        yield servers
