"""Readiness loop over epoll(7): one per worker, level-triggered.

Compiled-only. A turn waits, reads the clock once, lets every ready channel read and decide, and then flushes
every channel that gathered something to send: one call per connection and turn, however many requests.
"""

import cython
from cython.cimports.libc.errno import EINTR, errno
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.libc.clock import CLOCK_MONOTONIC, clock_gettime, timespec
from cython.cimports.twemproxy.libc.epoll import (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
)
from cython.cimports.twemproxy.net.block import BlockPool

MAX_READY = cython.declare(cython.const[cython.int], 512)
# A moment, in milliseconds of the loop's clock, that does not come.
NEVER = cython.declare(cython.const[int64_t], 0x7FFFFFFFFFFFFFFF)


@cython.cclass
class Channel:
    """A descriptor the loop watches; its owner says what readiness means."""

    def __cinit__(self) -> None:
        self.fd = -1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        """The descriptor is ready for ``events``."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        """Send what was gathered in this turn."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        """An exception escaped from this channel: give it up, so that nobody else is disturbed."""
        return 0


@cython.final
@cython.cclass
class CallbackChannel(Channel):
    """A descriptor of the control plane's: calls a Python function when it can be read."""

    def __init__(self, fd: int, callback) -> None:
        self.fd = fd
        self.callback = callback

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        self.callback()
        return 0


@cython.final
@cython.cclass
class EventLoop:
    """Dispatches readiness to channels, which it keeps alive while it watches them.

    ``now`` is the turn's time in milliseconds of a monotonic clock. ``wake_at`` is set by the owner: the loop
    does not wait beyond it. ``verbosity`` is the log level, here so that compiled code can ask it cheaply.
    """

    def __cinit__(self, on_defect, read_size: cython.Py_ssize_t) -> None:
        """``on_defect(exception)`` is told of exceptions that escape from a channel; ``read_size``: see BlockPool."""
        self.channels = set()
        self.to_flush = []
        self.blocks = BlockPool(read_size)
        self.wake_at = NEVER
        self.on_defect = on_defect
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, "epoll_create1")
        self.read_clock()

    def __dealloc__(self) -> None:
        close(self.epfd)

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_clock(self) -> cython.void:
        time = cython.declare(timespec)
        clock_gettime(CLOCK_MONOTONIC, cython.address(time))
        self.now = cython.cast(int64_t, time.tv_sec) * 1000 + time.tv_nsec // 1000000

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def watch(self, channel: Channel, interest: uint32_t) -> cython.int:
        """Start watching ``channel``, or change what it waits for."""
        event = cython.declare(epoll_event)
        op: cython.int = EPOLL_CTL_MOD if channel in self.channels else EPOLL_CTL_ADD
        event.events = interest
        event.data.ptr = cython.cast(cython.p_void, channel)
        if epoll_ctl(self.epfd, op, channel.fd, cython.address(event)) < 0:
            raise OSError(errno, "epoll_ctl")
        channel.interest = interest
        self.channels.add(channel)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, channel: Channel) -> cython.int:
        """Stop watching ``channel``, even when it is ready in the batch being dispatched."""
        i: cython.int
        if channel not in self.channels:
            return 0
        epoll_ctl(self.epfd, EPOLL_CTL_DEL, channel.fd, cython.NULL)
        for i in range(self.next_ready, self.n_ready):
            if self.ready[i].data.ptr == cython.cast(cython.p_void, channel):
                self.ready[i].data.ptr = cython.NULL
        channel.interest = 0
        self.channels.discard(channel)
        return 0

    def watch_reads(self, channel: Channel) -> None:
        """Watch a channel of the control plane's for input."""
        self.watch(channel, EPOLLIN)

    def forget_channel(self, channel: Channel) -> None:
        """Stop watching a channel of the control plane's."""
        self.forget(channel)

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
    def flush_all(self) -> cython.int:
        """Flush every channel that asked for it, those that ask meanwhile included."""
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
    def dispatch(self) -> cython.int:
        """Tell the channels of the batch, from ``next_ready`` on, that they are ready."""
        channel: Channel
        event: cython.pointer[epoll_event]
        while self.next_ready < self.n_ready:
            event = cython.address(self.ready[self.next_ready])
            self.next_ready += 1
            if event.data.ptr != cython.NULL:
                channel = cython.cast(Channel, event.data.ptr)
                try:
                    channel.on_ready(event.events)
                except Exception as defect:
                    self.on_defect(defect)
                    channel.on_defect()
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def run_once(self) -> cython.int:
        """One turn; returns how many channels were ready."""
        timeout: cython.int = -1
        if self.to_flush:
            timeout = 0
        elif self.wake_at != NEVER:
            timeout = cython.cast(cython.int, min(max(self.wake_at - self.now, 0), 3600000))
        self.next_ready = 0
        with cython.nogil:
            self.n_ready = epoll_wait(self.epfd, self.ready, MAX_READY, timeout)
        if self.n_ready < 0:
            self.n_ready = 0
            if errno != EINTR:
                raise OSError(errno, "epoll_wait")
        self.read_clock()
        self.dispatch()
        self.flush_all()
        return self.n_ready
