from libc.stdint cimport int64_t

cdef int64_t nanoseconds() noexcept


cdef class Clock:
    cdef readonly int64_t now
    cdef readonly int64_t real
    cdef int64_t late
    cdef int64_t moved

    cdef int64_t read(self) noexcept
    cdef int64_t read_real(self) noexcept
    cdef int64_t end_turn(self) noexcept
    cdef int64_t end_wait(self, int64_t longest) noexcept
