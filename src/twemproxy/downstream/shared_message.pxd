cimport cython
from twemproxy.net.block cimport Block, BlockPool
from twemproxy.net.send_queue cimport SendQueue


@cython.no_gc_clear
cdef class SharedMessage:
    cdef BlockPool blocks
    cdef Block* block
    cdef Py_ssize_t length

    cdef int append_to(self, SendQueue out, bytes beginning) except -1
