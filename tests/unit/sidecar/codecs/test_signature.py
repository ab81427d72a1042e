"""Which rows may share a call (rule 1), as the keys of requests tell."""

import json
import time
from typing import Any, Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.codecs.v1 import V1Codec, V1Request
from tests.unit.sidecar.codecs.jsontext import LARGE, Tree, render, render_array, spaces, trees

Mode = Literal["shape", "type"]
MODES: Final = pytest.mark.parametrize("mode", ["shape", "type"])
LEAVES: Final[dict[str, st.SearchStrategy[bytes]]] = {
    "number": st.sampled_from([b"0", b"-1", b"1.5", b"2E3", b"9007199254740993"]),
    "string": st.text(st.sampled_from('ab,:[]{}"\\')).map(lambda text: json.dumps(text).encode()),
    "bool": st.sampled_from([b"true", b"false"]),
    "null": st.just(b"null"),
}
SHAPES: Final = st.lists(st.integers(1, 3), max_size=4).map(tuple)


def parse(*rows: bytes, mode: Mode = "shape") -> V1Request:
    return V1Codec(mode).parse(b'{"instances":[%b]}' % b",".join(rows), {})


def alike(first: bytes, second: bytes, mode: Mode = "shape") -> bool:
    """Tell whether two rows may share a call, and whether all that depends on it agrees."""
    same = parse(first, mode=mode).key == parse(second, mode=mode).key
    assert parse(first, second, mode=mode).alone is not same
    assert parse(second, first, mode=mode).alone is not same
    return same


@st.composite
def rows(draw: st.DrawFn, leaf: str, shape: tuple[int, ...]) -> bytes:
    """A row of that shape, with any contents and any white space."""
    if not shape:
        return draw(LEAVES[leaf])
    elements = [draw(rows(leaf, shape[1:])) for _ in range(shape[0])]
    return render_array(elements, lambda: draw(spaces()))


@MODES
@given(data=st.data(), leaf=st.sampled_from(sorted(LEAVES)), shape=SHAPES)
def test_contents_and_white_space_never_count(
    mode: Mode, data: st.DataObject, leaf: str, shape: tuple[int, ...]
) -> None:
    assert alike(data.draw(rows(leaf, shape)), data.draw(rows(leaf, shape)), mode)


@given(data=st.data(), leaf=st.sampled_from(sorted(LEAVES)), shapes=st.tuples(SHAPES, SHAPES))
def test_lengths_count_at_every_level(
    data: st.DataObject, leaf: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    first, second = (data.draw(rows(leaf, shape)) for shape in shapes)
    assert alike(first, second) == (shapes[0] == shapes[1])


@given(data=st.data(), leaf=st.sampled_from(sorted(LEAVES)), shapes=st.tuples(SHAPES, SHAPES))
def test_for_models_that_pad_only_the_depth_counts(
    data: st.DataObject, leaf: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    first, second = (data.draw(rows(leaf, shape)) for shape in shapes)
    assert alike(first, second, "type") == (len(shapes[0]) == len(shapes[1]))


@MODES
@given(data=st.data(), leaves=st.permutations(sorted(LEAVES)), shape=SHAPES)
def test_the_class_of_the_leaves_counts(
    mode: Mode, data: st.DataObject, leaves: list[str], shape: tuple[int, ...]
) -> None:
    first, second = (data.draw(rows(leaf, shape)) for leaf in leaves[:2])
    assert not alike(first, second, mode)


@MODES
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"a":1,"b":"x"}', b'{ "b" : "y,z" , "a" : 2 }'),
        (b'{"a":1}', b'{"\\u0061":2}'),
        (b'{"a":[1,2]}', b'{"a":[ 3,4 ]}'),
        (b'{"a":{"b":"}"}}', b'{"a":{"b":"{"}}'),
        (b"{}", b"{ }"),
        (b"[]", b"[ ]"),
        (b"[{}]", b"[ { } ]"),
        (b'"a"', b'"\\"[1,2],{"'),
        (b'["[[1,2],[3"]', b'["a"]'),
        (b"true", b"false"),
        (b"1", b"-2.5e-3"),
        (b'[{"a":1},{"a":2}]', b'[{"a":3},{"a":4}]'),
    ],
    ids=lambda row: row.decode(),
)
def test_rows_that_may_share(mode: Mode, first: bytes, second: bytes) -> None:
    assert alike(first, second, mode)


@MODES
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"a":1}', b'{"b":1}'),
        (b'{"a":1}', b'{"a":1,"b":1}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":[1]}'),
        (b'{"a":{"b":1}}', b'{"a":{"c":1}}'),
        (b'{"a:n,b":1}', b'{"a":1,"b":1}'),
        (b"{}", b"[]"),
        (b"{}", b'"{}"'),
        (b"[]", b"null"),
        (b"[]", b"[1]"),
        (b"[]", b"[[]]"),
        (b"[{}]", b"[]"),
        (b"[{}]", b"[[]]"),
        (b"[1]", b"1"),
        (b"[1]", b"[[1]]"),
        (b"[1]", b'["1"]'),
        (b'[{"a":1}]', b'[{"b":1}]'),
        (b'[{"a":1}]', b'{"a":1}'),
        (b"1", b'"1"'),
        (b"null", b'"null"'),
        (b"true", b"1"),
    ],
    ids=lambda row: row.decode(),
)
def test_rows_that_may_not_share(mode: Mode, first: bytes, second: bytes) -> None:
    assert not alike(first, second, mode)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"[1]", b"[1,2]"),
        (b'["a"]', b'["a","b"]'),
        (b'{"a":[1]}', b'{"a":[1,2]}'),
        (b'[{"a":1}]', b'[{"a":1},{"a":1}]'),
        (b"[[1,2,3,4]]", b"[[1,2],[3,4]]"),
        (b"[[1],[2],[3],[4]]", b"[[1,2],[3,4]]"),
        (b"[[],[]]", b"[[]]"),
    ],
    ids=lambda row: row.decode(),
)
def test_lengths_count_unless_the_model_pads(first: bytes, second: bytes) -> None:
    assert not alike(first, second, "shape")
    assert alike(first, second, "type")


