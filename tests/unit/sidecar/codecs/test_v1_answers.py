"""Dividing a model server's answer among the members of a batch (rule 11)."""

import json
import re
import time
from typing import Any, Final

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batcher_sidecar.codecs import Unsplittable
from tests.unit.sidecar.codecs.jsontext import (
    SCALARS,
    elements_of,
    fields_of,
    objects,
    render_array,
    render_object,
    spacer,
    strictly,
    values,
)
from tests.unit.sidecar.codecs.v1bytes import BATCH_ID, CODEC

FEWER: Final = settings(max_examples=60)
NAMES: Final = st.sampled_from(["model_name", "ids", "é", "", 'a"b'])


def answers(answer: bytes, counts: list[int]) -> list[list[tuple[str, bytes]]]:
    """Divide an answer, and take apart what each caller gets."""
    parts, _ = CODEC.split(answer, counts)
    return [fields_of(part) for part in parts]


def reunited(pieces: list[Any]) -> tuple[dict[str, bytes], int]:
    """Put pieces together; return the caller's fields, and how many were lost."""
    part, dropped = CODEC.reunite(pieces)
    texts = msgspec.json.decode(part, type=dict[str, msgspec.Raw])
    return {name: bytes(raw) for name, raw in texts.items()}, dropped


@st.composite
def fields(draw: st.DrawFn, length: int) -> dict[str, bytes]:
    """Fields beside the predictions: scalars, objects, arrays as long as the batch or not."""
    exact = st.lists(values(), min_size=length, max_size=length)
    array = (exact | st.lists(values(), max_size=6)).map(lambda rows: render_array(rows, bytes))
    return draw(st.dictionaries(NAMES, SCALARS | array | objects(), max_size=4))


