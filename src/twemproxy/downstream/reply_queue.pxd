from libc.stdint cimport int64_t

from twemproxy.downstream.unwritten cimport Run
from twemproxy.net.block cimport Block
from twemproxy.net.stream cimport Stream
from twemproxy.proxy.access_log cimport AccessRecord
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.proxy.reply_handler cimport ReplyHandler
from twemproxy.stats.counters cimport Counter

cdef enum SlotState:
    AWAITED
    HELD        # the slot holds a block
    SMALL       # the bytes are in the slot


cdef struct HeldReply:
    Block* block
    unsigned char* data


cdef union ReplyPlace:
    HeldReply held
    unsigned char[24] bytes


# `replied_after`: microseconds from `read_at` until a reply that waits for its turn had arrived.
cdef struct Slot:
    Py_ssize_t length
    int64_t read_at
    unsigned int replied_after
    unsigned char state
    unsigned char command_class
    short command
    ReplyPlace reply


cdef class ReplyQueue(ReplyHandler):
    cdef Stream stream
    cdef Slot* slots
    cdef unsigned int head
    cdef unsigned int tail
    cdef unsigned int capacity
    cdef Py_ssize_t kept
    cdef Py_ssize_t values
    cdef Py_ssize_t typical
    cdef ConfiguredPool pool
    cdef Py_ssize_t window_bytes
    cdef unsigned int window
    cdef Counter* pool_counters
    cdef Run* unwritten
    cdef dict sampled
    cdef str address

    cdef unsigned int reserve(self) except? 0xFFFFFFFF
    cdef unsigned int reserve_values(self, Py_ssize_t count) except? 0xFFFFFFFF
    cdef int grow(self) except -1
    cdef int advance(self) except -1
    cdef void learn(self, Py_ssize_t length, Py_ssize_t count) noexcept
    cdef void append_measured(
        self, Slot* slot, int64_t replied_at, unsigned char* data, Py_ssize_t length
    ) noexcept
    cdef int note_written(self) except -1
    cdef AccessRecord record_at(self, unsigned int position)
    cdef int begin_sampled(self, AccessRecord record) except -1
    cdef void go_on_sampled(self, unsigned int position) noexcept
    cdef void end_sampled(self) noexcept
    cdef int drop_sampled(self) except -1
    cdef int note_own(self, unsigned int position) except -1
    cdef int note_part(self, unsigned int position, Py_ssize_t length) except -1
    cdef void append_sampled(
        self, Slot* slot, int64_t replied_at, unsigned char* data, Py_ssize_t length
    ) noexcept
    cdef int log_sampled(self, unsigned int n, int64_t now) except -1
    cdef void log_unwritten(self) noexcept
    cdef void free_slots(self) noexcept
    cdef void close(self) noexcept


cdef class ClientRequest(ReplyHandler):
    cdef ReplyQueue replies
    cdef unsigned int position
    cdef unsigned char expected

    cdef unsigned int begin_request(self, ReplyQueue replies, Py_ssize_t values) except? 0xFFFFFFFF
    cdef void copy_measured(self, ReplyQueue replies) noexcept
    cdef int answer_with(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
