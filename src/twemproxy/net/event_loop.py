"""The event loop; one per worker.

Compiled-only. A turn waits for events, does the action ``at_turn``, lets each ready channel read and act, and then
flushes each channel that has something to send: one system call per connection and turn, for any number of requests.
After that the timers that are due fire, and then the actions that were deferred run: what has consequences for other
connections, or closes one, is deferred, so that nothing changes under code that parses input. At the end of a turn some
MB of unused memory are given back; the loop does not sleep before all of it is. The clock is read twice per turn:
before the wait for events and after it.

Slow work, such as a request that the proxy answers in Python, is limited: a channel calls ``may_work`` before each
piece of slow work. If the result is False, the channel calls ``put_off`` and continues in a later turn, after the
channels that were put off earlier. So a turn has up to two times ``TURN_WORK`` of slow work, and each channel up to
``CHANNEL_WORK`` at a time, plus one piece.
"""

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.twemproxy.net.block import BlockPool
from cython.cimports.twemproxy.net.clock import Clock, nanoseconds
from cython.cimports.twemproxy.net.poller import EXCLUSIVE, READABLE, WRITABLE, Poller
from cython.cimports.twemproxy.net.timers import NEVER, Timer, TimerWheel

# Nanoseconds of slow work: of one channel at a time, and of all channels in each of the two parts of a turn.
CHANNEL_WORK = cython.declare(cython.const[int64_t], 500_000)
TURN_WORK = cython.declare(cython.const[int64_t], 2_000_000)
# Longest wait for events, in milliseconds.
LONGEST_WAIT = cython.declare(cython.const[int64_t], 3_600_000)


@cython.cclass
class Action:
    """Something that can be done at the end of a turn, see ``EventLoop.defer``. ``is_deferred``: it will be done."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        """Do it; this may defer more."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        """Close the channel concerned, because an exception escaped from it."""
        return 0


@cython.final
@cython.cclass
class CallbackAction(Action):
    """An action in Python."""

    def __init__(self, callback) -> None:
        self.callback = callback

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        self.callback()
        return 0


@cython.no_gc_clear
@cython.cclass
class Channel(Action):
    """A descriptor that the loop watches. ``loop``: None in a channel of the control plane."""

    def __cinit__(self) -> None:
        self.fd = -1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        """Handle ``events`` of the descriptor, a mask of ``net.poller``."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        """Send the bytes of this turn."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_timer(self) -> cython.int:
        """The time of the channel's ChannelTimer has come; it is not armed any more."""
        return 0


@cython.no_gc
@cython.cclass
class ChannelTimer(Timer):
    """A timer that calls ``on_timer`` of a channel, which owns the timer and has a ``loop``."""

    def __cinit__(self, wheel: TimerWheel, channel: Channel) -> None:
        # Not a reference: the timer ends with the channel.
        self.channel = cython.cast(cython.pointer[PyObject], channel)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fire(self) -> cython.int:
        channel: Channel = cython.cast(Channel, self.channel)
        try:
            channel.on_timer()
        except Exception as defect:
            channel.loop.on_defect(defect)
            channel.on_defect()
        return 0


@cython.final
@cython.cclass
class CallbackChannel(Channel):
    """A descriptor of the control plane; ``callback`` is called when the descriptor is ready."""

    def __init__(self, fd: int, callback) -> None:
        self.fd = fd
        self.callback = callback

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        self.callback()
        return 0


