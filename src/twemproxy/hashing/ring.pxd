from twemproxy.hashing.functions cimport hash_key

cdef class Ring:
    cdef int function
    cdef int tag_opening
    cdef int tag_closing
    cdef bint single
    cdef bint is_random
    cdef unsigned int random_state
    cdef unsigned int modulus
    cdef int shift
    cdef unsigned int[::1] values
    cdef int[::1] owners
    cdef int[::1] buckets

    cdef int route(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    cdef unsigned int draw(self) noexcept nogil
    cdef unsigned int hash_untagged(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept nogil


cdef class RingBuilder:
    cdef str distribution
    cdef str hash
    cdef bytes hash_tag
    cdef list names
    cdef list weights
    cdef object seed
    cdef list most_digests
    cdef Ring prepared
    cdef unsigned int[::1] all_values
    cdef int[::1] all_owners
    cdef int[::1] all_digests
    cdef int[::1] wanted_digests
    cdef unsigned int[::1] chosen_values
    cdef int[::1] chosen_owners
