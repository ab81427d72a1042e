"""Dividing answers of the Open Inference Protocol: what is each one's, and what is refused."""

import json
import struct
from typing import Any, Final

import pytest

from batcher_sidecar.codecs import Content, NotByRows, Unsplittable
from batcher_sidecar.codecs.v2 import V2Codec, V2Request

CODEC: Final = V2Codec()
BATCH_ID: Final = b"0e6f4c1e-6a3c-4d05-9d40-1ac1b0f3a3c9"
LINES: Final = b"Content-Type: application/json\r\n"


def members(*counts: int) -> list[V2Request]:
    return [V2Request(b"", -1, [], ((), b""), count, b"") for count in counts]


def output(data: Any, shape: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "y", "datatype": "FP32", "shape": shape, **fields, "data": data}


def answer(*outputs: Any, **fields: Any) -> bytes:
    return json.dumps({"model_name": "m", **fields, "outputs": outputs}).encode()


def divided(body: bytes, *counts: int) -> list[Any]:
    """The outputs that each caller gets."""
    parts, _ = CODEC.split(Content([body]), members(*counts), BATCH_ID)
    assert all(lines == LINES for lines, _ in parts)
    return [json.loads(own)["outputs"] for _, own in parts]


@pytest.mark.parametrize(
    ("data", "shape", "parts"),
    [
        ([1, 2, 3], [3], [[1], [2, 3]]),
        ([[1], [2], [3]], [3, 1], [[[1]], [[2], [3]]]),
        ([1, 2, 3], [3, 1], [[1], [2, 3]]),
        ([1, 2, 3, 4, 5, 6], [3, 2], [[1, 2], [3, 4, 5, 6]]),
        (["a", "b,c", "]["], [3], [["a"], ["b,c", "]["]]),
        (["a", "b", "c", "d", "e", "["], [3, 2], [["a", "b"], ["c", "d", "e", "["]]),
        ([["a", "b"], ["c", "d"], ["e", "f"]], [3, 2], [[["a", "b"]], [["c", "d"], ["e", "f"]]]),
        ([[1], [2, 3], [4, 5, 6]], [3, 2], [[[1]], [[2, 3], [4, 5, 6]]]),
        ([[], [], []], [3, 0], [[[]], [[], []]]),
        ([[], []], [3, 0], None),
        ([1], [3, 0], None),
        ([], [3, 0], [[], []]),
        ([None, True, 0], [3], [[None], [True, 0]]),
        (list(range(60)), [3, 20], [list(range(20)), list(range(20, 60))]),
        ([1], [3], None),
        ([1, 2, 3, 4], [3], None),
        ([], [3], None),
        ([[1], [2]], [3, 1], None),
        ([1, 2, 3, 4, 5], [3, 2], None),
        (["a", "b", "c", "d"], [3, 2], None),
        (list(range(59)), [3, 20], None),
        ([1, 2, 3], [3, -1], None),
        ([1, 2, 3], [3, 1, 1 << 63], None),
        (5, [3], None),
        ("abc", [3], None),
        ("1,2,3", [3], None),
        ({"a": 1}, [3], None),
    ],
    ids=str,
)
def test_json_data_is_cut_by_rows(data: Any, shape: Any, parts: Any) -> None:
    body = answer(output(data, shape))
    if parts is None:
        with pytest.raises(Unsplittable):
            divided(body, 1, 2)
        return
    for [own], wanted, rows in zip(divided(body, 1, 2), parts, (1, 2), strict=True):
        assert own["data"] == wanted
        assert own["shape"] == [rows, *shape[1:]]


@pytest.mark.parametrize("shape", [[1], [2], [4], [1, 3], [], [-1], [4, 3]])
def test_a_first_dimension_that_is_not_the_batch_is_told_apart(shape: list[int]) -> None:
    good = output([1, 2, 3], [3])
    for outputs in ([output([1], shape)], [good, output([1], shape)]):
        with pytest.raises(NotByRows, match="for 3 rows"):
            divided(answer(*outputs), 1, 2)


@pytest.mark.parametrize("more", [{}, {"b": 1.5}])
def test_a_size_beside_data_says_nothing(more: dict[str, Any]) -> None:
    for parameters in ({"binary_data_size": 8, **more}, {**more, "binary_data_size": 8}):
        own = output([1, 2], [2], parameters=parameters)
        for [part], wanted in zip(divided(answer(own), 1, 1), ([1], [2]), strict=True):
            assert part == {**own, "shape": [1], "data": wanted, "parameters": more}


