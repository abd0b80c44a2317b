"""The timer wheel, compared with a dictionary of times under random operations."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from twemproxy.net.timers import CallbackTimer, TimerWheel

NEVER = 2**63 - 1
TICK = 1000
DAY = 24 * 3600 * 1_000_000
# The parameters of the constructors are Cython's, which the type checker does not see.
make_wheel: Any = TimerWheel
make_timer: Any = CallbackTimer

STARTS = st.one_of(st.integers(0, 300_000_000), st.integers(0, 3000 * DAY))
# Around the borders of ticks and of slots of all levels.
WAITS = st.one_of(
    st.integers(-2 * TICK, 200 * TICK),
    st.builds(lambda bits, off: (TICK << bits) + off, st.integers(0, 40), st.integers(-TICK, TICK)),
    st.just(NEVER),
)
STEPS = st.one_of(
    st.integers(0, 3 * TICK),
    st.integers(0, 200 * TICK),
    st.builds(lambda bits, off: max((TICK << bits) + off, 0), st.integers(0, 36), st.integers(-TICK, TICK)),
)
TIMERS = st.integers(0, 9)


def tick_of(at: int) -> int:
    """The first tick at or after a time."""
    return -(-at // TICK)


class Wheel(RuleBasedStateMachine):
    """``times``: of the armed timers. ``due``: those whose time had come when they were armed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.wheel: Any = None
        self.timers: dict[int, Any] = {}
        self.times: dict[int, int] = {}
        self.due: set[int] = set()
        self.fired: list[int] = []
        self.on_fired: dict[int, Callable[[], None]] = {}

    def timer(self, name: int) -> Any:
        if self.wheel is None:
            self.wheel = make_wheel(self.now)
        if name not in self.timers:
            self.timers[name] = make_timer(self.wheel, lambda: self.fire(name))
        return self.timers[name]

    def fire(self, name: int) -> None:
        assert self.timers[name].at == NEVER
        self.fired.append(name)
        del self.times[name]
        self.due.discard(name)
        if name in self.on_fired:
            self.on_fired.pop(name)()

    def note(self, name: int, at: int) -> None:
        """A timer was armed."""
        self.times.pop(name, None)
        self.due.discard(name)
        if at != NEVER:
            self.times[name] = at
            if at <= self.now:
                self.due.add(name)

    @rule(start=STARTS)
    def begin(self, start: int) -> None:
        if self.wheel is None:
            self.now = start

    @rule(name=TIMERS, wait=WAITS)
    def arm(self, name: int, wait: int) -> None:
        at = NEVER if wait == NEVER else max(self.now + wait, 0)
        self.timer(name).arm(at)
        self.note(name, at)

    @rule(name=TIMERS, wait=WAITS)
    def arm_by(self, name: int, wait: int) -> None:
        at = NEVER if wait == NEVER else max(self.now + wait, 0)
        self.timer(name).arm_by(at)
        if at < self.times.get(name, NEVER):
            self.note(name, at)

    @rule(name=TIMERS)
    def cancel(self, name: int) -> None:
        self.timer(name).cancel()
        self.note(name, NEVER)

    @rule(name=TIMERS)
    def drop(self, name: int) -> None:
        self.timers.pop(name, None)
        self.note(name, NEVER)

    @rule(name=TIMERS, other=TIMERS, wait=WAITS)
    def arm_another_when_it_fires(self, name: int, other: int, wait: int) -> None:
        self.on_fired[name] = lambda: self.arm(other, wait)

    @rule(name=TIMERS, other=TIMERS)
    def drop_another_when_it_fires(self, name: int, other: int) -> None:
        if name != other:
            self.on_fired[name] = lambda: self.drop(other)

    @rule(step=STEPS)
    def advance(self, step: int) -> None:
        self.timer(0)
        self.now += step
        self.fired.clear()
        before = dict(self.times)
        due = set(self.due)
        must = {name for name, at in before.items() if name in due or tick_of(at) <= self.now // TICK}
        untouched = must - {name for name in range(10) if self.on_fired}
        self.wheel.advance(self.now)
        assert set(self.fired) <= must
        assert len(set(self.fired)) == len(self.fired)
        assert untouched <= set(self.fired)
        ticks = [0 if name in due else tick_of(before[name]) for name in self.fired]
        assert ticks == sorted(ticks), "timers fire in the order of their ticks"
        assert all(before[name] <= self.now for name in self.fired), "never early"
        # What is left was armed during the call, or is later.
        assert all(name in self.due or tick_of(at) > self.now // TICK for name, at in self.times.items())

    @rule()
    def wait(self) -> None:
        """As the event loop does: wait until there may be something to do."""
        if self.wheel is not None and self.wheel.next_at != NEVER:
            self.advance(max(self.wheel.next_at - self.now, 0))

    @invariant()
    def agrees(self) -> None:
        if self.wheel is None:
            return
        for name, timer in self.timers.items():
            assert timer.at == self.times.get(name, NEVER)
        for name, at in self.times.items():
            assert self.wheel.next_at <= (self.now if name in self.due else tick_of(at) * TICK)


TestWheel = Wheel.TestCase
TestWheel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_timer_fires_once_and_can_be_armed_again() -> None:
    fired: list[object] = []
    wheel = make_wheel(5_000_000)
    timer: Any = make_timer(wheel, lambda: fired.append(timer.at))
    for at in (5_000_001, 5_070_000, 9_000_000):
        timer.arm(at)
        wheel.advance(at - 1)
        assert not fired
        wheel.advance(at + TICK - 1)
        wheel.advance(at + 10 * TICK)
        assert fired == [NEVER]
        fired.clear()


@pytest.mark.parametrize("wait", [50_000, 5_000_000, 600_000_000, DAY, 400 * DAY, 40_000 * DAY])
def test_a_wait_takes_few_calls(wait: int) -> None:
    """As many as there are levels, for a timer that is alone."""
    fired: list[object] = []
    wheel = make_wheel(123_456_789)
    timer = make_timer(wheel, lambda: fired.append(None))
    timer.arm(at := 123_456_789 + wait)
    now = calls = 0
    while not fired:
        calls += 1
        now = wheel.next_at
        wheel.advance(now)
    assert calls <= 7
    assert 0 <= now - at < TICK


def test_thousands_of_timers_that_are_not_due_cost_nothing() -> None:
    """None of them is moved or looked at more often than there are levels."""
    fired: list[object] = []
    wheel = make_wheel(0)
    timers = [make_timer(wheel, lambda: fired.append(None)) for _ in range(10_000)]
    for number, timer in enumerate(timers):
        timer.arm(10_000_000 + number)
    one = make_timer(wheel, lambda: fired.append(1))
    one.arm(1000)
    wheel.advance(1000)
    assert fired == [1]
    assert wheel.next_at > 1000 * TICK
    wheel.advance(10_000_000 + 10_000)
    assert len(fired) == 10_001


def test_an_exception_leaves_the_other_timers_to_the_next_call() -> None:
    fired: list[object] = []
    wheel = make_wheel(0)

    def fail() -> None:
        raise ValueError("a defect")

    timers = [
        make_timer(wheel, callback) for callback in (fail, lambda: fired.append(1), fail, lambda: fired.append(2))
    ]
    for timer in timers:
        timer.arm(1000)
    for _ in range(2):
        with pytest.raises(ValueError, match="a defect"):
            wheel.advance(1000)
    wheel.advance(1000)
    assert fired == [1, 2]
    assert wheel.next_at == NEVER


def test_a_timer_that_arms_itself_for_now_fires_once_per_call() -> None:
    fired: list[object] = []
    wheel = make_wheel(0)

    def again() -> None:
        fired.append(None)
        timer.arm(1000)

    timer: Any = make_timer(wheel, again)
    timer.arm(1000)
    for count in range(1, 4):
        wheel.advance(1000)
        assert len(fired) == count
        assert wheel.next_at <= 1000


def test_who_is_gone_gets_no_timer() -> None:
    class Owner:
        def __init__(self) -> None:
            self.timer = make_timer(wheel, self.fire)

        def fire(self) -> None:
            raise AssertionError("it is gone")

    wheel = make_wheel(0)
    owners = [Owner() for _ in range(10)]
    for owner in owners:
        owner.timer.arm(1000)
    del owner
    owners.clear()
    gc.collect()
    wheel.advance(1000)
    assert wheel.next_at == NEVER


def test_arming_allocates_nothing() -> None:
    wheel = make_wheel(0)
    timer = make_timer(wheel, lambda: None)
    before = sys.getallocatedblocks()
    for _ in range(1000):
        timer.arm(1000)
        timer.arm(10_000_000)
        timer.cancel()
    assert sys.getallocatedblocks() - before < 10


def test_the_last_tick() -> None:
    """Times after the last one of the wheel are not out of its bounds."""
    fired: list[object] = []
    wheel = make_wheel(NEVER - 1)
    timer = make_timer(wheel, lambda: fired.append(None))
    timer.arm(NEVER - 1)
    wheel.advance(NEVER - 1)
    assert fired == [None]
    fired.clear()
    wheel = make_wheel(0)
    timer = make_timer(wheel, lambda: fired.append(None))
    timer.arm(NEVER - 1)
    wheel.advance(10**17)
    assert fired == [None]
