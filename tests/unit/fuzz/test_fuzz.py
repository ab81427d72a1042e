"""The fuzzer: it finds nothing in a few seconds, and finds what is broken on purpose."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from batcher_sidecar.codecs import Codec
from batcher_sidecar.codecs.v1 import V1Codec
from batcher_sidecar.codecs.v2 import V2Codec
from batcher_sidecar.codecs.v2 import request as v2_request
from batcher_sidecar.core import ByteBudget
from batcher_sidecar.http1 import chunked
from batcher_sidecar.runtime import Runtime
from tests.fuzz.__main__ import TARGETS, main
from tests.fuzz.engine import Fuzzer

SEED = 1

def swapped_split(split: Callable[..., Any]) -> Callable[..., Any]:
    """Give each member the part of another."""

    def swapped(*args: Any) -> tuple[Sequence[Any], int]:
        parts, dropped = split(*args)
        return parts[::-1], dropped

    return swapped


def lossy_join(join: Callable[..., Any]) -> Callable[..., Any]:
    """Forget the last member of a batch."""

    def lossy(codec: Codec, members: Sequence[Any], rows: tuple[int, int] | None) -> Any:
        return join(codec, members[: max(1, len(members) - 1)], rows)

    return lossy


def any_form(data: bytes, shape: Sequence[int], elements: int, datatype: str) -> str:
    """Believe what a shape says."""
    return "nested" if b"[[" in data else "flat"


def any_blob(*_: Any) -> bool:
    """Believe what a size says."""
    return True


def no_release(budget: ByteBudget, size_bytes: int) -> None:
    """Keep what was reserved."""


def forget_nobody(runtime: Runtime, client: object) -> None:
    """Let those who left stay in the queue."""


BROKEN: Sequence[tuple[str, Any, str, Any]] = [
    ("codec", V1Codec, "split", swapped_split(V1Codec.split)),
    ("codec", V1Codec, "join", lossy_join(V1Codec.join)),
    ("tensors", V2Codec, "split", swapped_split(V2Codec.split)),
    ("tensors", V2Codec, "join", lossy_join(V2Codec.join)),
    ("tensors", v2_request, "form_of", any_form),
    ("tensors", v2_request, "_is_blob", any_blob),
    ("port", V1Codec, "split", swapped_split(V1Codec.split)),
    ("port", ByteBudget, "release", no_release),
    ("port", Runtime, "left", forget_nobody),
    ("reader", chunked, "_TRAILER_LINE", re.compile(rb"[^\r\n]*\r\n")),
]


def test_a_few_seconds_find_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--seconds", "5", "--seed", str(SEED), "--out", str(tmp_path)])
    assert status == 0, capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_depends_on_seed_and_number_alone_and_can_be_written_down(name: str) -> None:
    target = TARGETS[name]
    for number in range(30):
        case = Fuzzer([target], SEED).case(target, number)
        assert Fuzzer([target], SEED).case(target, number) == case
        assert Fuzzer([target], SEED + 1).case(target, number) != case
        assert target.decode(json.loads(json.dumps(target.encode(case)))) == case


@pytest.mark.parametrize(("target", "owner", "name", "broken"), BROKEN)
def test_what_is_broken_is_found_kept_and_replayed(
    target: str,
    owner: Any,
    name: str,
    broken: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--seconds", "30", "--seed", str(SEED), "--target", target]
    arguments += ["--out", str(tmp_path), "--shrink-seconds", "0.5"]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        assert main(arguments) == 1
        output = capsys.readouterr().out
        (kept,) = tmp_path.iterdir()
        assert f"seed {SEED}\n" in output
        assert f"--replay {kept}\n" in output
        assert main(["--replay", str(kept)]) == 1
    fault = json.loads(kept.read_text())["fault"]
    assert fault in output
    assert fault in capsys.readouterr().out
    assert main(["--replay", str(kept)]) == 0