@MODES
@given(trees(), st.data())
def test_white_space_does_not_count_in_any_row(mode: Mode, tree: Tree, data: st.DataObject) -> None:
    assert alike(render(tree, bytes), render(tree, lambda: data.draw(spaces())), mode)


@MODES
@given(data=st.data(), shapes=st.lists(st.tuples(*[st.integers(1, 3)] * 3), min_size=1, max_size=3))
def test_large_requests_are_judged_alike(
    mode: Mode, data: st.DataObject, shapes: list[tuple[int, ...]]
) -> None:
    made = [data.draw(rows("number", shape)) for shape in shapes]
    large = parse(*made[:-1], LARGE + made[-1], mode=mode)
    assert large.instances == len(shapes)
    assert large.alone == (mode == "shape" and len(set(shapes)) > 1)
    if not large.alone:
        assert large.key == parse(made[0] + LARGE, mode=mode).key


@pytest.mark.parametrize("mode", ["shape", "type"])
def test_large_requests_of_other_shapes_do_not_share(mode: Mode) -> None:
    shapes = [b"[[1,2],[3,4]]", b"[[1,2,3,4]]", b"[[1],[2],[3],[4]]", b"[[[1,2],[3,4]]]"]
    keys = {parse(LARGE + row, mode=mode).key for row in shapes}
    assert len(keys) == (4 if mode == "shape" else 2)


@MODES
@pytest.mark.parametrize("row", [b"[[[1]]]", b"[[[1,2]]]", b"[[[[1]]],[[[1]]]]", b"[[[[[1]]]]]"])
def test_levels_of_one_element_count_whatever_the_size_of_the_body(mode: Mode, row: bytes) -> None:
    assert parse(row, mode=mode).key == parse(LARGE + row, mode=mode).key


@MODES
@pytest.mark.parametrize("other", [b"[]", b"[[]]", b"[1]", b'[["a"]]', b"[{}]", b"1"])
def test_a_large_request_whose_own_rows_differ_travels_alone(mode: Mode, other: bytes) -> None:
    assert parse(LARGE + b"[[1]]", other, mode=mode).alone
    assert parse(LARGE + other, b"[[1]]", mode=mode).alone


def test_a_request_whose_own_rows_differ_anywhere_travels_alone() -> None:
    assert parse(b"[1]", b"[1]", b"[1,2]").alone
    assert parse(b"[1]", b"[1,2]", b"[1]").alone
    assert not parse(b"[1]", b"[2]", b"[3]").alone
    assert not parse(b"[1]", b"[1,2]", b"[1]", mode="type").alone


@pytest.mark.parametrize("depth", [15, 16, 17, 40])
@pytest.mark.parametrize("leaf", [b"1", b'"a"'])
def test_deep_rows_have_a_signature_too(depth: int, leaf: bytes) -> None:
    row = b"[" * depth + leaf + b"]" * depth
    assert alike(row, row.replace(b"[", b" [ ").strip())


HOSTILE: Final[dict[str, Any]] = {
    "strings": b"[%b]" % b",".join([b'"[,{"'] * 160_000),
    "empty arrays": b"[%b]" % b",".join([b"[]"] * 330_000),
    "empty objects": b"[%b]" % b",".join([b"{}"] * 330_000),
    "deep, then long": b"[" * 15 + b",".join([b'""'] * 330_000) + b"]" * 15,
    "deep objects, then long": b'{"a":' * 15 + b'"' + b"," * 1_000_000 + b'"' + b"}" * 15,
    "many names": b"{%b}" % b",".join([b'"%d":1' % number for number in range(100_000)]),
    "names of objects": b"{%b}" % b",".join([b'"%d":{"":{}}' % n for n in range(70_000)]),
    "ends that are none": b"[" * 16 + b"1,%b" % b",".join([b"[" * 14 + b"]" * 14] * 34_000)
    + b"]" * 16,
    "ends far apart": b"[" * 16 + b"1" + (b" " * 62_000 + b"]") * 16,
    "ends that are far and none": b"[" * 16 + b"1,"
    + b",".join([b"[" * 13 + (b" " * 2000 + b"]") * 13] * 38) + b"]" * 16,
    "openings far apart": (b"[" + b" " * 62_000) * 16 + b"1" + b"]" * 16,
    "steps": b"[" * 15 + b"1" + b"".join([b"]" * n + b"," + b"[" * n for n in range(1, 15)] * 4500)
    + b"1" + b"]" * 15,
}  # fmt: skip


@MODES
@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_is_judged_in_bounded_time(name: str, mode: Mode) -> None:
    row = HOSTILE[name]
    assert len(row) > 900_000
    started_s = time.process_time()
    parse(row, mode=mode)
    assert time.process_time() - started_s < 5
