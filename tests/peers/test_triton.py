"""Triton behind the sidecar: every caller gets what Triton alone gives it, and shares calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from tests.peers.kit.messages import BINARY, Message, Tensor, message, tensor
from tests.peers.kit.scenes import SIZES, Scenario, Scene, play
from tests.peers.kit.side_by_side import ROWS
from tests.peers.kit.triton import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.peers.kit.side_by_side import SideBySide

TEXTS: Final = ("", 'a,b]}"', "é\n\t\\", "\U0001f338", "[[", "plain", "\x00", "x" * 300)
IN_JSON: Final = tuple(kind for kind in DATATYPES if kind not in {"FP16", "BF16"})


def values(datatype: str, shape: tuple[int, ...], seed: int) -> Any:
    """Numbers of the whole range, or texts."""
    source = np.random.default_rng([seed, *datatype.encode()])
    if datatype == "BYTES":
        return source.choice(np.array(TEXTS, dtype=np.object_), shape)
    if datatype == "BOOL":
        return source.random(shape) < 0.5
    if datatype in {"FP32", "FP64"}:
        found = source.standard_normal(shape) * 10.0 ** source.integers(-30, 30, shape)
        found.flat[:1] = -0.0
        return found.astype(datatype.replace("FP", "f").replace("32", "4").replace("64", "8"))
    if datatype == "FP16":
        return source.standard_normal(shape).astype("f2")
    kind = np.dtype("uint16" if datatype == "BF16" else datatype.lower())
    limits = np.iinfo(kind)
    return source.integers(limits.min, limits.max, shape, kind, endpoint=True)


def typed(
    rows: int,
    seed: int,
    datatypes: Iterable[str],
    *,
    binary: Iterable[str] = (),
    nested: bool = False,
    width: int = 3,
    **more: Any,
) -> Message:
    inputs = [
        tensor(
            f"IN_{kind}",
            kind,
            values(kind, (rows, 2, width), seed),
            binary=kind in binary,
            nested=nested,
        )
        for kind in datatypes
    ]
    return message(inputs, **more)


def crowd(make: Any, **options: Any) -> list[Message]:
    return [make(rows, seed, **options) for seed, rows in enumerate(SIZES)]


def numbers(rows: int, seed: int, *, binary: bool = False, **more: Any) -> Message:
    whole = values("INT64", (rows, 4), seed) // 8
    return message([tensor("X", "INT64", abs(whole), binary=binary)], **more)


def many(
    rows: int, seed: int, *, length: int = 2, biased: bool = False, binary: bool = False, **more: Any
) -> Message:
    inputs: list[Tensor] = [
        tensor("WHOLE", "INT64", values("INT64", (rows, 3), seed) // 8, binary=binary),
        tensor("REAL", "FP32", values("FP32", (rows, length, 2), seed), binary=binary),
        tensor("TEXT", "BYTES", values("BYTES", (rows, 1), seed), binary=binary),
    ]
    if biased:
        inputs.append(tensor("BIAS", "INT64", values("INT32", (rows, 1), seed), binary=binary))
    return message(inputs, **more)


def types_of(datatypes: Sequence[str], **options: Any) -> Scenario:
    title = options.pop("title")
    return Scenario(
        title,
        "types",
        lambda: typed(ROWS, 99, datatypes),
        lambda: [crowd(typed, datatypes=datatypes, **options)],
    )


def groups(title: str, model: str, make: Any, *options: dict[str, Any]) -> Scenario:
    return Scenario(
        title,
        model,
        lambda: make(ROWS, 99),
        lambda: [crowd(make, **each) for each in options],
    )


def with_ids() -> list[Message]:
    ids = ("1", "1", None, 'q"\\é', "")
    return [
        numbers(rows, seed, request_id=given)
        for seed, (rows, given) in enumerate(zip(SIZES, ids, strict=True))
    ]


TEXTS_ONLY: Final = [{"name": "TEXTS"}]
TWO: Final = [{"name": "TWICE"}, {"name": "TOTAL"}]
TWO_FORMS: Final = [
    {"name": "TEXTS", "parameters": {"binary_data": True}},
    {"name": "TOTAL", "parameters": {"binary_data": False}},
]

SCENARIOS: Final = (
    types_of(IN_JSON, title="every datatype, flat JSON"),
    types_of(IN_JSON, title="every datatype, nested JSON", nested=True),
    types_of(DATATYPES, title="every datatype, binary", binary=DATATYPES, parameters=BINARY),
    types_of(IN_JSON, title="binary in, JSON out", binary=DATATYPES),
    types_of(IN_JSON, title="JSON in, binary out", parameters=BINARY),
    types_of(
        DATATYPES, title="some inputs binary", binary=DATATYPES[5:], parameters=BINARY, nested=True
    ),
    types_of(["BYTES"], title="strings alone, of dynamic length", width=7),
    types_of(["FP32"], title="empty tensors", width=0, binary=["FP32"]),
    groups("several inputs and outputs", "many", many, {}),
    groups("an optional input", "many", many, {}, {"biased": True}),
    groups("dynamic shapes", "many", many, {"length": 1}, {"length": 4}),
    groups(
        "JSON and binary callers",
        "many",
        many,
        {},
        {"binary": True},
        {"parameters": BINARY},
        {"binary": True, "parameters": BINARY},
    ),
    groups(
        "requested outputs",
        "many",
        many,
        {},
        {"outputs": []},
        {"outputs": TEXTS_ONLY},
        {"outputs": TWO},
        {"outputs": TWO_FORMS},
    ),
    groups("a version in the path", "picky", numbers, {}, {"path": "versions/1/infer"}),
    groups("no max_batch_size", "plain", numbers, {}, {"binary": True}),
    Scenario("ids", "picky", lambda: numbers(ROWS, 99), lambda: [with_ids()]),
)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda scenario: scenario.title)
def scene(request: pytest.FixtureRequest, triton_server: SideBySide) -> Scene:
    return play(triton_server, request.param)


def test_each_caller_gets_what_it_gets_alone(scene: Scene) -> None:
    scene.check_contents()
    scene.check_ids()


def test_callers_share_calls(scene: Scene) -> None:
    scene.check_batches()
