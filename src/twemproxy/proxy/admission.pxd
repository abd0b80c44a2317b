from twemproxy.proxy.memory_limit cimport MemoryLimit


cdef class Admission:
    cdef readonly int open
    cdef readonly int limit
    cdef int spare
    cdef MemoryLimit memory
    cdef set lingering

    cdef int take_spare(self) except -1
    cdef void give_spare_up(self) noexcept


cdef class ClientLimits:
    cdef readonly Py_ssize_t largest_request
    cdef readonly Py_ssize_t input
    cdef readonly Py_ssize_t replies
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t output
