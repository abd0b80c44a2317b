from twemproxy.net.block cimport Block
from twemproxy.net.stream cimport Stream
from twemproxy.proxy.sink cimport Sink
from twemproxy.stats.counters cimport Counter

cdef enum SlotState:
    AWAITED
    HELD        # a block is held
    SMALL       # the bytes are in the slot itself


cdef struct Slot:
    Block* block
    unsigned char* data
    unsigned int length
    unsigned char state
    unsigned char[19] bytes


cdef class ReplyQueue(Sink):
    cdef Stream stream
    cdef Slot* slots
    cdef unsigned int head
    cdef unsigned int tail
    cdef unsigned int capacity
    cdef Py_ssize_t kept
    cdef Py_ssize_t typical
    cdef Py_ssize_t small
    cdef Py_ssize_t window_bytes
    cdef unsigned int widest
    cdef unsigned int window
    cdef Counter* pool_counters

    cdef unsigned int reserve(self) except? 0xFFFFFFFF
    cdef int grow(self) except -1
    cdef int advance(self) except -1
    cdef void adjust_window(self, Py_ssize_t length) noexcept
    cdef void free_slots(self) noexcept
    cdef void close(self) noexcept
