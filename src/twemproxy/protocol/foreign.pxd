# A protocol other than the pool's.
cdef enum Foreign:
    NOT_FOREIGN
    UNDECIDED          # one more byte is needed
    TLS
    HTTP
    MEMCACHED_BINARY


cdef Foreign first_bytes(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t word_start(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t word_end(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t count_words(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint names_http_version(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
cdef bint begins_as_http(const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
