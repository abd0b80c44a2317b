cimport cython

from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.memcache.lines cimport find_newline
from twemproxy.protocol.name_table cimport NameTable
from twemproxy.protocol.request cimport (
    COMPLETE, MALFORMED, NOREPLY, NEED_MORE, REST_OF_LINE, SCATTER, TO_KEY, REJECT, VALUES, Cursor, Frame, Request,
)

# The result of reading the length of a data block.
cdef enum Length:
    GOOD_LENGTH
    ODD_LENGTH       # a number in an unusual form that memcached may accept
    LARGE_LENGTH     # more than any memcached accepts
    ENDLESS_LENGTH   # more than any memcached can parse
    NO_LENGTH        # not a number


cdef class ClassicRequests(Codec):
    cdef NameTable names
    cdef NameTable keywords
    cdef int[::1] forms
    cdef int[::1] classes
    cdef int[::1] reply_kinds
    cdef int[::1] allowed
    cdef Py_ssize_t token_start
    cdef Py_ssize_t token_end
    cdef bint token_clean
    cdef Py_ssize_t line_start
    cdef Py_ssize_t line_end
    cdef Py_ssize_t content_end
    cdef Py_ssize_t length
    cdef bint last_is_noreply

    @cython.final
    cdef Py_ssize_t next_token(self, const unsigned char* buf, Py_ssize_t at) noexcept nogil
    @cython.final
    cdef bint has_token(self) noexcept nogil
    @cython.final
    cdef bint is_key(self) noexcept nogil
    @cython.final
    cdef void take_key(self, Request request) noexcept nogil
    @cython.final
    cdef bint is_unsigned(self, const unsigned char* buf, int bits) noexcept nogil
    @cython.final
    cdef bint is_at_most(self, const unsigned char* buf, unsigned long long most) noexcept nogil
    @cython.final
    cdef bint is_exptime(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef int keyword(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef int count_surplus(self, const unsigned char* buf, Py_ssize_t at, Request request) noexcept nogil
    @cython.final
    cdef Length read_length(self, const unsigned char* buf) noexcept nogil
    @cython.final
    cdef Frame refuse(self, Request request, int problem) noexcept nogil
    @cython.final
    cdef Frame malformed(self, Request request, int problem) noexcept nogil
    @cython.final
    cdef Frame find_line(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Cursor cursor, Request request) noexcept nogil
    @cython.final
    cdef Frame read_retrieval(self, const unsigned char* buf, Py_ssize_t at, int form, Request request) noexcept nogil
    @cython.final
    cdef Frame read_storage(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end, int form, Cursor cursor, Request request) noexcept nogil
    @cython.final
    cdef Frame read_block(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end, Length length, int problem, Cursor cursor, Request request) noexcept nogil
    @cython.final
    cdef Frame read_change(self, const unsigned char* buf, Py_ssize_t at, int form, Request request) noexcept nogil
    @cython.final
    cdef Frame read_delete(self, const unsigned char* buf, Py_ssize_t at, Request request) noexcept nogil
