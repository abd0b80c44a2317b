cimport cython

from twemproxy.protocol.codec cimport (
    COMPLETE, IN_WORDS, MUTED, QUIET, STATUS, TO_ALL, TO_ANY, TO_KEY, PLANNED, Frame,
)
from twemproxy.protocol.memcache.classic_requests cimport NO_LENGTH, ClassicRequests, Length


cdef class MemcacheRequests(ClassicRequests):
    cdef int[::1] too_few
    cdef int[::1] bad_flags
    cdef int[::1] bad_keys
    cdef int[::1] flag_kinds
    cdef int[::1] modes
    cdef int[::1] sextets

    @cython.final
    cdef Frame read_meta(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end, int form) noexcept nogil
    @cython.final
    cdef int flag_problem(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef int decode_key(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef Frame read_keyless(self, const unsigned char* buf, Py_ssize_t at, int form) noexcept nogil