def test_data_of_null_is_none() -> None:
    text = answer(output(None, [2], parameters={"binary_data_size": 8, "b": 1}))
    content = Content([text + bytes(range(8))], b"%d" % len(text))
    parts, _ = CODEC.split(content, members(1, 1), BATCH_ID)
    assert [own[-4:] for _, own in parts] == [bytes(range(4)), bytes(range(4, 8))]
    for _, own in parts:
        [part] = json.loads(own[:-4])["outputs"]
        assert part["parameters"] == {"binary_data_size": 4, "b": 1}
    with pytest.raises(Unsplittable):
        divided(answer(output(None, [2])), 1, 1)


def test_the_order_and_the_parameters_of_an_output_stay() -> None:
    first = {"data": [1, 2], "parameters": {"b": 1.50, "a": "x"}, "shape": [2], "datatype": "INT8"}
    [[own], _] = divided(answer({**first, "name": "y", "own": {"k": [1]}}), 1, 1)
    assert list(own.items()) == [
        ("data", [1]), ("parameters", {"b": 1.5, "a": "x"}), ("shape", [1]), ("datatype", "INT8"),
        ("name", "y"), ("own", {"k": [1]}),
    ]  # fmt: skip


def test_scalars_and_parameters_go_to_each_and_other_fields_are_dropped() -> None:
    body = answer(
        output([1, 2], [2]), model_version="1", id="server", n=1.0, own=[1, 2], more={"a": 1},
        parameters={"p": True, "batch_id": "of another batcher"},
    )  # fmt: skip
    parts, dropped = CODEC.split(Content([body]), members(1, 1), BATCH_ID)
    assert dropped == 2
    for _, own in parts:
        fields = json.loads(own)
        del fields["outputs"]
        parameters = {"p": True, "batch_id": BATCH_ID.decode()}
        assert fields == {
            "model_name": "m", "model_version": "1", "n": 1.0, "parameters": parameters,
        }  # fmt: skip


def test_a_lone_caller_gets_all_fields_and_its_batch() -> None:
    body = answer(output([1], [1]), id="server", own=[1, 2], parameters={"batch_id": "x", "p": 1})
    [(lines, own)], dropped = CODEC.split(Content([body]), members(1), BATCH_ID)
    assert (lines, dropped) == (LINES, 0)
    wanted = json.loads(body)
    wanted["parameters"]["batch_id"] = BATCH_ID.decode()
    assert json.loads(own) == wanted


@pytest.mark.parametrize("shape", [[], [1], [4], [3, 2]])
@pytest.mark.parametrize("blob", [b"", b"blob"])
def test_a_lone_caller_gets_what_is_not_by_rows_too(shape: list[int], blob: bytes) -> None:
    text = answer(output([1, 2], [2, 1]), {**output([], shape), "name": "z"})
    content = Content([text[:9], text[9:] + blob], b"%d" % len(text) if blob else None)
    with pytest.raises(NotByRows, match=r"'z' has shape .* for 2 rows") as caught:
        CODEC.split(content, members(2), BATCH_ID)
    assert caught.value.answer is not None
    lines, body = caught.value.answer
    own = body.removesuffix(blob)
    assert (lines == LINES) is not bool(blob)
    assert json.loads(own) == {**json.loads(text), "parameters": {"batch_id": BATCH_ID.decode()}}


@pytest.mark.parametrize("parameters", [b"", b',"parameters":null', b',"parameters":{}'])
def test_an_answer_without_parameters_gets_some(parameters: bytes) -> None:
    body = b'{"outputs":[]%b}' % parameters
    for counts in ((1,), (1, 1)):
        for _, own in CODEC.split(Content([body]), members(*counts), BATCH_ID)[0]:
            assert json.loads(own) == {
                "outputs": [], "parameters": {"batch_id": BATCH_ID.decode()},
            }  # fmt: skip


def test_no_outputs_at_all_are_everybodys() -> None:
    assert divided(answer(), 1, 2) == [[], []]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"outputs":null}', b'{"outputs":{}}', b'{"outputs":[1]}',
        b'{"outputs":[', b'{"outputs":[]}x', b'{"outputs":["\xff"]}', b"\xff",
        b'{"predictions":[1]}', b'{"model_name":"\xff","outputs":[]}',
        b'{"outputs":[],"a":NaN}', b'{"outputs":%b}' % (b"[" * 100_000),
        b'{"outputs":[],"parameters":[]}', b'{"error":"no"}',
    ],
    ids=lambda body: str(body)[:40],
)  # fmt: skip
def test_what_is_no_answer_cannot_be_split(body: bytes) -> None:
    for counts in ((1, 1), (1,)):
        with pytest.raises(Unsplittable) as caught:
            CODEC.split(Content([body]), members(*counts), BATCH_ID)
        assert not isinstance(caught.value, NotByRows)


@pytest.mark.parametrize("missing", ["name", "shape", "datatype", "data"])
def test_an_output_without_one_of_its_fields_cannot_be_split(missing: str) -> None:
    own = output([1, 2], [2])
    del own[missing]
    with pytest.raises(Unsplittable):
        divided(answer(own), 1, 1)


