cimport cython

from twemproxy.protocol.memcache.lines cimport find_newline
from twemproxy.protocol.memcache.request_parser cimport MemcacheRequests
from twemproxy.protocol.name_table cimport NameTable
from twemproxy.protocol.request cimport COMPLETE, MALFORMED, NEED_MORE, Cursor, Frame


cdef class MemcacheReplies(MemcacheRequests):
    cdef NameTable words
    cdef int[::1] follows
    cdef unsigned int[::1] accepted
    cdef unsigned int[::1] suppressible
    cdef Py_ssize_t word_end
    cdef Py_ssize_t block_length

    @cython.final
    cdef int read_word(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_header(self, const unsigned char* buf, Py_ssize_t at, Py_ssize_t end, int arguments) noexcept nogil
    @cython.final
    cdef Frame more_reply(self, Cursor cursor, Py_ssize_t start, Py_ssize_t at, Py_ssize_t position) noexcept nogil
