from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from twemproxy.net.block cimport Block
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.stream cimport Stream
from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.rotation cimport ServerHealth
from twemproxy.proxy.sink cimport Sink
from twemproxy.stats.counters cimport Counter

cdef enum State:
    CLOSED
    RESOLVING
    CONNECTING
    GREETING
    READY


cdef struct InFlight:
    PyObject* sink
    int64_t deadline
    Py_ssize_t length
    unsigned int position
    unsigned char expected


cdef class ServerConnection(Stream):
    cdef Codec codec
    cdef ServerHealth health
    cdef readonly State state
    cdef readonly object upstream
    cdef list candidates
    cdef list greeting
    cdef int profile
    cdef public object on_settled
    cdef public object listener
    cdef int64_t patience
    cdef bint excused
    cdef bint finished
    cdef int64_t open_by
    cdef int offers
    cdef int demanded
    cdef int64_t timeout
    cdef InFlight* requests
    cdef unsigned int head
    cdef unsigned int written
    cdef unsigned int tail
    cdef unsigned int capacity
    cdef Py_ssize_t request_bytes
    cdef Py_ssize_t sent_of_next
    cdef Py_ssize_t resume_at
    cdef Py_ssize_t resume_left
    cdef Counter* counters
    cdef Counter* process_counters
    cdef Py_ssize_t[4] gauges

    cdef int send_request(self, Sink sink, unsigned int position, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int enqueue(self, Sink sink, unsigned int position, Py_ssize_t length, unsigned char expected) except -1
    cdef bint lacks(self, int demand) noexcept
    cdef bint is_opening(self) noexcept
    cdef bint is_ready(self) noexcept
    cdef int grow(self) except -1
    cdef int reply_arrived(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int open(self) except -1
    cdef int connect_next(self, int error) except -1
    cdef int connected(self) except -1
    cdef int greeted(self, bytes reply) except -1
    cdef int ready(self) except -1
    cdef int fail(self, int error, str reason) except -1
    cdef int fail_with(self, int error, str reason, bytes reply, bint blame) except -1
    cdef int shut(self) except -1
    cdef int forget_requests(self) except -1
    cdef int refuse_greeting(self, str reason, bint blame) except -1
    cdef int64_t expire(self) except? -2
    cdef int publish_gauges(self) except -1
