from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block


cdef class ReplyHandler:
    cdef int64_t read_at
    cdef short command
    cdef unsigned char command_class
    cdef unsigned char hot_place

    cdef int deliver(self, unsigned int position, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int note_server(self, unsigned int position, str name, int64_t sent_at, bint has_replied) except -1
    cdef object owner(self)
    cdef int close_owner(self) except -1
    cdef int fail(self, unsigned int position, bytes reply) except -1
