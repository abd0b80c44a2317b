from libc.stdint cimport int64_t

from twemproxy.net.block cimport BlockPool
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.protocol.codec cimport Codec

# The most requests of one client without a fence: limits the bytes that are read before replies are delivered.
cdef enum:
    MOST_IN_SLICE = 32


# `token`: identifies the fence. `urgent`: busy servers answer the fence, too.
cdef struct Fence:
    unsigned char[16] token
    bint urgent


cdef class Fences:
    # The fences that wait for replies.
    cdef Fence* fences
    cdef unsigned int head
    cdef unsigned int tail
    cdef unsigned int capacity
    # The requests after the newest fence.
    cdef object owner
    cdef int unfenced
    # When the oldest request was queued, in microseconds of the event loop; later if requests have had replies since then.
    cdef int64_t asked_at
    # The parsed part of the oldest slice; positions are relative to its beginning.
    cdef int framed
    cdef Py_ssize_t at
    cdef Py_ssize_t searched
    cdef bint broken
    cdef bint stuck
    cdef Py_ssize_t[32] starts
    cdef Py_ssize_t[32] ends
    # Random bytes for the next tokens.
    cdef unsigned char[256] random
    cdef int random_left

    cdef Py_ssize_t put(self, SendQueue out, BlockPool blocks, Codec codec, bint urgent) except -1
    cdef int grow(self) except -1
    cdef int draw(self, unsigned char* token) except -1
    cdef Fence* oldest(self) noexcept
    cdef Fence* urgent(self) noexcept
    cdef void keep(self, unsigned int n, bint closed) noexcept
    cdef void begin_slice(self) noexcept