def binary(
    *blobs: tuple[str, list[int], bytes], size: Any = None, more: bytes = b"", length: int = 0
) -> Content:
    """An answer with blobs."""
    outputs = [
        {
            "name": "y", "datatype": datatype, "shape": shape,
            "parameters": {"binary_data_size": len(blob) if size is None else size},
        }
        for datatype, shape, blob in blobs
    ]  # fmt: skip
    text = json.dumps({"outputs": outputs}).encode()
    body = b"".join([text, *[blob for _, _, blob in blobs], more])
    return Content([body], b"%d" % (length or len(text)))


TEXTS: Final = b"".join([struct.pack("<I", len(text)) + text for text in (b"", b"ab", b"c")])


def test_blobs_are_cut_by_rows() -> None:
    content = binary(("FP32", [3, 2], bytes(range(24))), ("BYTES", [3], TEXTS))
    [(lines, own), (_, other)], _ = CODEC.split(content, members(1, 2), BATCH_ID)
    kind, length, end = lines.split(b"\r\n")
    assert (kind, end) == (b"Content-Type: application/octet-stream", b"")
    start = int(length.removeprefix(b"Inference-Header-Content-Length: "))
    sizes = [entry["parameters"] for entry in json.loads(own[:start])["outputs"]]
    assert sizes == [{"binary_data_size": 8}, {"binary_data_size": 4}]
    assert own[start:] == bytes(range(8)) + TEXTS[:4]
    assert other.endswith(bytes(range(8, 24)) + TEXTS[4:])


@pytest.mark.parametrize(
    "content",
    [
        binary(("FP32", [2], bytes(7))),
        binary(("FP32", [2], bytes(9))),
        binary(("FP31", [2], bytes(8))),
        binary(("FP31", [2], b"")),
        binary(("FP32", [2], bytes(8)), more=b"x"),
        binary(("FP32", [2], bytes(8)), size=9),
        binary(("FP32", [2], bytes(8)), size=-8),
        binary(("FP32", [2], bytes(8)), size="8"),
        binary(("FP32", [2], bytes(8)), size=None, length=10_000),
        binary(("BYTES", [2], bytes(8)), size=100),
        binary(("BYTES", [2], b"\4\0\0\0"), size=8),
        binary(("FP32", [2], bytes(8)), length=5),
        binary(("BYTES", [2], TEXTS)),
        binary(("BYTES", [2], TEXTS[:-1])),
        binary(("BYTES", [2], b"\xff\xff\xff\xff\0\0\0\0")),
        Content([b'{"outputs":[]}'], b"0"),
        Content([b'{"outputs":[]}'], b"-1"),
        Content([b'{"outputs":[]}'], b"x"),
        Content([b'{"outputs":[]}'], b"14, 14"),
        Content([], None),
        Content([], b"1"),
    ],
)
def test_blobs_that_disagree_cannot_be_split(content: Content) -> None:
    with pytest.raises(Unsplittable) as caught:
        CODEC.split(content, members(1, 1), BATCH_ID)
    assert not isinstance(caught.value, NotByRows)


@pytest.mark.parametrize("data", ["[]", "[ ]", "[[],[]]"])
def test_outputs_without_elements_are_put_together(data: str) -> None:
    [member] = members(4)
    body = answer(output([], [2, 0, 4])).replace(b"[]}", data.encode() + b"}")
    parts: list[Any] = []
    for rows in ((0, 2), (2, 4)):
        parts += CODEC.split(Content([body]), [member], BATCH_ID, rows)[0]
    (_, whole), _ = CODEC.reunite(parts, member, BATCH_ID)
    [own] = json.loads(whole)["outputs"]
    assert own["shape"] == [4, 0, 4]
    assert own["data"] == json.loads(data) * 2


def test_pieces_that_differ_do_not_fit_together() -> None:
    [member] = members(2)
    whole = answer(output([1], [1]))
    for other in (
        answer(),
        answer(output([1], [1]), output([1], [1])),
        answer(output([1], [1], own=1)),
        answer({**output([1], [1]), "name": "z"}),
        answer({**output([1], [1]), "datatype": "FP64"}),
        answer(output([[1]], [1])),
    ):
        for bodies in ((whole, other), (other, whole)):
            parts: list[Any] = []
            for body in bodies:
                parts += CODEC.split(Content([body]), [member], BATCH_ID, (0, 1))[0]
            with pytest.raises(Unsplittable, match="differ"):
                CODEC.reunite(parts, member, BATCH_ID)


def test_a_piece_is_divided_by_rows_or_not_at_all() -> None:
    with pytest.raises(NotByRows):
        CODEC.split(Content([answer(output([1], [1]))]), members(5), BATCH_ID, (0, 2))
