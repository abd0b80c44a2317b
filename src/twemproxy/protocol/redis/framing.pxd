cimport cython

from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.foreign cimport begins_as_http, count_words, names_http_version, word_end, word_start
from twemproxy.protocol.name_table cimport NameTable
from twemproxy.protocol.request cimport (
    ARGUMENTS, COMPLETE, FOREIGN, MALFORMED, NEED_MORE, SLOW_PATH, REST_OF_LINE, INLINE, EMPTY, STATUS, SUM, TO_ANY,
    TO_CHANNEL, SCATTER, TO_KEY, REJECT, SINGLE_SERVER, COLOCATED, VALUES, Cursor, Frame, Item, Request,
)


cdef class RespFraming(Codec):
    cdef Py_ssize_t number
    cdef Py_ssize_t inner
    cdef Py_ssize_t needed
    cdef int problem
    cdef unsigned char found
    cdef NameTable names
    cdef int[::1] arity
    cdef int[::1] classes
    cdef int[::1] routing
    cdef int[::1] first_key
    cdef int[::1] numkeys
    cdef int[::1] behind_keys
    cdef int[::1] one_key
    cdef int[::1] container
    cdef int[::1] script_form
    cdef int[::1] needs
    cdef int[::1] keys_first
    cdef int[::1] keys_last
    cdef int[::1] keys_step
    cdef int[::1] counted_first

    @cython.final
    cdef Py_ssize_t read_length(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_any_length(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t bad_line(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_value(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_status(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_bulk(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end, Py_ssize_t most) noexcept nogil
    @cython.final
    cdef Frame frame_inline(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Cursor cursor, Request request) noexcept nogil
    @cython.final
    cdef bint is_http(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef int bad_count(self) noexcept nogil
    @cython.final
    cdef int bad_length(self) noexcept nogil
    @cython.final
    cdef Frame more(self, Cursor cursor, Py_ssize_t start, Py_ssize_t at, Py_ssize_t left) noexcept nogil
    @cython.final
    cdef Frame malformed(self, Request request, int problem) noexcept nogil
    @cython.final
    cdef Frame refuse(self, Request request, int problem) noexcept nogil
    @cython.final
    cdef Frame route_request(self, Request request) noexcept nogil
