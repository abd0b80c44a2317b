"""The slow log of a pool in one worker."""

from twemproxy.proxy.slow_log import LENGTH, MOST_PER_SECOND, SECOND, SlowLog


class Replies:
    """The reply queue of a client."""

    def client_address(self) -> str:
        return "10.0.0.1:7"


def test_the_time_of_writing_is_added() -> None:
    log, replies = SlowLog(), Replies()
    log.name_of = {3: "get"}.__getitem__
    log.note(replies, 3, [b"GET", b"k"], "one", 5, 20_000, now=100_000)
    [noted] = log.requests
    assert (noted.command, noted.server, noted.client, noted.whole) == ("get", "one", "10.0.0.1:7", 20_005)
    log.note_written(replies, 103_000)
    assert (noted.writing, noted.whole) == (3_000, 23_005)
    assert not log.unwritten


def test_a_closed_client_is_forgotten() -> None:
    log, replies = SlowLog(), Replies()
    log.note(replies, 0, [], "one", 5, 20_000, now=0)
    log.forget(replies)
    assert not log.unwritten
    assert len(log.requests) == 1


def test_a_request_of_the_proxy_has_no_client() -> None:
    log = SlowLog()
    log.note(object(), 0, [], "one", 5, 20_000, now=0)
    assert not log.unwritten
    assert log.requests[0].client == ""


def test_the_latest_requests_are_kept() -> None:
    log = SlowLog()
    for number in range(LENGTH + 10):
        log.note_late(number, "", 1, 2)
    assert [noted.command for noted in log.requests] == [str(number) for number in range(10, LENGTH + 10)]
    log.clear()
    assert not log.requests


def test_few_requests_per_second_are_noted() -> None:
    log = SlowLog()
    begin = 50 * SECOND
    assert [log.has_room(begin) for _ in range(MOST_PER_SECOND + 2)] == [True] * MOST_PER_SECOND + [False] * 2
    assert log.has_room(begin + SECOND)
