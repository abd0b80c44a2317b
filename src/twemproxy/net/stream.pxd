from libc.stdint cimport int64_t, uint32_t

from twemproxy.net.block cimport Block
from twemproxy.net.event_loop cimport Channel, EventLoop
from twemproxy.net.send_queue cimport SendQueue


cdef const Py_ssize_t HIGH_WATER
cdef const Py_ssize_t LOW_WATER


cdef class Stream(Channel):
    cdef EventLoop loop
    cdef SendQueue out
    cdef Block* tail
    cdef Py_ssize_t tail_start
    cdef Py_ssize_t tail_end
    cdef Py_ssize_t needed
    cdef SendQueue ahead
    cdef bint reads_ahead
    cdef readonly int64_t heard_at
    cdef int64_t read_turn
    cdef bint established
    cdef bint paused
    cdef bint ended
    cdef bint watches_hangup
    cdef dict waiting

    cdef int open_stream(self, int fd, uint32_t interest) except -1
    cdef int close_stream(self) except -1
    cdef int close_socket(self) except -1
    cdef int update_interest(self) except -1
    cdef int receive(self) except -1
    cdef int receive_beside_tail(self) except -1
    cdef int receive_into_tail(self) except -1
    cdef int read_ahead(self) except -1
    cdef int received(self, Py_ssize_t n) except -1
    cdef int consume_tail(self) except -1
    cdef int consume_ahead(self) except -1
    cdef int keep_tail(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int extend_tail(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef void drop_tail(self) noexcept
    cdef void drop_input(self) noexcept
    cdef int wait_for_room(self, Stream stream) except -1
    cdef int wake_waiting(self) except -1
    cdef int pause(self) except -1
    cdef int resume(self) except -1

    cdef Py_ssize_t consume(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int on_end(self) except -1
    cdef int on_hangup(self) except -1
    cdef int on_broken(self, int error) except -1
    cdef int on_writable(self) except -1
    cdef int on_flushed(self, Py_ssize_t sent) except -1
