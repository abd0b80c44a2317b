from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.proxy.in_flight cimport InFlight
from twemproxy.proxy.server_stream cimport ServerStream
from twemproxy.proxy.sink cimport Sink


cdef class ServerConnection(ServerStream):
    cdef public object listener
    cdef bint shared
    cdef bint retries_reads
    cdef bint excused
    cdef bint finished
    cdef bint held
    cdef bint leaves
    cdef int64_t timeout
    cdef int64_t blamed_until
    cdef InFlight requests
    cdef Py_ssize_t resume_at
    cdef Py_ssize_t resume_left
    cdef Py_ssize_t[4] gauges

    cdef int send_request(self, Sink sink, unsigned int position, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int enqueue(self, Sink sink, unsigned int position, Py_ssize_t length, unsigned char expected) except -1
    cdef int reply_arrived(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int64_t expire(self) except? -2
    cdef int opening_overdue(self) except -1
    cdef int requests_overdue(self) except -1
    cdef int tell_failed(self, list failed, bytes reply) except -1
    cdef bint is_unused(self) noexcept
    cdef bint is_down(self) noexcept
    cdef int answer_unsent(self) except -1
    cdef int64_t silent_by(self) noexcept
    cdef int leave(self) except -1
    cdef int move_on(self) except -1
    cdef int fail_with(self, int error, str reason, bytes reply, bint blame, bint again) except -1
