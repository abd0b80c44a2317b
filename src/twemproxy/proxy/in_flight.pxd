from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free

from twemproxy.net.block cimport BlockPool
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.sink cimport Sink


# What happened to a request on the way to its server.
cdef enum Fate:
    FRESH
    RESENT      # it waits for its second connection, or is on it
    DROPPED     # it is overdue, and will not be sent


# `sink` is NULL once it has been told that the request is overdue; `copy` is NULL, or the bytes of a read.
cdef struct Request:
    PyObject* sink
    unsigned char* copy
    int64_t deadline
    Py_ssize_t length
    unsigned int position
    unsigned char expected
    unsigned char fate


cdef class InFlight:
    cdef Request* requests
    cdef unsigned int head
    cdef unsigned int written
    cdef unsigned int tail
    cdef unsigned int overdue
    cdef unsigned int capacity
    cdef Py_ssize_t request_bytes
    cdef Py_ssize_t sent_of_next

    cdef int grow(self) except -1
    cdef int keep_read(self, SendQueue out, Codec codec) except -1
    cdef void note_sent(self, Py_ssize_t sent, SendQueue out) noexcept
    cdef bint is_begun(self) noexcept
    cdef void take_as_written(self) noexcept
    cdef int64_t next_deadline(self) noexcept
    cdef void set_deadline(self, int64_t deadline) noexcept
    cdef list take_overdue(self, int64_t now)
    cdef void drop_unsent(self, SendQueue out, BlockPool blocks) noexcept
    cdef void skip_dropped(self) noexcept
    cdef void pass_over(self) noexcept
    cdef list take_failed(self, SendQueue out, BlockPool blocks, bint again)
    cdef list take_unsent(self, SendQueue out, BlockPool blocks)
    cdef unsigned int first_unsent(self, SendQueue out, BlockPool blocks) noexcept
    cdef int put_again(self, SendQueue out, BlockPool blocks, unsigned int unsent) except -1
    cdef void clear(self) noexcept


# What every request takes is here, so that it is compiled into its callers.

# Note that the last `length` bytes of the send queue are a request; `expected`: see Codec.
cdef inline int add(
    InFlight ring, Sink sink, unsigned int position, Py_ssize_t length, unsigned char expected, int64_t deadline
) except -1:
    cdef Request* request
    if ring.tail - ring.head == ring.capacity:
        ring.grow()
    request = &ring.requests[ring.tail & (ring.capacity - 1)]
    Py_INCREF(sink)
    request.sink = <PyObject*> sink
    request.copy = NULL
    request.position = position
    request.expected = expected
    request.fate = FRESH
    request.length = length
    request.deadline = deadline
    ring.tail += 1
    ring.request_bytes += length
    return 0


# The one whose reply is next; there must be one.
cdef inline Request* oldest(InFlight ring) noexcept:
    return &ring.requests[ring.head & (ring.capacity - 1)]


# The oldest is answered; its sink has been taken over.
cdef inline void forget_oldest(InFlight ring) noexcept:
    cdef Request* request = oldest(ring)
    ring.request_bytes -= request.length
    if request.copy != NULL:
        free(request.copy)
    ring.head += 1
    # A ring of more is given back as soon as it is empty.
    if ring.head == ring.tail and ring.capacity > 1024:
        ring.clear()
