"""The event loop as the control plane uses it: readable descriptors, a time to wake up, and contained defects."""

import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from twemproxy.net.event_loop import CallbackAction, CallbackChannel, EventLoop
from twemproxy.net.timers import CallbackTimer

READ_SIZE = 16384
NEVER = 2**63 - 1
# The parameters of its constructor are Cython's, which the type checker does not see.
make_loop: Any = EventLoop
make_timer: Any = CallbackTimer


@pytest.fixture
def defects() -> list[Exception]:
    return []


@pytest.fixture
def loop(defects: list[Exception]) -> EventLoop:
    made: EventLoop = make_loop(defects.append, READ_SIZE)
    return made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def watch(loop: EventLoop, sock: socket.socket, callback: Callable[[], object]) -> CallbackChannel:
    channel = CallbackChannel(sock.fileno(), callback)
    loop.watch_reads(channel)
    return channel


def armed(loop: EventLoop, wait: int) -> Any:
    """A timer that wakes the loop after ``wait`` microseconds."""
    timer = make_timer(loop.timers, lambda: None)
    timer.arm(loop.now + wait)
    return timer


def test_a_readable_descriptor_is_told_of(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read: list[bytes] = []
    watch(loop, ours, lambda: read.append(ours.recv(100)))
    theirs.send(b"one")
    assert loop.run_once() == 1
    theirs.send(b"two")
    assert loop.run_once() == 1
    assert read == [b"one", b"two"]


def test_it_is_told_again_until_it_reads(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    told: list[None] = []
    watch(loop, ours, lambda: told.append(None))
    theirs.send(b"x")
    for count in range(1, 4):
        assert (loop.run_once(), len(told)) == (1, count)


def test_a_watched_channel_is_kept_alive(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read: list[bytes] = []
    watch(loop, ours, lambda: read.append(ours.recv(100)))
    gc.collect()
    theirs.send(b"x")
    loop.run_once()
    assert read == [b"x"]


def test_a_forgotten_channel_is_not_told(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    told: list[None] = []
    channel = watch(loop, ours, lambda: told.append(None))
    theirs.send(b"x")
    loop.forget_channel(channel)
    loop.forget_channel(channel)
    timer = armed(loop, 0)
    assert loop.run_once() == 0
    assert (told, timer.at) == ([], NEVER)


def test_one_of_a_batch_may_make_the_loop_forget_the_others(loop: EventLoop) -> None:
    """The first callback makes the loop forget all channels; their descriptors could be closed and reused."""
    pairs = [socket.socketpair() for _ in range(10)]
    told: list[int] = []
    channels: list[CallbackChannel] = []

    def forget_all() -> None:
        told.append(1)
        while channels:
            loop.forget_channel(channels.pop())

    channels += [watch(loop, ours, forget_all) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.send(b"x")
    assert loop.run_once() == 10
    assert told == [1]
    timer = armed(loop, 0)
    assert (loop.run_once(), timer.at) == (0, NEVER)
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_a_defect_is_reported_and_disturbs_nobody(loop: EventLoop, defects: list[Exception]) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    told: list[int] = []

    def callback(number: int) -> None:
        told.append(number)
        if number == 1:
            raise ValueError("number one")

    for number, (ours, theirs) in enumerate(pairs):
        watch(loop, ours, partial(callback, number))
        theirs.send(b"x")
    assert loop.run_once() == 3
    assert sorted(told) == [0, 1, 2]
    assert [str(defect) for defect in defects] == ["number one"]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_the_loop_wakes_when_asked(loop: EventLoop) -> None:
    for wait in (30_000, -1_000_000):
        timer = armed(loop, wait)
        at = timer.at
        while timer.at != NEVER:
            assert loop.run_once() == 0
        assert loop.now >= at


def test_timers_fire_after_everything_was_flushed(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    told: list[str] = []
    timer = make_timer(loop.timers, lambda: told.append("timer"))

    def read() -> None:
        ours.recv(100)
        timer.arm(loop.now)
        told.append("channel")

    watch(loop, ours, read)
    theirs.send(b"x")
    assert loop.run_once() == 1
    assert told == ["channel", "timer"], "in the same turn"


def test_a_clock_that_jumps_fires_timers(loop: EventLoop) -> None:
    timer = armed(loop, 3_600_000_000)
    before = loop.now
    loop.clock.advance(3_600_000_000)
    loop.run_once()
    assert timer.at == NEVER
    assert 0 <= loop.now - before - 3_600_000_000 < 1_000_000


def test_a_descriptor_that_cannot_be_watched(loop: EventLoop) -> None:
    number = os.dup(0)
    os.close(number)
    with pytest.raises(OSError, match="epoll_ctl"):
        loop.watch_reads(CallbackChannel(number, lambda: None))


def test_the_loop_closes_what_it_opened() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    loops = [make_loop(lambda defect: None, READ_SIZE) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    loops.clear()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fresh_pool_of_blocks_holds_nothing(loop: EventLoop) -> None:
    assert loop.blocks.allocated == 0
    assert loop.blocks.trim() == 0
    assert loop.blocks.read_size >= READ_SIZE


def test_the_clock_stands_still_while_a_turn_takes_too_long(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The time of a long turn does not count towards the timeouts of peers."""
    ours, theirs = pair

    def work() -> None:
        ours.recv(100)
        time.sleep(0.3)

    watch(loop, ours, work)
    theirs.send(b"x")
    loop.run_once()
    before, began = loop.now, time.monotonic()
    theirs.send(b"x")
    loop.run_once()
    timer = armed(loop, 0)
    loop.run_once()
    assert timer.at == NEVER
    assert time.monotonic() - began >= 0.3
    assert 0 <= loop.now - before < 200_000


def test_the_clock_goes_on_while_the_loop_waits(loop: EventLoop) -> None:
    before = loop.now
    timer = armed(loop, 300_000)
    while timer.at != NEVER:
        loop.run_once()
    assert loop.now - before >= 300_000


def test_the_action_of_each_turn_is_done_after_the_wait_and_before_anything_is_read(
    loop: Any, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    events: list[str] = []
    watch(loop, ours, lambda: events.append(ours.recv(100).decode()))
    loop.at_turn = CallbackAction(lambda: events.append("at turn"))
    for _ in range(2):
        theirs.send(b"read")
        loop.run_once()
    assert events == ["at turn", "read"] * 2
    wait = 5000
    timer = armed(loop, wait)
    began = loop.now
    times: list[int] = []
    loop.at_turn = CallbackAction(lambda: times.append(loop.now))
    while timer.at != NEVER:
        loop.run_once()
    assert times[0] - began >= wait


def test_a_defect_of_the_action_of_each_turn_is_reported_and_the_turn_goes_on(
    loop: Any, pair: tuple[socket.socket, socket.socket], defects: list[Exception]
) -> None:
    ours, theirs = pair
    read: list[bytes] = []
    watch(loop, ours, lambda: read.append(ours.recv(100)))
    loop.at_turn = CallbackAction(lambda: 1 // 0)
    theirs.send(b"one")
    loop.run_once()
    assert read == [b"one"]
    assert [type(defect) for defect in defects] == [ZeroDivisionError]


def test_an_action_runs_once_after_everything_of_its_turn(loop: EventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    events: list[str] = []
    action = CallbackAction(lambda: events.append("action"))

    def callback(ours: socket.socket) -> None:
        events.append("channel")
        ours.recv(100)
        loop.defer_action(action)

    for ours, theirs in pairs:
        watch(loop, ours, partial(callback, ours))
        theirs.send(b"x")
    assert loop.run_once() == 3
    assert events == ["channel"] * 3 + ["action"]
    pairs[0][1].send(b"x")
    loop.run_once()
    assert events[4:] == ["channel", "action"]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_an_action_that_is_deferred_between_turns_does_not_wait(loop: EventLoop) -> None:
    events: list[str] = []
    loop.defer_action(CallbackAction(lambda: events.append("action")))
    assert loop.run_once() == 0
    assert events == ["action"]


def test_actions_run_whatever_others_raise(loop: EventLoop, defects: list[Exception]) -> None:
    events: list[int] = []

    def run(number: int) -> None:
        events.append(number)
        if number == 1:
            raise ValueError("number one")

    for number in range(3):
        loop.defer_action(CallbackAction(partial(run, number)))
    loop.run_once()
    assert events == [0, 1, 2]
    assert [str(defect) for defect in defects] == ["number one"]


def test_what_actions_defer_does_not_keep_the_loop_from_its_channels(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Each turn runs the actions that the one before it deferred, and does not wait."""
    ours, theirs = pair
    events: list[str] = []
    actions: list[CallbackAction] = []

    def again() -> None:
        events.append("action")
        loop.defer_action(actions[0])

    actions.append(CallbackAction(again))
    watch(loop, ours, lambda: events.append(ours.recv(100).decode()))
    loop.defer_action(actions[0])
    loop.run_once()
    theirs.send(b"x")
    loop.run_once()
    loop.run_once()
    assert events == ["action", "x", "action", "action"]
