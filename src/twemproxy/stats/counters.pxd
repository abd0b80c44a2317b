ctypedef unsigned long long Counter

cdef class CounterTable:
    cdef object memory
    cdef Counter[::1] values

    cdef Counter* at(self, Py_ssize_t position)


cdef class WorkerTables:
    cdef readonly CounterTable own
    cdef readonly CounterTable shared
    cdef public list others
    cdef public Py_ssize_t workers

    cdef Counter* at(self, Py_ssize_t position)
    cdef Counter* shared_at(self, Py_ssize_t position)
    cdef long long sum(self, Py_ssize_t position) except? -1
    cdef long long sum_of_others(self, Py_ssize_t position) except? -1


cdef Counter shared_value(Counter* word) noexcept
cdef Counter add_shared(Counter* word, Counter n) noexcept
cdef bint replace_shared(Counter* word, Counter expected, Counter value) noexcept
