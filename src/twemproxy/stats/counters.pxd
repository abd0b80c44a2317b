ctypedef unsigned long long Counter

cdef class CounterTable:
    cdef object memory
    cdef Counter[::1] values

    cdef Counter* at(self, Py_ssize_t position)
