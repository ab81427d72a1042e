"""Bytes that came in pieces, read as one."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from batcher_sidecar.codecs.v2 import tensors
from batcher_sidecar.codecs.v2.binary import Rope
from tests.unit.sidecar.codecs.v2.messages import SIZES_BYTES


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(min(cut, len(data)) for cut in cuts)
    return [data[start:stop] for start, stop in zip([0, *ends], [*ends, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 60), max_size=8)


@given(st.binary(max_size=60), CUTS, st.integers(0, 60), st.integers(0, 60))
def test_a_cut_is_what_it_would_be_of_the_whole(
    data: bytes, cuts: list[int], one: int, other: int
) -> None:
    rope = Rope(in_pieces(data, cuts))
    assert rope.size_bytes == len(data)
    start, stop = sorted(min(end, len(data)) for end in (one, other))
    assert b"".join(rope.cut(start, stop)) == data[start:stop]


@given(
    st.binary(max_size=5),
    st.lists(st.lists(st.binary(max_size=5), max_size=3), max_size=4),
    CUTS,
    st.booleans(),
)
def test_strings_end_where_their_lengths_say(
    before: bytes, groups: list[list[bytes]], cuts: list[int], spoilt: bool
) -> None:
    ends = []
    data = before
    for group in groups:
        data += b"".join([struct.pack("<I", len(text)) + text for text in group])
        ends.append(len(data))
    if not groups:
        return
    counts = [len(group) for group in groups]
    rope = Rope(in_pieces(data + b"after", cuts))
    assert rope.string_ends(len(before), len(data), counts) == ends
    for stop in (len(data) + 1, len(data) - 1):
        if spoilt and stop >= len(before):
            assert rope.string_ends(len(before), stop, counts) is None


def test_nothing_is_copied() -> None:
    pieces = [b"abc", b"", b"def"]
    views = Rope(pieces).cut(1, 5)
    assert [view.obj for view in views] == [pieces[0], pieces[2]]
    assert views[0].obj is pieces[0]


def test_every_datatype_has_its_size() -> None:
    assert tensors.SIZES_BYTES == SIZES_BYTES
