from libc.stdint cimport int64_t, uint64_t

from twemproxy.net.event_loop cimport Action, EventLoop
from twemproxy.protocol.codec cimport Codec
from twemproxy.stats.counters cimport Counter


cdef class AccessRecord:
    cdef str client_address
    cdef unsigned int client_id
    cdef str command
    cdef bytes key
    cdef Py_ssize_t keys
    cdef Py_ssize_t request_bytes
    cdef Py_ssize_t reply_bytes
    cdef bytes error
    cdef list servers
    cdef int64_t read_at
    cdef int64_t sent_at
    cdef int64_t replied_at
    cdef bint has_reply
    cdef bint is_own
    cdef bint closed

    cdef int note_server(self, str name, int64_t sent_at, bint has_replied) except -1


cdef class AccessSink(Action):
    cdef EventLoop loop
    cdef Counter* counters
    cdef int descriptor
    cdef int worker
    cdef readonly Py_ssize_t in_flight
    cdef list lines
    cdef Py_ssize_t size
    cdef Py_ssize_t untold
    cdef int64_t tell_at

    cdef bint begin(self) except -1
    cdef int write(self, AccessRecord record, str pool, int64_t now) except -1
    cdef int flush(self) except -1
    cdef int drop(self, Py_ssize_t lines, str reason) except -1


cdef class AccessLog:
    cdef AccessSink sink
    cdef Codec codec
    cdef uint64_t random


cdef bint chooses(AccessLog log, uint64_t below) noexcept
