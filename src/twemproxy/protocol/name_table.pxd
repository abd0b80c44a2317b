cdef class NameTable:
    cdef bint any_case
    cdef unsigned int mask
    cdef short[::1] slots
    cdef const unsigned char[::1] names
    cdef int[::1] starts
    cdef unsigned long long[::1] found
    cdef short[::1] rows

    cdef int look_up(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef int find(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef Py_ssize_t put(self, unsigned char* out, Py_ssize_t at, int row) noexcept nogil
    cdef Py_ssize_t length_of(self, int row) noexcept nogil
