"""The sample of the access log, and the text of a line."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from twemproxy.proxy.access_line import LONGEST_ERROR, LONGEST_KEY, LONGEST_NAME, first_word, line_of, time_text
from twemproxy.proxy.access_log import AccessLog

ALL = 1 << 53
"""The bound of random numbers for a sample of all requests."""
PIPE_BUF = 4096


def chosen(n: int, below: int) -> Sequence[int]:
    log: Any = AccessLog()
    return list(log.choose(n, below))


def test_all_or_none() -> None:
    assert chosen(10_000, ALL) == list(range(10_000))
    assert chosen(10_000, 0) == []


@pytest.mark.parametrize("share", [0.5, 0.1, 0.001])
def test_a_share(share: float) -> None:
    """Within seven standard deviations: a false failure has a probability below 1e-11."""
    n = 1_000_000
    assert abs(len(chosen(n, round(share * ALL))) - n * share) < 7 * (n * share * (1 - share)) ** 0.5


def test_no_position_in_a_pattern_is_preferred() -> None:
    """Of requests in pipelines of 16, each position gets its share."""
    n, share, period = 1_600_000, 0.1, 16
    counts = [0] * period
    for number in chosen(n, round(share * ALL)):
        counts[number % period] += 1
    each = n // period
    assert max(abs(count - each * share) for count in counts) < 8 * (each * share * (1 - share)) ** 0.5


def test_workers_choose_different_requests() -> None:
    assert chosen(1000, ALL // 2) != chosen(1000, ALL // 2)


def line(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "read_before": 1,
        "pool": "alpha",
        "worker": 1,
        "client": ("127.0.0.1:1", 2),
        "request": ("get", b"k", 1, 20),
        "servers": ["one"],
        "reply": (5, "server", b"", False),
        "times": (1, 2, 3),
        **changes,
    }
    return line_of(*fields.values())


def test_the_longest_line_is_written_in_one_piece() -> None:
    longest = line(
        pool=1000 * "\x00",
        client=("\x01" * 108, 2**32 - 1),
        request=("x" * 64, b"\x00" * 500, 2**31, 2**62),
        servers=[1000 * "\U0010ffff"],
        reply=(2**62, "server", b"\x7f" * LONGEST_ERROR, False),
        times=(2**60, 2**60, 2**60),
    )
    assert len(longest) <= PIPE_BUF
    document = json.loads(longest)
    assert len(document["pool"]) == len(document["server"]) == LONGEST_NAME
    assert len(document["key"]) == LONGEST_KEY


@pytest.mark.parametrize("character", ["\n", "\r", "\x7f", "\x85", "\u2028"])
def test_a_line_is_one_line(character: str) -> None:
    made = line(request=("get", f"a{character}b".encode(), 1, 20))
    assert len(made.decode().splitlines()) == 1
    assert json.loads(made)["key"] == f"a{character}b"


def test_the_time() -> None:
    assert time_text(1_700_000_000_000_042) == "2023-11-14T22:13:20.000042Z"
    assert time_text(1_700_000_001_999_999) == "2023-11-14T22:13:21.999999Z"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (b"-WRONGTYPE Operation against a key\r\n", b"WRONGTYPE"),
        (b"-ERR\r\n", b"ERR"),
        (b"!21\r\nSYNTAX invalid syntax\r\n", b"SYNTAX"),
        (b"SERVER_ERROR out of memory\r\n", b"SERVER_ERROR"),
        (b"ERROR\r\n", b"ERROR"),
        (b"-\r\n", b""),
        (b"-" + 100 * b"X", LONGEST_ERROR * b"X"),
    ],
)
def test_the_first_word_of_an_error(error: bytes, word: bytes) -> None:
    assert first_word(error) == word


def test_names_that_are_no_utf8() -> None:
    made = json.loads(line(pool="\udcff", client=("/run/\udcfe", 1), servers=["\udcfdé"]))
    assert (made["pool"], made["client_address"], made["server"]) == ("\\udcff", "/run/\\udcfe", "\\udcfdé")