@st.composite
def answered(draw: st.DrawFn) -> tuple[bytes, list[list[bytes]], dict[str, bytes]]:
    """An answer, the predictions of each member, and the fields beside them."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    members = [draw(st.lists(values(), min_size=size, max_size=size)) for size in sizes]
    space = spacer(draw)
    rows = render_array([row for own in members for row in own], space)
    others = draw(fields(sum(sizes)))
    listed = [(json.dumps(name).encode(), value) for name, value in others.items()]
    listed.insert(draw(st.integers(0, len(listed))), (b'"predictions"', rows))
    answer = space() + render_object(listed, space) + space()
    return answer, members, others


@FEWER
@given(answered())
def test_every_caller_gets_its_rows_under_the_fields_of_the_batch(
    made: tuple[bytes, list[list[bytes]], dict[str, bytes]],
) -> None:
    answer, members, _ = made
    for own, rows in zip(answers(answer, [len(rows) for rows in members]), members, strict=True):
        assert [name for name, _ in own[:3]] == ["message", "batchId", "predictions"]
        assert own[0][1] == b'""'
        assert own[1][1] == b'"%b"' % BATCH_ID
        assert elements_of(own[2][1]) == rows


@FEWER
@given(answered())
def test_a_lone_member_gets_all_other_fields(
    made: tuple[bytes, list[list[bytes]], dict[str, bytes]],
) -> None:
    answer, members, others = made
    count = sum(len(rows) for rows in members)
    [own] = answers(answer, [count])
    assert dict(own[3:]) == others
    assert len(own[3:]) == len(others)
    assert CODEC.split(answer, [count])[1] == 0


@FEWER
@given(answered())
def test_several_share_scalars_divide_arrays_and_lose_the_rest(
    made: tuple[bytes, list[list[bytes]], dict[str, bytes]],
) -> None:
    answer, members, others = made
    assume(len(members) > 1)
    counts = [len(rows) for rows in members]
    expected: list[dict[str, list[bytes]]] = [{} for _ in members]
    dropped = 0
    for name, value in others.items():
        elements = elements_of(value) if value[:1] == b"[" else []
        if value[:1] not in b"[{":
            for own in expected:
                own[name] = [value]
        elif len(elements) == sum(counts):
            for own, count in zip(expected, counts, strict=True):
                own[name], elements = elements[:count], elements[count:]
        else:
            dropped += 1
    assert CODEC.split(answer, counts)[1] == dropped
    for fields_of_one, own in zip(answers(answer, counts), expected, strict=True):
        got = {
            name: elements_of(value) if value[:1] == b"[" else [value]
            for name, value in fields_of_one[3:]
        }
        assert got == own


@FEWER
@given(st.data(), st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_pieces_unite_arrays_in_order_and_keep_other_fields_of_the_last(
    data: st.DataObject, sizes: list[int]
) -> None:
    rows: list[bytes] = []
    ids: list[bytes] = []
    parts: list[Any] = []
    last = b""
    for size in sizes:
        own, own_ids = (
            data.draw(st.lists(values(), min_size=size, max_size=size)) for _ in range(2)
        )
        last = data.draw(SCALARS | objects())
        piece = b'{"ids":%b,"predictions":%b,"last":%b}' % (
            render_array(own_ids, bytes),
            render_array(own, bytes),
            last,
        )
        parts += CODEC.split(piece, [size], piece=True)[0]
        rows += own
        ids += own_ids
    got, dropped = reunited(parts)
    assert dropped == 0
    assert elements_of(got["predictions"]) == rows
    assert elements_of(got["ids"]) == ids
    assert got["last"] == last


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'"classes":["a","b","c"]', b'"classes":["a","b","c"]'),
        (b'"classes":["a","b"]', b'"classes":["a"]'),
        (b'"classes":["a","b"]', b'"classes":[]'),
        (b'"classes":[[1],[2]]', b'"classes":[[1],[2],[3]]'),
        (b'"classes":["a","b"]', b'"classes":"a"'),
        (b'"classes":{}', b'"classes":["a","b"]'),
        (b'"classes":["a","b"]', b'"other":1'),
    ],
)
def test_an_array_that_is_not_as_long_as_each_piece_is_lost(one: bytes, other: bytes) -> None:
    for first, second in ((one, other), (other, one)):
        parts: list[Any] = []
        for field in (first, second):
            answer = b'{"predictions":[1,2],"kept":[3,4],%b}' % field
            parts += CODEC.split(answer, [2], piece=True)[0]
        got, dropped = reunited(parts)
        assert dropped == 1
        assert "classes" not in got
        assert got["kept"] == b"[3,4,3,4]"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_pieces_are_reunited_from_any_depth_of_the_stack(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"

    def deeper(frames: int, parts: list[Any]) -> object:
        return deeper(frames - 1, parts) if frames else CODEC.reunite(parts)

    for depth in range(850, 1000):
        deep = opening * depth + b"1" + closing * depth
        try:
            parts, _ = CODEC.split(b'{"predictions":[%b],"a":[%b]}' % (deep, deep), [1], piece=True)
        except Unsplittable:
            continue
        assert deeper(50, [*parts, *parts])


@pytest.mark.parametrize("length", [0, 1, 2, 4, 6])
def test_an_array_that_is_not_as_long_as_the_batch_is_lost(length: int) -> None:
    answer = b'{"predictions":[1,2,3],"ids":%b}' % json.dumps([0] * length).encode()
    assert CODEC.split(answer, [1, 2])[1] == 1
    assert all("ids" not in dict(own) for own in answers(answer, [1, 2]))


def test_the_names_of_a_batcher_behind_us_give_way_to_ours() -> None:
    answer = b'{"message":"x","batchId":"y","predictions":[1,2],"message":"z"}'
    for counts in ([2], [1, 1]):
        for own in answers(answer, counts):
            assert [name for name, _ in own] == ["message", "batchId", "predictions"]
            assert own[0][1] == b'""'
            assert own[1][1] == b'"%b"' % BATCH_ID


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"predictions":[1]}', "1 predictions for 2 instances"),
        (b'{"predictions":[1,2,3]}', "3 predictions for 2 instances"),
        (b'{"predictions":[]}', "0 predictions for 2 instances"),
        (b'{"predictions":[1,2],"predictions":[3]}', "1 predictions for 2 instances"),
        (b'{"outputs":[1,2]}', "no `predictions`"),
        (b'{"Predictions":[1,2]}', "no `predictions`"),
        (b"{}", "no `predictions`"),
        (b'{"predictions":null}', "no JSON object with `predictions`"),
        (b'{"predictions":{"0":1,"1":2}}', "no JSON object with `predictions`"),
        (b'{"predictions":"12"}', "no JSON object with `predictions`"),
        (b"[1,2]", "no JSON object with `predictions`"),
        (b'"predictions"', "no JSON object with `predictions`"),
        (b"null", "no JSON object with `predictions`"),
        (b"", "no JSON object with `predictions`"),
        (b"<html>Internal Server Error</html>", "no JSON object with `predictions`"),
        (b'{"predictions":[1,2]', "no JSON object with `predictions`"),
        (b'{"predictions":[1,2]}}', "no JSON object with `predictions`"),
        (b'{"predictions":[1,NaN]}', "no JSON object with `predictions`"),
        (b'{"predictions":[1,2],"score":Infinity}', "no JSON object with `predictions`"),
        (b'{"predictions":[1,2,]}', "no JSON object with `predictions`"),
        (b'{"predictions":[1,"\xff"]}', "no JSON object with `predictions`"),
        (b'\xef\xbb\xbf{"predictions":[1,2]}', "no JSON object with `predictions`"),
        (b"\x1f\x8b\x08\x00", "no JSON object with `predictions`"),
        (b'{"predictions":%b' % (b"[" * 100_000), "no JSON object with `predictions`"),
        (b'{"predictions":[1,2],"a":%b' % (b"[" * 100_000), "no JSON object with `predictions`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_answer_that_cannot_be_divided_says_why(answer: bytes, words: str) -> None:
    for counts in ([1, 1], [2]):
        with pytest.raises(Unsplittable, match=re.escape(words)):
            CODEC.split(answer, counts)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_whatever_the_depth_an_answer_is_divided_or_refused(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for depth in range(500, 1100):
        deep = opening * depth + b"1" + closing * depth
        for count in (1, 2):
            rows = b",".join([deep] * count)
            try:
                CODEC.split(b'{"predictions":[%b],"a":[%b]}' % (rows, rows), [1] * count)
            except Unsplittable:
                continue


@FEWER
@given(answered(), st.data())
def test_damaged_answers_are_refused_or_divided_whole(
    made: tuple[bytes, list[list[bytes]], dict[str, bytes]], data: st.DataObject
) -> None:
    answer, members, _ = made
    start = data.draw(st.integers(0, len(answer)))
    stop = data.draw(st.integers(start, min(len(answer), start + 4)))
    damaged = answer[:start] + data.draw(st.binary(max_size=3)) + answer[stop:]
    try:
        parts, _ = CODEC.split(damaged, [len(rows) for rows in members])
    except Unsplittable as error:
        assert str(error)
        return
    whole = strictly(damaged)
    assert isinstance(whole, dict)
    rows: list[object] = []
    for part in parts:
        own = strictly(part)
        assert isinstance(own, dict)
        rows += own["predictions"]
    assert rows == whole["predictions"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"predictions":[%b]}' % b",".join([b"[1]"] * 250_000),
        b'{"predictions":[%b]%b}' % (
            b",".join([b"1"] * 1000), b"".join([b',"%d":1' % number for number in range(200)]),
        ),
    ],
    ids=["many rows", "many fields"],
)  # fmt: skip
def test_a_large_answer_is_divided_in_bounded_time(answer: bytes) -> None:
    count = len(elements_of(dict(fields_of(answer))["predictions"]))
    started_s = time.process_time()
    CODEC.split(answer, [1] * count)
    assert time.process_time() - started_s < 5
