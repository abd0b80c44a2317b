from libc.string cimport memchr


cdef inline Py_ssize_t find_newline(const unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    cdef const unsigned char* found
    if at >= end:
        return -1
    found = <const unsigned char*> memchr(buf + at, 10, end - at)
    return found - buf if found is not NULL else -1
