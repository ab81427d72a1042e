"""What is not joined: each is left to the model server, or refused where it cannot be framed."""

import json
import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.codecs import Bypass
from tests.unit.sidecar.codecs.v2.messages import HEADER, Form, Tensor, plain, templates, write
from tests.unit.sidecar.codecs.v2.spelt import CODEC, GOOD, blob, body, reason, tensor

DEEP: Final = b"[" * 100_000 + b"1" + b"]" * 100_000


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1, 4], [1, 2, 3, 4, 5, 6, 7, 8]),
        ([1, 4], []),
        ([1, 4], [[]]),
        ([1, 4], [[1, 2, 3]]),
        ([1, 4], [[1, 2], [3, 4]]),
        ([2, 2], [[1, 2, 3], [4]]),
        ([2, 2], [[1, 2], 3, 4]),
        ([2, 2], [1, 2, [3, 4]]),
        ([2, 2], [[[1, 2], [3, 4]]]),
        ([2, 2], [[[1], [2]], [[3], [4]]]),
        ([2, 2, 2], [[1, 2, 3, 4], [5, 6, 7, 8]]),
        ([2, 1, 2], [[[1, 2], [3, 4]]]),
        ([2, 1], [[1], []]),
        ([2, 1], [[], [1]]),
        ([2, 1], b"[[1],[ ]]"),
        ([1, 1], [[]]),
        ([1], []),
        ([1], b"[ ]"),
        ([1], 5),
        ([1], "5"),
        ([1], {"a": 5}),
        ([1], None),
        ([2], [1, {"a": 2}]),
        ([2], [1, "2"]),
        ([3], ["1,2"]),
        ([1], [None]),
        ([2], [1, True]),
        ([1, 2], [[False, 1]]),
        ([2], [[1], [2]]),
        ([0], []),
        ([0, 4], []),
        ([1, 0], [[]]),
        ([], [1]),
        ([], 1),
        ([-1, 4], [1, 2, 3, 4]),
        ([-1, -4], [1, 2, 3, 4]),
        ([-2, -2], [[1, 2], [3, 4]]),
        ([1 << 64, 4], [1, 2, 3, 4]),
        ([1 << 32, 1 << 32], [1, 2, 3, 4]),
        ([1 << 62, 4], [1, 2, 3, 4]),
        ([1] * 17, [1]),
        ([1] * 10_000, [1]),
    ],
    ids=str,
)
def test_shape_and_data_that_disagree_are_not_joined(shape: Any, data: Any) -> None:
    assert reason(body(tensor(shape, data))) == "tensors"
    assert reason(body(GOOD, tensor(shape, data))) == "tensors"


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([1, 2], ["a"]),
        ([1, 2], [["a"]]),
        ([1, 2], [["a"], ["b"]]),
        ([2, 2], [["a", "b"], ["c"]]),
        ([2, 1], [["a"], "b"]),
        ([2], ["a", 1]),
        ([2], ["a", ["b"]]),
        ([2], ["a", None]),
        ([1], []),
        ([1], "a"),
        ([2, 1], [[["a"]], [["b"]]]),
        ([1 << 40], ["a"]),
    ],
    ids=str,
)
def test_strings_that_disagree_with_their_shape_are_not_joined(shape: Any, data: Any) -> None:
    assert reason(body(tensor(shape, data, "BYTES"))) == "tensors"


