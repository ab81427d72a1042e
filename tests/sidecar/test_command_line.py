"""How the process is started, and what it says when that cannot work."""

import socket

import pytest

from tests.ports import free_port
from tests.sidecar.kit.client import connect, predict
from tests.sidecar.kit.process import SidecarProcess
from tests.sidecar.kit.rig import RigFactory, SidecarPool


async def ended(sidecar: SidecarProcess) -> int:
    sidecar.may_end = True
    try:
        return await sidecar.exit_code(within_s=20)
    finally:
        sidecar.stop()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--max-batch-size", "4"], ["--max-batch-size"]),
        (["--nonsense"], ["--nonsense"]),
        (["extra"], ["extra"]),
        (["--max-batchsize", "0"], ["--max-batchsize"]),
        (["--max-batchsize", "-1"], ["--max-batchsize"]),
        (["--max-batchsize", "many"], ["--max-batchsize", "many"]),
        (["--max-batchsize", "1.5"], ["--max-batchsize", "1.5"]),
        (["--max-batchsize"], ["--max-batchsize"]),
        (["--max-latency", "0"], ["--max-latency"]),
        (["--max-latency", "5s"], ["--max-latency", "5s"]),
        (["--timeout", "0"], ["--timeout"]),
        (["--timeout", "nan"], ["--timeout"]),
        (["--max-concurrency", "0"], ["--max-concurrency"]),
        (["--component-port", "70000"], ["--component-port"]),
        (["--strategy", "luck"], ["--strategy", "luck", "window"]),
        (["--row-signature", "size"], ["--row-signature", "shape", "type"]),
        (["--isolate-failures=perhaps"], ["--isolate-failures"]),
        (["--batch-key-headers", "a b"], ["--batch-key-headers"]),
        (["--log-level", "loud"], ["--log-level"]),
        (["--log-format", "xml"], ["--log-format"]),
        (["--timeout", "1", "--max-latency", "1000"], ["--timeout", "--max-latency"]),
        (
            ["--max-batchsize", "8", "--hard-max-batch-size", "4"],
            ["--hard-max-batch-size", "--max-batchsize"],
        ),
        (["--port", "9000", "--admin-port", "9000"], ["--port", "--admin-port"]),
        (["--drain-quiet", "9", "--drain-timeout", "3"], ["--drain-quiet", "--drain-timeout"]),
    ],
    ids=" ".join,
)
async def test_flags_that_cannot_be_meant_are_named_in_one_sentence(
    sidecars: SidecarPool, flags: list[str], named: list[str]
) -> None:
    sidecar = sidecars.start(("--enable-batcher", *flags), free_port())
    assert await ended(sidecar) == 2
    [sentence] = sidecar.output.splitlines()
    for name in named:
        assert name in sentence


async def test_help_tells_the_flags(sidecars: SidecarPool) -> None:
    sidecar = sidecars.start(("--help",), free_port())
    assert await ended(sidecar) == 0
    for flag in ("--enable-batcher", "--max-batchsize", "--drain-quiet", "--max-queue-bytes"):
        assert flag in sidecar.output


@pytest.mark.parametrize("flag", ["--port", "--admin-port"])
async def test_a_port_that_is_taken_is_named(sidecars: SidecarPool, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sidecar = sidecars.start(("--enable-batcher", flag, port), free_port())
        assert await ended(sidecar) != 0
    assert port in sidecar.output
    assert "Traceback" not in sidecar.output


async def test_the_spelling_of_kserves_agent_is_understood(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize=2", "--max-latency", "30000")
    one, two = await rig.answers(await rig.send(predict([1])), await rig.send(predict([2])))
    assert one.batch_id == two.batch_id


async def test_a_host_limits_where_it_listens(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", "--host", "127.0.0.1")
    assert (await rig.ask(predict([1]))).predictions == [1]
    with pytest.raises(OSError, match=r".*"):
        await connect(rig.sidecar.port, "::1")


async def test_unless_told_otherwise_it_listens_on_every_address(make_rig: RigFactory) -> None:
    rig = await make_rig("--max-batchsize", "1", shared=True)
    for host in ("127.0.0.1", "::1"):
        client = await rig.connect(host)
        assert (await client.ask(predict([1]))).predictions == [1]
