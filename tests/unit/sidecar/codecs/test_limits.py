"""What bounds the cost of a request gives the same results as the plain way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher_sidecar.codecs.limits import demand_utf8, digest

MIB = 1 << 20


def outcome(text: bytes | bytearray) -> int | None:
    """Where this is no UTF-8, or None if it is."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@settings(max_examples=40)
@given(
    st.integers(MIB - 8, MIB + 2) | st.integers(0, 20),
    st.binary(max_size=8) | st.text(min_size=3, max_size=8).map(str.encode),
    st.sampled_from([b"", b"a" * 20, b"a" * (MIB + 20)]),
)
def test_texts_of_any_length_are_judged_as_wholes(before: int, middle: bytes, after: bytes) -> None:
    text = bytearray(b"a" * before + middle + after)
    expected = outcome(text)
    if expected is None:
        demand_utf8(text)
        return
    with pytest.raises(UnicodeDecodeError) as caught:
        demand_utf8(text)
    assert caught.value.start == expected


@pytest.mark.parametrize("letter", ["\u00e9", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("shift", range(4))
def test_letters_may_lie_across_the_places_where_a_text_is_cut(letter: str, shift: int) -> None:
    demand_utf8(b"a" * shift + letter.encode() * MIB)


def test_bytes_that_continue_nothing_are_no_text() -> None:
    for start in (0, MIB - 2, MIB):
        with pytest.raises(UnicodeDecodeError) as caught:
            demand_utf8(b"a" * start + b"\x80" * (2 * MIB))
        assert caught.value.start == start


def test_what_differs_has_another_digest() -> None:
    keys = [
        ("a", b"b"), ("a", "b"), ("ab", b""), (("a",), b"b"), ("a", (b"b",)), ("a", b"b", ()),
        ("a', b'b",), (1, "1"), ("1", 1), ("1, 1",), ("", b"ab"),
    ]  # fmt: skip
    assert len({digest(key) for key in keys}) == len(keys)
    assert {len(digest(key)) for key in keys} == {32}
    assert digest(("a", b"b")) == digest(("a", b"b"))