def test_a_bool_is_true_or_false_or_a_number() -> None:
    assert reason(body(tensor([3], [True, False, 1], "BOOL"))) is None
    assert reason(body(tensor([3], [True, False, None], "BOOL"))) == "tensors"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"[]", "form"),
        (b"{}", "form"),
        (b'{"inputs":[]}', "form"),
        (b'{"inputs":{}}', "form"),
        (b'{"inputs":null}', "form"),
        (b'{"inputs":[null]}', "form"),
        (body(GOOD) + b"x", "json"),
        (body(b"\xff" + GOOD), "json"),
        (body(tensor([1], b'["\xff"]', "BYTES")), "json"),
        (body(tensor([1], b'["\\ud800"]', "BYTES")), "surrogate"),
        (body(tensor([1], b"[NaN]")), "nan"),
        (body(tensor([1], b"[-Infinity]")), "nan"),
        (body(tensor([1], DEEP)), "nesting"),
        (body(GOOD, more=b',"own":' + DEEP), "nesting"),
        (body(GOOD, more=b',"id":7'), "form"),
        (body(GOOD, more=b',"id":["a"]'), "form"),
        (body(GOOD, more=b',"parameters":[]'), "form"),
        (body(GOOD, more=b',"parameters":1'), "form"),
        (body(GOOD, more=b',"outputs":{}'), "form"),
        (body(GOOD, more=b',"outputs":[1]'), "form"),
        (body(GOOD, more=b',"outputs":[{"parameters":1}]'), "form"),
        (body(tensor([1.0], [1])), "form"),
        (body(tensor(["1"], [1])), "form"),
        (body(tensor([True], [1])), "form"),
        (body(tensor(b"[1e0]", [1])), "form"),
        (body(tensor(b"[%b]" % (b"9" * 5000), [1])), "tensors"),
        (body(tensor(None, [1])), "form"),
        (body(tensor([1], [1], own=1)), "form"),
        (body(b'{"name":"x","datatype":"FP32","data":[1]}'), "form"),
        (body(b'{"shape":[1],"datatype":"FP32","data":[1]}'), "form"),
        (body(b'{"name":7,"shape":[1],"datatype":"FP32","data":[1]}'), "tensors"),
        (body(b'{"name":"x","shape":[1],"datatype":"FP32"}'), "tensors"),
        (body(tensor([1], [1], "fp32")), "tensors"),
        (body(tensor([1], [1], "STRING")), "tensors"),
        (body(GOOD, tensor([2], [1, 2])), "tensors"),
        (body(tensor([1], [1], parameters={"binary_data_size": 4})), "tensors"),
        (body(tensor([1], [1], parameters={"binary_data_size": 0})), "tensors"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_has_another_form_is_left_to_the_model_server(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize(
    "name",
    [
        "sequence_id", "sequence_start", "sequence_end", "priority", "timeout",
        "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset",
    ],
)  # fmt: skip
def test_parameters_of_one_caller_alone_forbid_batching(name: str) -> None:
    escaped = "".join([f"\\u{ord(letter):04x}" for letter in name])
    for spelt in (name, escaped):
        parameters = b'{"a":1,"%b":0}' % spelt.encode()
        outputs = b',"outputs":[{"name":"y"},{"name":"z","parameters":%b}]' % parameters
        own = GOOD[:-1] + b',"parameters":%b}' % parameters
        for _ in range(2):  # judgements are remembered
            assert reason(body(GOOD, more=b',"parameters":' + parameters)) == "parameters"
            assert reason(body(GOOD, more=outputs)) == "parameters"
            assert reason(body(own)) == "parameters"
    assert reason(body(GOOD, more=b',"parameters":{"my_%b":0}' % name.encode())) is None
    assert reason(body(GOOD, more=b',"parameters":{"a":"%b"}' % name.encode())) is None


def test_long_parameters_are_judged_too() -> None:
    padding = b'"%b":1' % (b"a" * 5000)
    for name in (b"timeout", b"binary_data_size"):
        own = GOOD[:-1] + b',"parameters":{%b,"%b":1}}' % (padding, name)
        assert reason(body(own)) in ("parameters", "tensors")
    parameters = b',"parameters":{%b,"timeout":1}' % padding
    assert reason(body(GOOD, more=parameters)) == "parameters"


@given(templates(), st.data())
def test_one_element_more_or_less_is_noticed(template: Any, data: st.DataObject) -> None:
    draw: Any = data.draw
    tensors: list[Tensor] = template.fill(draw, draw(st.integers(1, 3)))
    index = draw(st.integers(0, len(tensors) - 1))
    tensors[index] = Padded(tensors[index], draw(st.sampled_from([-1, 1, 2])))
    text, headers = write(tensors)
    with pytest.raises(Bypass) as caught:
        CODEC.parse(text, headers)
    assert caught.value.reason in ("tensors", "json")


class Padded(Tensor):
    """A tensor that claims other dimensions than its data has."""

    def __init__(self, tensor: Tensor, more: int) -> None:
        form: Form = "binary" if tensor.form == "binary" else "flat"
        rows = tensor.rows
        elements = tensor.elements + tensor.elements[:1] * more
        if more < 0:
            elements = tensor.elements[:more]
        super().__init__(
            tensor.name, tensor.datatype, tensor.tail, form, elements, tensor.parameters
        )
        object.__setattr__(self, "_rows", rows)

    @property
    def rows(self) -> int:
        rows: int = object.__getattribute__(self, "_rows")
        return rows


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (body(blob([1 << 24], "BYTES", 1 << 26)), bytes(1 << 26)),
        (body(tensor([1 << 20], b'["",' + b'"",' * ((1 << 20) - 2) + b'""]', "BYTES")), b""),
        (body(tensor([1, 1 << 20], b"[[" + b"1," * ((1 << 20) - 1) + b"1]]")), b""),
        (body(tensor([1 << 20, 1], b"[" + b"[1]," * ((1 << 20) - 1) + b"[1]]")), b""),
        (body(*[tensor([1], [1])] * 20_000), b""),
        (body(GOOD, more=b"," + b",".join([b'"%d":1' % n for n in range(200_000)])), b""),
    ],
    ids=["string blob", "strings", "numbers", "columns", "inputs", "fields"],
)
def test_any_request_is_judged_in_bounded_time(text: bytes, data: bytes) -> None:
    headers = {HEADER.encode(): b"%d" % len(text)} if data else {}
    started_s = time.process_time()
    try:
        CODEC.parse(text + data, headers)
    except Bypass as bypass:
        assert bypass.reason in ("tensors", "form")
    assert time.process_time() - started_s < 2


