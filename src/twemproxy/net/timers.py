"""Timers in a hierarchical timer wheel, one wheel per event loop.

Compiled-only. Arming, re-arming and cancelling a timer take constant time and allocate nothing. Timers fire in the
order of their ticks, never early, and at most one tick after their time.

The wheel has LEVELS levels of SLOTS slots. A slot of the lowest level is one tick; a slot of a higher level is all
slots of the level below it. A timer is in the lowest level in which its slot differs from the present one. When the
first tick of a slot of a higher level comes, its timers move to lower levels.
"""

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.twemproxy.libc.bits import leading_zeros, trailing_zeros

NEVER = cython.declare(cython.const[int64_t], 0x7FFFFFFFFFFFFFFF)
# Microseconds of a tick.
TICK = cython.declare(cython.const[int64_t], 1000)
# Slots per level, as a power of two.
SLOT_BITS = cython.declare(cython.const[cython.int], 6)
SLOTS = cython.declare(cython.const[cython.int], 64)
# The last tick for a timer, after 139 years; a timer for a later time fires then. One more fits into the wheel.
LAST_TICK = cython.declare(cython.const[int64_t], (1 << 42) - 2)
# Lists beside the slots: timers whose time had come when they were armed, and those that ``advance`` is firing.
DUE = cython.declare(cython.const[cython.int], 448)
FIRING = cython.declare(cython.const[cython.int], 449)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def tick_of(at: int64_t) -> int64_t:
    """The first tick that begins at the time ``at`` or later."""
    return (min(at, LAST_TICK * TICK) + TICK - 1) // TICK


