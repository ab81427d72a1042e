"""What model servers say of their models."""

import json
from typing import Any

import pytest

from batcher_sidecar.codecs.v2.metadata import obstacle, read_max_batch_size


def told(inputs: Any, outputs: Any) -> bytes:
    return json.dumps({"name": "m", "inputs": inputs, "outputs": outputs}).encode()


def of_shape(*shapes: Any) -> list[dict[str, Any]]:
    return [{"name": "t", "datatype": "FP32", "shape": shape} for shape in shapes]


@pytest.mark.parametrize(
    "metadata",
    [
        told(of_shape([-1, 4], [-1]), of_shape([-1, 3, -1])),
        told([], []),
        told(None, None),
        told(of_shape([], None), of_shape([])),
        told([{}], [{"name": "y", "parameters": {"content_type": "np"}}]),
        b"{}",
        b'{"name":"m","versions":["1"],"platform":"sklearn"}',
    ],
)
def test_variable_or_unknown_first_dimensions_are_no_obstacle(metadata: bytes) -> None:
    assert obstacle(metadata) == ""


@pytest.mark.parametrize("shape", [[1], [4], [0, -1], [4, -1], [-2, 4]])
def test_any_fixed_first_dimension_is_named(shape: list[int]) -> None:
    good = of_shape([-1, 4])
    assert obstacle(told([*good, *of_shape(shape)], good)) == (
        f"input 't' has shape {shape}, not [-1, ...]"
    )
    assert obstacle(told(good, [*good, *of_shape(shape)])) == (
        f"output 't' has shape {shape}, not [-1, ...]"
    )


@pytest.mark.parametrize(
    "metadata",
    [
        b"", b"[]", b"null", b"not found", b'{"inputs":{}}', b'{"inputs":[1]}', b"\xff",
        b'{"inputs":[{"shape":"-1"}]}', b'{"inputs":[{"shape":[null]}]}', b'{"inputs":[',
        b'{"outputs":%b}' % (b"[" * 100_000), b'{"a":%b}' % (b"[" * 100_000),
        b'{"inputs":[{"name":"\xff"}]}',
    ],
    ids=lambda metadata: str(metadata)[:30],
)  # fmt: skip
def test_what_is_no_metadata_says_nothing(metadata: bytes) -> None:
    assert obstacle(metadata) is None


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (b'{"name":"m","max_batch_size":8,"input":[]}', 8),
        (b'{"max_batch_size":0}', 0),
        (b'{"name":"m"}', None),
        (b"{}", None),
        (b"", None),
        (b"not found", None),
        (b'{"max_batch_size":"8"}', None),
        (b'{"max_batch_size":null}', None),
        (b'{"max_batch_size":-1}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_largest_batch_is_read(config: bytes, size: int | None) -> None:
    assert read_max_batch_size(config) == size
