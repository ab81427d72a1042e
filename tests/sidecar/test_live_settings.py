"""Settings that change while the process runs (`--settings-file`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sidecar.kit.client import predict
from tests.sidecar.kit.process import until
from tests.sidecar.kit.rig import PAIR, Rig, RigFactory

FLAGS = (*PAIR, "--timeout", "60")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def config(rig: Rig) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads((await rig.admin("/config")).body)
    return shown


async def wait_for(rig: Rig, name: str, value: object) -> dict[str, Any]:
    async def is_so() -> bool:
        return bool((await config(rig))["settings"][name] == value)

    await until(is_so, f"{name} is {value}")
    return await config(rig)


async def test_a_file_that_is_there_at_the_start_wins_over_flags(
    make_rig: RigFactory, file: Path
) -> None:
    write(file, '{"max-batchsize": "3"}')
    rig = await make_rig(*FLAGS, "--settings-file", str(file))
    clients = [await rig.send(predict([number])) for number in range(3)]
    await rig.answers(*clients)
    assert [len(call.rows) for call in rig.model.calls] == [3]


async def test_a_change_reaches_what_waits_and_what_comes(
    make_rig: RigFactory, file: Path
) -> None:
    rig = await make_rig(*FLAGS, "--settings-file", str(file))
    before = await config(rig)
    assert before["settings"]["max_batch_size"] == 2
    waiting = await rig.send(predict([1]))
    write(file, '{"max-latency": "1"}')
    assert (await waiting.response()).predictions == [1]
    shown = await wait_for(rig, "max_latency_ms", 1)
    assert shown["settings"]["max_batch_size"] == 2
    assert shown["since"] >= before["since"]
    assert (await rig.ask(predict([2]))).predictions == [2]


async def test_a_file_at_fault_changes_nothing_and_is_told(
    make_rig: RigFactory, file: Path
) -> None:
    write(file, '{"max-latency": "1"}')
    rig = await make_rig(*FLAGS, "--settings-file", str(file))
    write(file, '{"max-latency": "0"}')

    async def is_told() -> bool:
        return "settings_file_fault" in await config(rig)

    await until(is_told, "the fault is told")
    shown = await config(rig)
    assert shown["settings"]["max_latency_ms"] == 1
    assert shown["settings_file_fault"] == (
        '--max-latency "0" is less than 1: give a whole number of milliseconds from 1 to 3600000'
    )
    assert (await rig.ask(predict([2]))).predictions == [2]
    write(file, '{"max-latency": "2"}')
    assert "settings_file_fault" not in await wait_for(rig, "max_latency_ms", 2)


async def test_limits_change_too(make_rig: RigFactory, file: Path) -> None:
    rig = await make_rig(*FLAGS, "--settings-file", str(file))
    large = predict(["x" * 3000, "y"])
    assert (await rig.ask(large)).status == 200
    write(file, '{"max-body-bytes": "1Ki"}')
    await wait_for(rig, "max_body_bytes", 1024)
    assert (await rig.ask(large)).status == 413
    write(file, '{"max-queue-bytes": "2Ki", "max-queue-size": "1"}')
    await wait_for(rig, "max_queue_size", 1)
    assert (await rig.ask(large)).status == 413  # no larger than what the queue may hold
    waiting = await rig.send(predict([1]))
    await rig.settle()
    assert (await rig.ask(predict([2]))).status == 429
    waiting.close()


async def test_rows_are_signed_anew(make_rig: RigFactory, file: Path) -> None:
    rig = await make_rig(*FLAGS, "--settings-file", str(file))
    write(file, '{"row-signature": "type"}')
    await wait_for(rig, "row_signature", "type")
    clients = [await rig.send(predict([row])) for row in ([1.5], [1.5, 2.5])]
    await rig.answers(*clients)
    assert [len(call.rows) for call in rig.model.calls] == [2]
