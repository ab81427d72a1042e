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
        ([2, 2], [["a", "b"]]),
        ([1, 2], [["\\", "\\"], ["\\", "\\"]]),
        ([2, 2, 1], [[["a"], ["b"]]]),
        ([2, 2, 1], [[["a"], ["b"]], [["c"]]]),
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


INTEGERS: Final = ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]


@pytest.mark.parametrize("shape", [b"[2]", b"[2,1]"])
@pytest.mark.parametrize("value", [b"4.5", b"1.0", b"1e3", b"1E3", b"1e999", b"-2.5e-7"])
def test_fractions_and_exponents_are_for_floats_alone(shape: bytes, value: bytes) -> None:
    data = b"[1,%b]" % value if shape == b"[2]" else b"[[1],[%b]]" % value
    for datatype in (*INTEGERS, "BOOL"):
        assert reason(body(tensor(shape, data, datatype))) == "tensors"
    for datatype in ("FP16", "BF16", "FP32", "FP64"):
        assert reason(body(tensor(shape, data, datatype))) is None


def test_signs_are_for_signed_datatypes_alone() -> None:
    for datatype in INTEGERS:
        expected = "tensors" if datatype.startswith("U") else None
        assert reason(body(tensor([2], [1, -2], datatype))) == expected
        assert reason(body(tensor([2], [1, 2], datatype))) is None


@pytest.mark.parametrize("datatype", [*INTEGERS, "FP32"])
@pytest.mark.parametrize("value", [True, False, None])
def test_words_are_no_numbers(datatype: str, value: Any) -> None:
    assert reason(body(tensor([2], [1, value], datatype))) == "tensors"


def test_a_bool_is_true_or_false_or_as_much() -> None:
    assert reason(body(tensor([4], [True, False, 1, 0], "BOOL"))) is None
    for data in (b"[true,null]", b"[true,2]", b"[true,-1]", b"[true,1e0]", b"[1,0e1]", b"[0.0,1]"):
        assert reason(body(tensor([2], data, "BOOL"))) == "tensors"


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


def filled(template: bytes, unit: bytes, size_bytes: int = 4 << 20) -> bytes:
    """A request with as many of the unit as make up this size."""
    return template % b",".join([unit] * (size_bytes // (len(unit) + 1)))


BESIDE: Final = body(GOOD, more=b",%b")
STRINGS: Final = blob([1 << 16], "BYTES", 1 << 18)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (body(blob([1 << 24], "BYTES", 1 << 26)), bytes(1 << 26)),
        (body(*[STRINGS] * 100), bytes(100 << 18)),
        (body(tensor([1 << 20], b'["",' + b'"",' * ((1 << 20) - 2) + b'""]', "BYTES")), b""),
        (body(*[tensor([1 << 15], [""] * (1 << 15), "BYTES")] * 20), b""),
        (filled(body(tensor([1, 1], b"[%b]", "BYTES")), b'[""]'), b""),
        (filled(body(tensor([1, 1], b"[%b]", "BYTES")), b'["\\\\"]'), b""),
        (filled(body(tensor([1, 1], b"[%b]", "BYTES")), b"[]", 3 << 20), b""),
        (body(tensor([1, 1 << 20], b"[[" + b"1," * ((1 << 20) - 1) + b"1]]")), b""),
        (body(tensor([1 << 20, 1], b"[" + b"[1]," * ((1 << 20) - 1) + b"[1]]")), b""),
        (body(*[tensor([1], [1])] * 20_000), b""),
        (filled(body(b"%b"), tensor([1], [1], parameters={"a": 1})), b""),
        (filled(body(tensor(b"[%b]", [1])), b"257"), b""),
        (body(GOOD, more=b"," + b",".join([b'"%d":1' % n for n in range(200_000)])), b""),
        (filled(BESIDE % b'"outputs":[%b]', b"{}"), b""),
        (filled(BESIDE % b'"outputs":[%b]', b"{}", 60_000), b""),
        (filled(BESIDE % b'"outputs":[{"a":[%b]}]', b"{}"), b""),
        (filled(BESIDE % b'"parameters":{"a":[%b]}', b"[]"), b""),
        (filled(BESIDE % b'"own":[%b]', b"{}"), b""),
        (filled(BESIDE % b'"own":[%b],"id":"\\u0061"', b"{}"), b""),
        (filled(body(GOOD[:-1] + b',"parameters":{"a":[%b]}}'), b"{}"), b""),
        (filled(BESIDE % b'"id":"%b"', b"a"), b""),
        (filled(BESIDE % b'"model_name":[%b]', b"[]"), b""),
    ],
    ids=lambda value: value[:30].decode() if value[:1] == b"{" else str(len(value)),
)
def test_any_request_is_judged_in_bounded_time(text: bytes, data: bytes) -> None:
    headers = {HEADER.encode(): b"%d" % len(text)} if data else {}
    started_s = time.process_time()
    try:
        parsed = CODEC.parse(text + data, headers)
    except Bypass as bypass:
        assert bypass.reason in ("tensors", "form")
    else:
        for start in range(0, parsed.instances, 512):
            CODEC.join([parsed], (start, min(start + 512, parsed.instances)))
    assert time.process_time() - started_s < 2