@cython.no_gc_clear
@cython.final
@cython.cclass
class EventLoop:
    """Calls channels when they are ready; it keeps a reference to each watched channel.

    ``now``: the time of the turn, in microseconds of ``clock``. ``real``: when the wait for events ended, in
    microseconds with the time that ``clock`` does not count: what is read in this turn had arrived by then.
    ``at_turn``: an action that is done in each turn, after the wait for events and before anything is read; None for
    none. ``timers``: fire at the end of a turn, after everything was flushed. ``turn``: the number of the turn.
    ``busy``: microseconds of all turns, without the waits for events. ``longest``: microseconds of the longest turn
    since the owner has set it to 0. ``verbosity``: the log level, here so that compiled code can read it fast.
    """

    def __cinit__(self, on_defect, read_size: cython.Py_ssize_t) -> None:
        """``on_defect(exception)``: called when an exception escapes from a channel. ``read_size``: see BlockPool."""
        self.channels = set()
        self.to_flush = []
        self.later = []
        self.to_read = []
        self.deferred = []
        self.blocks = BlockPool(read_size)
        self.clock = Clock()
        self.now = self.clock.now
        self.real = self.clock.real
        self.timers = TimerWheel(self.now)
        self.on_defect = on_defect
        self.poller = Poller()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def watch(self, channel: Channel, interest: uint32_t) -> cython.int:
        """Watch ``channel``, or change the events that it waits for; ``interest``: a mask of ``net.poller``."""
        if channel in self.channels:
            self.poller.modify(channel.fd, interest, cython.cast(cython.p_void, channel))
        else:
            self.poller.add(channel.fd, interest, cython.cast(cython.p_void, channel))
            self.channels.add(channel)
        channel.interest = interest
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def watch_shared(self, channel: Channel) -> cython.int:
        """Watch ``channel`` for input that any of several processes can take: an event wakes the one that waits and
        called this function first. The only way to change what the channel waits for is ``forget``.
        """
        self.forget(channel)
        self.poller.add(channel.fd, READABLE | EXCLUSIVE, cython.cast(cython.p_void, channel))
        self.channels.add(channel)
        channel.interest = READABLE
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, channel: Channel) -> cython.int:
        """Stop watching ``channel``; its events in the current batch are dropped."""
        if channel not in self.channels:
            return 0
        self.poller.remove(channel.fd, cython.cast(cython.p_void, channel))
        channel.interest = 0
        self.channels.discard(channel)
        return 0

    def watch_reads(self, channel: Channel) -> None:
        """Watch a channel of the control plane for input."""
        self.watch(channel, READABLE)

    def watch_writes(self, channel: Channel) -> None:
        """Watch a channel of the control plane for room for output."""
        self.watch(channel, WRITABLE)

    def forget_channel(self, channel: Channel) -> None:
        """Stop watching a channel of the control plane."""
        self.forget(channel)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_again(self, channel: Channel) -> cython.int:
        """Report ``channel`` as readable in the next turn: it has input that is not in its socket any more."""
        if not channel.read_wanted:
            channel.read_wanted = True
            self.to_read.append(channel)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_buffered(self) -> cython.int:
        """Call the channels of ``read_again``; for those that are added during the call it is the next turn's work."""
        channel: Channel
        ready: list = self.to_read
        self.to_read = []
        for channel in ready:
            channel.read_wanted = False
            try:
                channel.on_ready(READABLE)
            except Exception as defect:
                self.on_defect(defect)
                channel.on_defect()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def want_flush(self, channel: Channel) -> cython.int:
        """Have ``channel`` flushed at the end of this turn."""
        if not channel.flush_wanted:
            channel.flush_wanted = True
            self.to_flush.append(channel)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def defer(self, action: Action) -> cython.int:
        """Have ``action`` run at the end of this turn, once; one that is deferred outside of a turn waits for the next.

        What actions defer is run at the end of the next turn, which does not wait: so they cannot keep the loop from
        its channels.
        """
        if not action.is_deferred:
            action.is_deferred = True
            self.deferred.append(action)
        return 0

    def defer_action(self, action: Action) -> None:
        """As ``defer``."""
        self.defer(action)

    # --- slow work -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_work(self, channel: Channel) -> cython.bint:
        """Whether ``channel`` may do a piece of slow work now; after the work call ``worked``."""
        if self.worker != cython.cast(cython.p_void, channel):
            self.worker = cython.cast(cython.p_void, channel)
            self.channel_work = 0
        if self.channel_work >= CHANNEL_WORK or self.turn_work >= TURN_WORK:
            return False
        self.work_began = nanoseconds()
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def worked(self) -> cython.void:
        """Count the time since ``may_work``, or since the last call, as slow work."""
        now: int64_t = nanoseconds()
        self.channel_work += now - self.work_began
        self.turn_work += now - self.work_began
        self.work_began = now

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_off(self, channel: Channel) -> cython.int:
        """Have ``channel`` flushed in a later turn, when it may do slow work."""
        if not channel.is_put_off:
            channel.is_put_off = True
            self.later.append(channel)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def resume_work(self) -> cython.int:
        """Flush the channels that were put off, in order, while there is time for slow work."""
        i: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = len(self.later)
        channel: Channel
        while i < n and self.turn_work < TURN_WORK:
            channel = cython.cast(Channel, self.later[i])
            i += 1
            channel.is_put_off = False
            self.worker = cython.NULL
            try:
                channel.flush()
            except Exception as defect:
                self.on_defect(defect)
                channel.on_defect()
        del self.later[:i]
        self.worker = cython.NULL
        self.turn_work = 0
        return 0

    # --- turns -----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush_all(self) -> cython.int:
        """Flush each channel that wants it, including channels that are added during the call."""
        i: cython.Py_ssize_t = 0
        channel: Channel
        while i < len(self.to_flush):
            channel = cython.cast(Channel, self.to_flush[i])
            i += 1
            channel.flush_wanted = False
            try:
                channel.flush()
            except Exception as defect:
                self.on_defect(defect)
                channel.on_defect()
        self.to_flush.clear()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_actions(self) -> cython.int:
        """Run the actions that have been deferred."""
        action: Action
        actions: list = self.deferred
        self.deferred = []
        for action in actions:
            action.is_deferred = False
            try:
                action.run_deferred()
            except Exception as defect:
                self.on_defect(defect)
                action.on_defect()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_at_turn(self) -> cython.int:
        """Run ``at_turn``."""
        try:
            self.at_turn.run_deferred()
        except Exception as defect:
            self.on_defect(defect)
            self.at_turn.on_defect()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def dispatch(self) -> cython.int:
        """Call ``on_ready`` of the channels that are ready."""
        channel: Channel
        while self.poller.next():
            channel = cython.cast(Channel, self.poller.owner)
            try:
                channel.on_ready(self.poller.events)
            except Exception as defect:
                self.on_defect(defect)
                channel.on_defect()
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def run_once(self) -> cython.int:
        """Run one turn; returns how many channels were ready."""
        # In milliseconds, rounded up: a timer that is not due yet would only cost another turn.
        timeout: int64_t = -1
        n_ready: cython.int
        lasted: int64_t
        self.now = self.clock.end_turn()
        lasted = self.clock.real - self.real
        self.busy += lasted
        if lasted > self.longest:
            self.longest = lasted
        if self.to_flush or self.later or self.to_read or self.deferred or self.blocks.dropped > 0:
            timeout = 0
        elif self.timers.next_at != NEVER:
            timeout = min((max(self.timers.next_at - self.now, 0) + 999) // 1000, LONGEST_WAIT)
        self.turn += 1
        n_ready = self.poller.wait(cython.cast(cython.int, timeout))
        self.now = self.timers.now = self.clock.end_wait(timeout * 1000)
        self.real = self.clock.real
        self.worker = cython.NULL
        self.turn_work = 0
        if self.at_turn is not None:
            self.run_at_turn()
        if self.later:
            self.resume_work()
        if self.to_read:
            self.read_buffered()
        self.dispatch()
        self.flush_all()
        if self.timers.next_at <= self.now:
            self.timers.advance(self.now)
        if self.deferred:
            self.run_actions()
        self.blocks.return_unused()
        return n_ready
