from twemproxy.hashing.functions cimport hash_key

cdef class Continuum:
    cdef object place
    cdef list names
    cdef list weights
    cdef int function
    cdef int tag_opening
    cdef int tag_closing
    cdef bint single
    cdef bint draws
    cdef unsigned int random_state
    cdef unsigned int modulus
    cdef int shift
    cdef unsigned int[::1] values
    cdef int[::1] owners
    cdef int[::1] buckets

    cdef int route(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef unsigned int draw(self) noexcept nogil
    cdef unsigned int hash_untagged(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
