"""Text of numbers: as Python writes them, and nothing outside of the rows is read."""

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.stats.histograms import BUCKETS, WORDS
from twemproxy.stats.text import Seconds, fill, fill_histogram

WORD = st.one_of(
    st.integers(min_value=0, max_value=(1 << 64) - 1),
    st.integers(min_value=0, max_value=100),
    st.sampled_from([10**power + more for power in range(19) for more in (-1, 0, 1)]),
)
ITEM = st.one_of(st.binary(max_size=20), st.none(), st.integers(0, 3), st.integers(0, 3).map(Seconds))


def in_seconds(microseconds: int) -> bytes:
    whole, rest = divmod(microseconds, 1_000_000)
    return f"{whole}.{f'{rest:06}'.rstrip('0') or '0'}".encode()


def expected(template: list[bytes | int | None], name: bytes, row: list[int]) -> bytes:
    parts = []
    for item in template:
        if item is None:
            parts.append(name)
        elif isinstance(item, bytes):
            parts.append(item)
        else:
            parts.append(in_seconds(row[item]) if isinstance(item, Seconds) else str(row[item]).encode())
    return b"".join(parts)


@given(st.lists(ITEM, max_size=8), st.lists(st.tuples(st.binary(max_size=9), *[WORD] * 4), max_size=5))
def test_a_template_is_filled_in_for_every_row(
    template: list[bytes | int | None], rows: list[tuple[bytes, int, int, int, int]]
) -> None:
    names, numbers = [name for name, *_ in rows], [numbers for _, *numbers in rows]
    words = array("Q", [number for row in numbers for number in row])
    made = [expected(template, name, row) for name, row in zip(names, numbers, strict=True)]
    assert fill(tuple(template), names, words, 4) == b"".join(made)
    needed = [text for text, row in zip(made, numbers, strict=True) if row[2]]
    assert fill(tuple(template), names, words, 4, 2) == b"".join(needed)


@pytest.mark.parametrize("microseconds", [0, 1, 10, 999_999, 1_000_000, 1_500_000, 1_796_146_788_123_456])
def test_seconds_are_the_same_number_as_a_division_gives(microseconds: int) -> None:
    made = fill((Seconds(0),), [b""], array("Q", [microseconds]), 1)
    assert float(made) == microseconds / 1_000_000
    assert made == in_seconds(microseconds)


@pytest.mark.parametrize(
    ("template", "words", "width", "needed"),
    [
        pytest.param((2,), [1, 2], 2, -1, id="a place behind the row"),
        pytest.param((-1,), [1, 2], 2, -1, id="a place before the row"),
        pytest.param((Seconds(2),), [1, 2], 2, -1, id="seconds behind the row"),
        pytest.param((1 << 40,), [1, 2], 2, -1, id="far away"),
        pytest.param((0,), [1, 2], 2, 2, id="the number that rows need is behind the row"),
        pytest.param((0,), [1], 2, -1, id="fewer numbers than the row has"),
        pytest.param((0,), [1, 2, 3], 2, -1, id="more numbers than the row has"),
        pytest.param((0,), [], -1, -1, id="a negative width"),
    ],
)
def test_what_is_outside_of_the_rows_is_an_error(
    template: tuple[int, ...], words: list[int], width: int, needed: int
) -> None:
    with pytest.raises(IndexError):
        fill(template, [b"name"], array("Q", words), width, needed)


@pytest.mark.parametrize("name", ["text", None, 1])
def test_a_name_that_is_not_bytes_is_an_error(name: object) -> None:
    with pytest.raises(TypeError):
        fill((None,), [name], array("Q", [1]), 1)


def test_an_item_that_is_no_number_is_an_error() -> None:
    with pytest.raises(TypeError):
        fill(("text",), [b""], array("Q", [1]), 1)


@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 1 << 50), max_size=8), WORD)
def test_a_histogram_has_the_buckets_with_values(buckets: dict[int, int], total: int) -> None:
    words = array("Q", [buckets.get(bucket, 0) for bucket in range(BUCKETS)] + [total])
    assert len(words) == WORDS
    shown = {str(bucket): buckets[bucket] for bucket in sorted(buckets)}
    made = json.dumps({"count": sum(shown.values()), "total_us": total, "buckets": shown}, separators=(",", ":"))
    assert fill_histogram(words) == made.encode()


def test_a_histogram_without_a_sum_is_an_error() -> None:
    assert fill_histogram(array("Q", [0])) == b'{"count":0,"total_us":0,"buckets":{}}'
    with pytest.raises(IndexError):
        fill_histogram(array("Q"))
