"""What callers send to the models of the peers, each with numbers and texts of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tests.peers.kit.messages import BINARY, Message, Tensor, message, tensor
from tests.peers.kit.scenes import SIZES, Scenario
from tests.peers.kit.side_by_side import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "OF_SEVERAL_TENSORS",
    "crowd",
    "every_type",
    "many",
    "numbers",
    "scenario",
    "typed",
    "values",
]

_TEXTS: Final = ("", 'a,b]}"', "é\n\t\\", "\U0001f338", "[[", "plain", "\x00", "x" * 300)


def values(datatype: str, shape: tuple[int, ...], seed: int) -> Any:
    """Numbers of the whole range (of BF16 the bits), or texts."""
    source = np.random.default_rng([seed, *datatype.encode()])
    if datatype == "BYTES":
        return source.choice(np.array(_TEXTS, dtype=np.object_), shape)
    if datatype == "BOOL":
        return source.random(shape) < 0.5
    if datatype in {"FP32", "FP64"}:
        found = source.standard_normal(shape) * 10.0 ** source.integers(-30, 30, shape)
        found.flat[:1] = -0.0
        return found.astype("f4" if datatype == "FP32" else "f8")
    if datatype == "FP16":
        return source.standard_normal(shape).astype("f2")
    kind = np.dtype("uint16" if datatype == "BF16" else datatype.lower())
    limits = np.iinfo(kind)
    return source.integers(limits.min, limits.max, shape, kind, endpoint=True)


def typed(
    rows: int,
    seed: int,
    *,
    datatypes: Iterable[str],
    binary: Iterable[str] = (),
    nested: bool = False,
    dims: Sequence[int] = (2, 3),
    **more: Any,
) -> Message:
    """For the model `types`: an input of each datatype, those named in binary form."""
    inputs = [
        tensor(
            f"IN_{kind}",
            kind,
            values(kind, (rows, *dims), seed),
            binary=kind in binary,
            nested=nested,
        )
        for kind in datatypes
    ]
    return message(inputs, **more)


def many(
    rows: int,
    seed: int,
    *,
    length: int = 2,
    biased: bool = False,
    binary: bool = False,
    **more: Any,
) -> Message:
    """For the models `many` and `told`."""
    inputs: list[Tensor] = [
        tensor("WHOLE", "INT64", positive((rows, 3), seed), binary=binary),
        tensor("REAL", "FP32", values("FP32", (rows, length, 2), seed), binary=binary),
        tensor("TEXT", "BYTES", values("BYTES", (rows, 1), seed), binary=binary),
    ]
    if biased:
        inputs.append(tensor("BIAS", "INT64", values("INT32", (rows, 1), seed), binary=binary))
    return message(inputs, **more)


def numbers(rows: int, seed: int, *, binary: bool = False, **more: Any) -> Message:
    """For the models whose one input is X."""
    return message([tensor("X", "INT64", positive((rows, 4), seed), binary=binary)], **more)


def positive(shape: tuple[int, ...], seed: int) -> Any:
    """Whole numbers of which a few have a sum."""
    return values("UINT64", shape, seed).astype("i8") >> 4 & (1 << 59) - 1


def crowd(make: Any, sizes: Sequence[int] = SIZES, **options: Any) -> list[Message]:
    """One message of each size."""
    return [make(rows, seed, **options) for seed, rows in enumerate(sizes)]


def scenario(
    title: str, model: str, make: Any, *options: dict[str, Any], batched: bool = True
) -> Scenario:
    """As many groups of callers as there are options of `make`, all at once."""
    return Scenario(
        title,
        model,
        lambda: [make(ROWS // 2, 99, **each) for each in options],
        lambda: [crowd(make, **each) for each in options],
        batched,
    )


def every_type(
    title: str, datatypes: Iterable[str], *, batched: bool = True, **options: Any
) -> Scenario:
    """One group that sends every datatype."""
    sent = {"datatypes": tuple(datatypes), **options}
    return scenario(title, "types", typed, sent, batched=batched)


def with_ids(model: str, make: Any) -> Scenario:
    """Callers with an `id` of their own, with the same one, and without."""
    ids = ("1", "1", None, 'q"\\é', "")

    def group() -> list[Message]:
        asked = zip(SIZES, ids, strict=True)
        return [make(rows, seed, request_id=given) for seed, (rows, given) in enumerate(asked)]

    return Scenario("ids", model, lambda: [make(ROWS // 2, 99)], lambda: [group()])


OF_SEVERAL_TENSORS: Final = (
    scenario("several inputs and outputs", "many", many, {}),
    scenario("an optional input", "many", many, {}, {"biased": True}),
    scenario("dynamic shapes", "many", many, {"length": 1}, {"length": 4}),
    scenario(
        "JSON and binary callers",
        "many",
        many,
        {},
        {"binary": True},
        {"parameters": BINARY},
        {"binary": True, "parameters": BINARY},
    ),
)
"""What every server of both forms is asked."""
