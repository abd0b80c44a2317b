from twemproxy.proxy.memory_limit cimport MemoryLimit


cdef class ClientCount:
    cdef readonly int open
    cdef readonly int limit
    cdef MemoryLimit memory


cdef class ClientLimits:
    cdef readonly Py_ssize_t largest_request
    cdef readonly Py_ssize_t replies
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t output