@cython.final
@cython.cclass
class TimerWheel:
    """The timers of an event loop; it keeps no references to them.

    ``now``: the loop's time, in microseconds; the loop sets it once per turn. ``tick``: all timers of the ticks up to
    this one have fired. ``used``: for each level, a bit per slot that has timers. ``next_at``: ``advance`` has nothing
    to do before this time, in microseconds; NEVER without timers.
    """

    def __cinit__(self, now: int64_t) -> None:
        """``now``: in microseconds, at least 0."""
        i: cython.int
        for i in range(FIRING + 1):
            self.lists[i].next = self.lists[i].previous = cython.address(self.lists[i])
        self.now = now
        self.tick = min(max(now // TICK, 0), LAST_TICK)
        self.next_at = NEVER

    @cython.cfunc
    @cython.exceptval(check=False)
    def insert(self, timer: Timer, tick: int64_t) -> cython.void:
        """Put a timer into its slot; ``tick``: in the future."""
        differing: uint64_t = cython.cast(uint64_t, tick ^ self.tick)
        level: cython.int = (63 - leading_zeros(differing)) // SLOT_BITS
        slot: cython.int = cython.cast(cython.int, (tick >> (SLOT_BITS * level)) & (SLOTS - 1))
        self.append(timer, SLOTS * level + slot)
        self.used[level] |= cython.cast(uint64_t, 1) << slot

    @cython.cfunc
    @cython.exceptval(check=False)
    def append(self, timer: Timer, which: cython.int) -> cython.void:
        """Put a timer at the end of a list."""
        head: cython.pointer[TimerNode] = cython.address(self.lists[which])
        timer.node.next = head
        timer.node.previous = head.previous
        head.previous.next = cython.address(timer.node)
        head.previous = cython.address(timer.node)

    @cython.cfunc
    @cython.exceptval(check=False)
    def remove(self, timer: Timer) -> cython.void:
        """Take a timer out of its list."""
        head: cython.pointer[TimerNode] = timer.node.next
        which: cython.int
        head.previous = timer.node.previous
        timer.node.previous.next = head
        timer.node.next = cython.NULL
        if head.next == head:
            # The list is empty now.
            which = cython.cast(cython.int, head - cython.address(self.lists[0]))
            if which < DUE:
                self.used[which // SLOTS] &= ~(cython.cast(uint64_t, 1) << (which % SLOTS))

    @cython.cfunc
    @cython.exceptval(check=False)
    def splice(self, source: cython.int, target: cython.int) -> cython.void:
        """Move all timers of a list to the end of another one."""
        taken: cython.pointer[TimerNode] = cython.address(self.lists[source])
        head: cython.pointer[TimerNode] = cython.address(self.lists[target])
        if taken.next == taken:
            return
        taken.next.previous = head.previous
        head.previous.next = taken.next
        taken.previous.next = head
        head.previous = taken.previous
        taken.next = taken.previous = taken

    @cython.cfunc
    @cython.exceptval(check=False)
    def lowest_level(self) -> cython.int:
        """The lowest level with timers, LEVELS if there are none; its first slot is the next one of all levels."""
        level: cython.int
        for level in range(LEVELS):
            if self.used[level] != 0:
                return level
        return LEVELS

    @cython.cfunc
    @cython.exceptval(check=False)
    def start_of_first_slot(self, level: cython.int) -> int64_t:
        """The first tick of the first slot with timers of a level that has some."""
        shift: cython.int = SLOT_BITS * level
        before: int64_t = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS)
        return before + (cython.cast(int64_t, trailing_zeros(self.used[level])) << shift)

    @cython.cfunc
    @cython.exceptval(check=False)
    def collect(self, target: int64_t) -> cython.void:
        """Move the timers of all ticks up to ``target`` to the list FIRING, in the order of their ticks."""
        level: cython.int
        slot: cython.int
        start: int64_t
        tick: int64_t
        head: cython.pointer[TimerNode]
        timer: Timer
        self.splice(DUE, FIRING)
        while True:
            level = self.lowest_level()
            if level == LEVELS:
                break
            start = self.start_of_first_slot(level)
            if start > target:
                break
            self.tick = start
            slot = trailing_zeros(self.used[level])
            head = cython.address(self.lists[SLOTS * level + slot])
            while head.next != head:
                timer = cython.cast(Timer, head.next.timer)
                tick = tick_of(timer.at)
                self.remove(timer)
                if tick <= start:
                    self.append(timer, FIRING)
                else:
                    self.insert(timer, tick)
        self.tick = max(self.tick, target)
        self.next_at = NEVER if level == LEVELS else start * TICK

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def advance(self, now: int64_t) -> cython.int:
        """Fire the timers whose ticks have come at the time ``now``; ``now`` never decreases.

        A timer that is armed meanwhile fires with a later call, even if its time has come. An exception that escapes
        from a timer is raised, and the remaining ones fire with the next call.
        """
        head: cython.pointer[TimerNode] = cython.address(self.lists[FIRING])
        timer: Timer
        self.now = now
        if now < self.next_at:
            return 0
        self.collect(min(now // TICK, LAST_TICK))
        while head.next != head:
            timer = cython.cast(Timer, head.next.timer)
            self.remove(timer)
            timer.at = NEVER
            try:
                timer.fire()
            except BaseException:
                self.next_at = min(self.next_at, now)
                raise
        return 0


@cython.no_gc
@cython.cclass
class Timer:
    """A timer of an owner, which gets ``fire``. A timer that is dropped is cancelled.

    ``at``: the time for which the timer is armed, in microseconds of the event loop, NEVER if it is not armed. An owner
    whose deadlines mostly come in order arms its timer for the first one, and again, for the next one, when it fires.
    """

    def __cinit__(self, wheel: TimerWheel, *_) -> None:
        self.wheel = wheel
        self.node.timer = cython.cast(cython.pointer[PyObject], self)
        self.at = NEVER

    def __dealloc__(self) -> None:
        if self.node.next != cython.NULL:
            self.wheel.remove(self)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def arm(self, at: int64_t) -> cython.int:
        """Fire at the time ``at``, in microseconds, and no longer at an earlier time; NEVER cancels the timer.

        A time that has come already means the end of this turn, or of the next one if timers are firing.
        """
        wheel: TimerWheel = self.wheel
        tick: int64_t
        if self.node.next != cython.NULL:
            wheel.remove(self)
        self.at = at
        if at == NEVER:
            return 0
        if at <= wheel.now:
            wheel.append(self, DUE)
            wheel.next_at = min(wheel.next_at, at)
            return 0
        tick = max(tick_of(at), wheel.tick + 1)
        wheel.insert(self, tick)
        wheel.next_at = min(wheel.next_at, tick * TICK)
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def arm_by(self, at: int64_t) -> cython.int:
        """Fire at the time ``at``, in microseconds, or earlier if the timer is armed for an earlier time."""
        return self.arm(at) if at < self.at else 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def cancel(self) -> cython.int:
        """Do not fire; a timer that is not armed stays so."""
        return self.arm(NEVER)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fire(self) -> cython.int:
        """The time has come, and the timer is not armed any more; the owner may arm it again."""
        raise NotImplementedError


@cython.final
@cython.cclass
class CallbackTimer(Timer):
    """A timer that calls ``callback()``, for owners in plain Python."""

    def __init__(self, wheel: TimerWheel, callback) -> None:
        self.callback = callback

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fire(self) -> cython.int:
        self.callback()
        return 0