def test_strings_within_bounds_are_joined() -> None:
    count = 60_000
    text = body(blob([count], "BYTES", 4 * count))
    headers = {HEADER.encode(): b"%d" % len(text)}
    assert CODEC.parse(text + bytes(4 * count), headers).instances == count
    assert CODEC.parse(body(tensor([count], ["a,b"] * count, "BYTES")), {}).instances == count


@pytest.mark.parametrize(
    "twice",
    [
        b'{"inputs":[%b],"inputs":[%b]}' % (tensor([1], [1]), GOOD),
        b'{"inputs":[%b],"\\u0069nputs":[%b]}' % (tensor([1], [1]), GOOD),
        body(GOOD[:-1] + b',"shape":[1,4]}'),
        body(GOOD[:-1] + b',"sh\\u0061pe":[1,4]}'),
        body(GOOD[:-1] + b',"data":[1,2,3,4]}'),
        body(GOOD[:-1] + b',"d\\u0061ta":[1,2,3,4]}'),
        body(GOOD[:-1] + b',"datatype":"FP32"}'),
        body(GOOD[:-1] + b',"datat\\u0079pe":"FP32"}'),
        body(GOOD, more=b',"a\\u0061":1,"\\u0061a":1'),
    ],
)
def test_a_field_that_is_named_twice_is_left_to_the_model_server(twice: bytes) -> None:
    assert json.loads(twice)["inputs"][-1]["shape"] == [1, 4]
    assert reason(twice) == "form"


@pytest.mark.parametrize("name", ["shape", "data", "inputs", "datatype", "é", "\n"])
def test_names_of_fields_may_stand_elsewhere(name: str) -> None:
    texts = tensor([2], [name, f'"{name}":1'], "BYTES")
    assert reason(body(texts, more=b',"parameters":{%b:%b}' % (plain(name), plain(name)))) is None
    assert reason(body(GOOD.replace(b'"x"', plain(name)), GOOD)) is None


def test_long_requests_with_fields_of_their_own_are_batched() -> None:
    numbers = tensor([1, 200_000], [0.5] * 200_000)
    for more in (b',"model_name":"m"', b',"own":{"a":"b"},"id":"7"', b',"parameters":{"a":"b"}'):
        assert reason(body(numbers, more=more)) is None
        assert reason(body(numbers, more=more + more)) == "form"


def test_long_requests_in_which_names_may_be_hidden_are_left_alone() -> None:
    texts = tensor([1], ["\u00e9" * 50_000], "BYTES")
    assert reason(body(texts)) == "form"
    assert reason(body(texts.replace(b"\\u00e9", b"ee"))) is None


def test_an_id_of_null_is_none() -> None:
    assert CODEC.parse(body(GOOD, more=b',"id":null'), {}).id == b""