def test_what_stands_beside_data_is_bounded() -> None:
    for size_bytes, expected in ((60_000, None), (70_000, "form")):
        long = b"a" * size_bytes
        for more in (b'"id":"%b"', b'"own":"%b"', b'"model_name":"%b"', b'"parameters":{"a":"%b"}'):
            assert reason(BESIDE % (more % long)) == expected
        assert reason(body(GOOD[:-1] + b',"parameters":{"a":"%b"}}' % long)) == expected
        assert reason(body(tensor([1], ["a" * size_bytes], "BYTES"))) is None
        assert reason(body(GOOD, more=b" " * size_bytes)) == expected
    one = b'{"name":"x","shape":[1],"datatype":"INT8","data":[1]}'
    for count, expected in ((1024, None), (1025, "form")):
        assert reason(body(*[one] * count)) == expected
        assert reason(filled(BESIDE % b'"outputs":[%b]', b"{}", 3 * count)) == expected
    for count, expected in ((64, None), (65, "form")):
        own = b",".join([b'"%d":1' % number for number in range(count)])
        assert reason(BESIDE % own) == expected


def test_strings_are_counted_over_all_tensors() -> None:
    half = 1 << 15
    texts = tensor([half], [""] * half, "BYTES")
    assert reason(body(texts, texts)) is None
    assert reason(body(texts, tensor([half], [1] * half), texts)) is None
    assert reason(body(texts, texts, texts)) == "tensors"
    text = body(texts, blob([half], "BYTES", 4 * half), texts)
    assert reason(text + bytes(4 * half), json_bytes=b"%d" % len(text)) == "tensors"


@pytest.mark.parametrize("letter", ["a", "\U0001f600"])
def test_long_strings_are_told_from_what_is_none(letter: str) -> None:
    long = letter * 1_100_000
    for shape, data in (([2], [long, "b"]), ([2, 1], [[long], ["b"]])):
        written = json.dumps(data, ensure_ascii=False).encode()
        assert reason(body(tensor(shape, written, "BYTES"))) is None
        for wrong in (b"1", b"null", b'["c"]', b'"b","c"'):
            assert reason(body(tensor(shape, written.replace(b'"b"', wrong), "BYTES"))) == "tensors"


@pytest.mark.parametrize("more", [b"", b',"outputs":[{"name":"%b"}]', b',"own":"%b"'])
def test_keys_are_short_and_differ_all_the_same(more: bytes) -> None:
    keys = set()
    for letter in (b"a", b"b"):
        for length in (10, 100, 1000, 20_000):
            long = letter * length
            own = more % long if more else b',"parameters":{"a":"%b"}' % long
            keys.add(CODEC.parse(body(GOOD, more=own), {}).key)
            named = GOOD[:-1] + b',"parameters":{"a":"%b"}}' % long
            keys.add(CODEC.parse(body(named), {}).key)
            keys.add(CODEC.parse(body(GOOD.replace(b'"x"', b'"%b"' % long)), {}).key)
    keys.add(CODEC.parse(body(*[GOOD] * 500), {}).key)
    assert len(keys) == 25
    assert max(len(repr(key)) for key in keys) < 2000


def test_an_id_of_any_length_is_no_part_of_the_key() -> None:
    own = b',"parameters":{"a":"%b"}' % (b"a" * 940)
    keys = {
        CODEC.parse(body(GOOD, more=own + b',"id":"%b"' % (b"7" * length)), {}).key
        for length in (1, 50, 500, 5000)
    }
    assert len(keys) == 1


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
