cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

# A time that never comes: that of a timer that is not armed.
cdef const int64_t NEVER

cdef enum:
    LEVELS = 7


# A place in a circular list. `timer`: NULL for the list itself.
cdef struct TimerNode:
    TimerNode* next
    TimerNode* previous
    PyObject* timer


cdef class TimerWheel:
    # The slots of all levels, and two more lists, see `DUE` and `FIRING`.
    cdef TimerNode[7 * 64 + 2] lists
    cdef uint64_t[7] used
    cdef int64_t now
    cdef int64_t tick
    cdef readonly int64_t next_at

    cdef void insert(self, Timer timer, int64_t tick) noexcept
    cdef void append(self, Timer timer, int which) noexcept
    cdef void remove(self, Timer timer) noexcept
    cdef void splice(self, int source, int target) noexcept
    cdef int lowest_level(self) noexcept
    cdef int64_t start_of_first_slot(self, int level) noexcept
    cdef void collect(self, int64_t target) noexcept
    cpdef int advance(self, int64_t now) except -1


@cython.no_gc
cdef class Timer:
    cdef TimerWheel wheel
    cdef TimerNode node
    cdef readonly int64_t at

    cpdef int arm(self, int64_t at) except -1
    cpdef int arm_by(self, int64_t at) except -1
    cpdef int cancel(self) except -1
    cdef int fire(self) except -1


cdef class CallbackTimer(Timer):
    cdef object callback
