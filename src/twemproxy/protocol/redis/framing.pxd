cimport cython

from twemproxy.protocol.codec cimport (
    ARGUMENTS, COMPLETE, MALFORMED, NEED_MORE, PLANNED, REST_OF_LINE, REWRITE, SKIP, STATUS, SUM, TO_ANY, TO_EACH,
    TO_KEY, TO_NOBODY, TO_ONLY, TO_SAME, VALUES, Codec, Frame,
)
from twemproxy.protocol.name_table cimport NameTable


cdef class RespFraming(Codec):
    cdef Py_ssize_t number
    cdef Py_ssize_t inner
    cdef Py_ssize_t step
    cdef Py_ssize_t arguments
    cdef NameTable names
    cdef int[::1] arity
    cdef int[::1] routing
    cdef int[::1] first_key
    cdef int[::1] numkeys
    cdef int[::1] one_key
    cdef int[::1] container
    cdef int[::1] script_form

    @cython.final
    cdef Py_ssize_t read_length(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t bad_line(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_value(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_status(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_bulk(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Frame frame_inline(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Frame more(self, Py_ssize_t start, Py_ssize_t at, Py_ssize_t left) noexcept nogil
    @cython.final
    cdef Frame malformed(self, int problem) noexcept nogil
    @cython.final
    cdef Frame refuse(self, int problem) noexcept nogil
    @cython.final
    cdef Frame route_request(self) noexcept nogil
