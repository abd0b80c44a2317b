from libc.stdint cimport int64_t, uint64_t


cdef enum:
    HOT_KEYS = 255


# A key that is counted. `count`, `error` and `bytes` are estimates of all requests, not of the sampled ones only.
cdef struct HotKey:
    int64_t hash
    double count
    double error
    double bytes
    int64_t largest


cdef class HotKeys:
    cdef HotKey keys[HOT_KEYS]
    cdef list names
    cdef int used
    cdef Py_ssize_t left            # requests until the next sample
    cdef Py_ssize_t interval        # requests per sample, on average
    cdef int64_t since              # when the present interval began, in microseconds
    cdef int64_t halved_at
    cdef Py_ssize_t samples
    cdef uint64_t random

    cdef int note(self, const unsigned char* key, Py_ssize_t length, Py_ssize_t size, int64_t now) except -1
    cdef void note_reply(self, int place, Py_ssize_t size) noexcept
    cdef void adapt(self, int64_t now) noexcept


# Whether the next request is to be noted.
cdef inline bint is_sampled(HotKeys hot_keys) noexcept:
    hot_keys.left -= 1
    return hot_keys.left <= 0
