"""The sample of keys finds those with the most requests, with bounded errors."""

import random

import pytest

from twemproxy.proxy.hot_keys import SECONDS, HotKeys

SECOND = 1_000_000


def offered(hot_keys: HotKeys, keys: list[bytes], seconds: float, size: int = 10, begin: int = SECOND) -> int:
    """Offer requests for these keys, spread over so many seconds; returns when the last one was."""
    now = begin
    for number, key in enumerate(keys):
        now = begin + int(number * seconds * SECOND / len(keys))
        hot_keys.sample(key, size, now)
    return now


def test_few_requests_are_all_counted() -> None:
    hot_keys = HotKeys()
    now = offered(hot_keys, [b"a"] * 30 + [b"b"] * 20 + [b"c"] * 10, 0.05)
    rows = hot_keys.top(2, now)
    assert [key for key, *_ in rows] == [b"a", b"b"]
    assert [round(requests * SECONDS) for _, requests, *_ in rows] == [30, 20]
    assert [round(size * SECONDS) for _, _, _, size, _ in rows] == [300, 200]
    assert [error for _, _, error, *_ in rows] == [0, 0]


def test_hot_keys_are_found_among_many() -> None:
    chance = random.Random(7)
    keys = [b"cold:%d" % chance.randrange(100_000) for _ in range(180_000)]
    keys += [b"warm"] * 5_000 + [b"hot"] * 15_000
    chance.shuffle(keys)
    hot_keys = HotKeys()
    now = offered(hot_keys, keys, 2)
    (first, requests, *_), (second, fewer, *_) = hot_keys.top(2, now)
    assert (first, second) == (b"hot", b"warm")
    assert 0.5 < requests * SECONDS / 15_000 < 1.5
    assert 0.4 < fewer * SECONDS / 5_000 < 2


def test_a_pattern_of_the_requests_is_not_met() -> None:
    """Each key has the same share, although every hundredth request is for the same one."""
    hot_keys = HotKeys()
    now = offered(hot_keys, [b"k%d" % (number % 100) for number in range(400_000)], 4)
    requests = [requests for _, requests, *_ in hot_keys.top(100, now)]
    assert len(requests) == 100
    assert max(requests) < 4 * sum(requests) / len(requests)


def test_counts_fall_by_half_when_there_are_no_requests() -> None:
    hot_keys = HotKeys()
    now = offered(hot_keys, [b"a"] * 40, 0.01)
    [(_, requests, *_)] = hot_keys.top(1, now)
    [(_, later, *_)] = hot_keys.top(1, now + 10 * SECOND)
    assert later == pytest.approx(requests / 2, rel=0.01)
    assert hot_keys.top(1, now + 100 * SECOND) == []
    offered(hot_keys, [b"b"], 1, begin=now + 10_000 * SECOND)
    assert [key for key, *_ in hot_keys.top(9, now + 10_000 * SECOND)] == [b"b"]


def test_long_keys_are_cut() -> None:
    hot_keys = HotKeys()
    now = offered(hot_keys, [b"x" * 100_000], 1)
    [(key, *_)] = hot_keys.top(1, now)
    assert key == b"x" * 512


def test_the_number_of_keys_is_bounded() -> None:
    hot_keys = HotKeys()
    now = offered(hot_keys, [b"%d" % number for number in range(10_000)], 0.001)
    assert len(hot_keys.top(1000, now)) <= 255
