cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from twemproxy.net.block cimport BlockPool
from twemproxy.net.clock cimport Clock
from twemproxy.net.poller cimport Poller
from twemproxy.net.timers cimport Timer, TimerWheel


cdef class EventLoop


cdef class Action:
    cdef bint is_deferred

    cdef int run_deferred(self) except -1
    cdef int on_defect(self) except -1


cdef class CallbackAction(Action):
    cdef object callback


@cython.no_gc_clear
cdef class Channel(Action):
    cdef EventLoop loop
    cdef readonly int fd
    cdef uint32_t interest
    cdef bint flush_wanted
    cdef bint is_put_off
    cdef bint read_wanted

    cdef int on_ready(self, uint32_t events) except -1
    cdef int flush(self) except -1
    cdef int on_timer(self) except -1


@cython.no_gc
cdef class ChannelTimer(Timer):
    cdef PyObject* channel


cdef class CallbackChannel(Channel):
    cdef object callback


@cython.no_gc_clear
cdef class EventLoop:
    cdef Poller poller
    cdef set channels
    cdef list to_flush
    cdef list later
    cdef list to_read
    cdef list deferred
    cdef public Action at_turn
    cdef void* worker
    cdef int64_t channel_work
    cdef int64_t turn_work
    cdef int64_t work_began
    cdef readonly BlockPool blocks
    cdef readonly Clock clock
    cdef readonly TimerWheel timers
    cdef readonly int64_t now
    cdef readonly int64_t real
    cdef readonly int64_t turn
    cdef readonly int64_t busy
    cdef public int64_t longest
    cdef public int verbosity
    cdef object on_defect

    cdef int watch(self, Channel channel, uint32_t interest) except -1
    cdef int watch_shared(self, Channel channel) except -1
    cdef int forget(self, Channel channel) except -1
    cdef int read_again(self, Channel channel) except -1
    cdef int read_buffered(self) except -1
    cdef int want_flush(self, Channel channel) except -1
    cdef bint may_work(self, Channel channel) noexcept
    cdef void worked(self) noexcept
    cdef int put_off(self, Channel channel) except -1
    cdef int resume_work(self) except -1
    cdef int defer(self, Action action) except -1
    cdef int run_actions(self) except -1
    cdef int run_at_turn(self) except -1
    cdef int flush_all(self) except -1
    cdef int dispatch(self) except -1
    cpdef int run_once(self) except -1
