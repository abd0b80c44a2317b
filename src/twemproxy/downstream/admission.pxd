from twemproxy.proxy.memory_limit cimport MemoryLimit


cdef class Admission:
    cdef readonly int open
    cdef readonly int limit
    cdef public int awaited
    cdef int spare
    cdef MemoryLimit memory

    cdef int take_spare(self) except -1
    cdef void give_spare_up(self) noexcept
