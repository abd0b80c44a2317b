from libc.stdint cimport int64_t

from twemproxy.net.block cimport BlockPool
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.stream cimport Stream
from twemproxy.net.timers cimport Timer
from twemproxy.stats.counters cimport Counter, WorkerTables

cdef const unsigned int THRIFTY_WINDOW

# A reason in `Stream.pauses`.
cdef enum:
    PAUSED_FOR_MEMORY = 16


cdef class LimitedStream(Stream):
    cdef Py_ssize_t held(self) noexcept
    cdef bint is_modest(self) except -1
    cdef int shed(self, Py_ssize_t held) except -1


cdef class MemoryLimit:
    cdef EventLoop loop
    cdef BlockPool blocks
    cdef WorkerTables tables
    cdef Counter* counters
    cdef readonly Py_ssize_t program_limit
    cdef Py_ssize_t share
    cdef readonly Py_ssize_t limit
    cdef Py_ssize_t far_beyond
    cdef Py_ssize_t thrifty_from
    cdef readonly Py_ssize_t window_bytes
    cdef readonly unsigned int first_window
    cdef readonly Py_ssize_t most_values
    cdef dict waiting
    cdef LimitedStream exempt
    cdef bint exempt_has_read
    cdef int64_t exempt_since
    cdef int64_t exempt_until
    cdef int64_t choose_at
    cdef Timer timer
    cdef int64_t tell_at
    cdef bint told
    cdef unsigned long long waits

    cdef Py_ssize_t traffic(self) noexcept
    cdef Py_ssize_t used(self) noexcept
    cdef Py_ssize_t low(self) noexcept
    cdef Py_ssize_t refresh(self) except -1
    cdef int end_turn(self) except -1
    cdef bint is_far_beyond(self) noexcept
    cdef bint is_thrifty(self) noexcept
    cdef unsigned int window(self, unsigned int widest) noexcept
    cdef int read(self, LimitedStream stream) except -1
    cdef int read_part(self, LimitedStream stream, Py_ssize_t most) except -1
    cdef int receive(self, LimitedStream stream) except -1
    cdef bint goes_on(self, LimitedStream stream) except -1
    cdef int forget(self, LimitedStream stream) except -1
    cpdef int check(self) except -1
    cdef int go_on(self, LimitedStream stream) except -1
    cdef int choose(self) except -1
    cdef int relieve(self) except -1
