cdef class StateTable:
    cdef readonly object states
    cdef readonly tuple transitions
    cdef unsigned int[16] masks

    cdef int check(self, int before, int after) except -1
