"""Requests in binary form whose blobs are not what they say (and some that are)."""

import struct
from typing import Any

import pytest

from batcher_sidecar.codecs import BadRequest
from tests.unit.sidecar.codecs.v2.messages import HEADER
from tests.unit.sidecar.codecs.v2.spelt import CODEC, GOOD, blob, body, reason, tensor


@pytest.mark.parametrize(
    ("shape", "datatype", "size", "data"),
    [
        ([1, 4], "FP32", 16, bytes(15)),
        ([1, 4], "FP32", 16, bytes(17)),
        ([1, 4], "FP32", 12, bytes(12)),
        ([1, 4], "FP32", 20, bytes(20)),
        ([1, 4], "FP32", 12, bytes(16)),
        ([1, 4], "FP16", 16, bytes(16)),
        ([1, 4], "FP32", -16, bytes(16)),
        ([1, 4], "FP32", 16.0, bytes(16)),
        ([1, 4], "FP32", "16", bytes(16)),
        ([1, 4], "FP32", None, bytes(16)),
        ([1, 4], "FP32", b"1" * 50, bytes(16)),
        ([1, 4], "FP32", 1 << 63, bytes(16)),
        ([-1, -4], "FP32", 16, bytes(16)),
        ([1 << 61, 8], "FP32", 0, b""),
        ([1 << 62, 4], "FP32", 0, b""),
        ([0], "FP32", 0, b""),
        ([1, 4], "FP31", 16, bytes(16)),
        ([2], "BYTES", 8, b"\1\0\0\0a\0\0\0"),
        ([2], "BYTES", 4, b"\0\0\0\0"),
        ([1], "BYTES", 8, bytes(8)),
        ([1], "BYTES", 5, b"\2\0\0\0a"),
        ([1], "BYTES", 5, b"\0\0\0\0a"),
        ([1], "BYTES", 4, b"\xff\xff\xff\xff"),
        ([1], "BYTES", 3, b"\0\0\0"),
        ([1], "BYTES", 8, b"\4\0\0\0"),
        ([2], "BYTES", 8, b"\0\0\0\0"),
        ([2], "BYTES", 8, b""),
        ([1], "BYTES", 0, b""),
        ([1 << 40], "BYTES", 4, bytes(4)),
    ],
    ids=str,
)
def test_blobs_that_disagree_are_not_joined(
    shape: Any, datatype: str, size: Any, data: bytes
) -> None:
    text = body(blob(shape, datatype, size))
    assert reason(text + data, json_bytes=b"%d" % len(text)) == "tensors"


def test_blobs_may_not_borrow_from_one_another() -> None:
    good = blob([1, 4], "FP32", 16)
    for sizes in ((8, 24), (0, 32), (32, 0), (16, 12), (16, 20)):
        text = body(*[blob([1, 4], "FP32", size) for size in sizes])
        assert reason(text + bytes(32), json_bytes=b"%d" % len(text)) == "tensors"
    text = body(good, good)
    assert reason(text + bytes(32), json_bytes=b"%d" % len(text)) is None


def test_without_the_header_there_are_no_blobs() -> None:
    text = body(blob([1, 4], "FP32", 16))
    assert reason(text) == "tensors"
    assert reason(text + bytes(16)) == "json"
    assert reason(body(GOOD, blob([1], "FP32", 0))) == "tensors"


@pytest.mark.parametrize("declared", [b"", b"-1", b"+5", b"x", b"1.0", b"5, 5", b"0x5", b"05"])
def test_a_length_that_is_no_number_is_refused(declared: bytes) -> None:
    with pytest.raises(BadRequest, match="is no number"):
        CODEC.parse(body(GOOD), {HEADER.encode(): declared})


def test_a_length_beyond_the_body_is_refused() -> None:
    text = body(GOOD)
    with pytest.raises(BadRequest, match="but the body has"):
        CODEC.parse(text, {HEADER.encode(): b"%d" % (len(text) + 1)})
    assert reason(text, json_bytes=b"%d" % len(text)) is None
    assert reason(text, json_bytes=b"%d" % (len(text) - 1)) == "json"
    assert reason(text, json_bytes=b"0") == "raw"


def test_a_size_that_is_named_twice_is_left_to_the_model_server() -> None:
    sizes = b'{"binary_data_size":8,"binary_data_size":16}'
    text = body(blob([1, 4], "FP32", 16).replace(b'{"binary_data_size":16}', sizes))
    assert reason(text + bytes(16), json_bytes=b"%d" % len(text)) == "form"


def test_a_request_of_several_forms_reads_each() -> None:
    strings = struct.pack("<I", 3) + b"abc"
    text = body(GOOD, blob([1, 1], "BYTES", 7), tensor([1, 1], [[7]]), blob([1], "UINT8", 1))
    parsed = CODEC.parse(text + strings + b"\7", {HEADER.encode(): b"%d" % len(text)})
    assert [key[4] for key in parsed.tensors] == ["flat", "binary", "nested", "binary"]
    assert [own if isinstance(own, list) else bytes(own) for own in parsed.data] == [
        b"[1, 2, 3, 4]", [strings], b"[[7]]", [b"\7"],
    ]  # fmt: skip
