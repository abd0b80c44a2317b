cimport cython

from twemproxy.protocol.foreign cimport begins_as_http, names_http_version
from twemproxy.protocol.memcache.classic_requests cimport NO_LENGTH, ClassicRequests, Length
from twemproxy.protocol.request cimport (
    COMPLETE, FOREIGN, NOREPLY, SLOW_PATH, QUIET, STATUS, BROADCAST, TO_ANY, TO_KEY, Cursor, Frame, Request,
)


cdef class MemcacheRequests(ClassicRequests):
    cdef int[::1] too_few
    cdef int[::1] bad_flags
    cdef int[::1] bad_keys
    cdef int[::1] flag_kinds
    cdef int[::1] modes
    cdef int[::1] sextets

    @cython.final
    cdef Frame read_meta(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end, int form, Cursor cursor, Request request) noexcept nogil
    @cython.final
    cdef int flag_problem(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef int decode_key(self, const unsigned char* buf, Request request) noexcept nogil
    @cython.final
    cdef Frame read_keyless(self, const unsigned char* buf, Py_ssize_t at, int form, Request request) noexcept nogil
