cimport cython

from twemproxy.protocol.codec cimport put_number


cdef class LineReader:
    cdef unsigned char[::1] word
    cdef Py_ssize_t length
    cdef Py_ssize_t count

    @cython.final
    cdef Py_ssize_t read_word(self, const unsigned char* line, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t read_quoted(self, const unsigned char* line, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    @cython.final
    cdef Py_ssize_t put_words(self, unsigned char* out, const unsigned char* line, Py_ssize_t end) noexcept nogil
