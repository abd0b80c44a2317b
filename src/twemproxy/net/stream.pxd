cimport cython
from libc.stdint cimport int64_t, uint32_t

from twemproxy.net.block cimport Block
from twemproxy.net.event_loop cimport Channel
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.net.transport cimport Transport


cdef const Py_ssize_t HIGH_WATER
cdef const Py_ssize_t LOW_WATER

# A reason to pause: the stream has had its share of a turn. Owners have reasons of their own.
cdef enum:
    PAUSED_FOR_TURN = 1


@cython.no_gc_clear
cdef class Stream(Channel):
    cdef SendQueue out
    cdef Transport transport
    cdef uint32_t read_events
    cdef uint32_t send_events
    cdef uint32_t shut_events
    cdef Block* tail
    cdef Py_ssize_t tail_start
    cdef Py_ssize_t tail_end
    cdef Py_ssize_t needed
    cdef SendQueue ahead
    cdef bint reads_ahead
    cdef readonly int64_t heard_at
    cdef int64_t read_turn
    cdef bint established
    cdef unsigned int pauses
    cdef bint ended
    cdef bint watches_hangup
    cdef bint is_shut
    cdef dict waiting

    cdef int open_stream(self, Transport transport) except -1
    cdef int close_stream(self) except -1
    cdef int close_socket(self) except -1
    cdef int update_interest(self) except -1
    cdef int establish(self) except -1
    cdef int on_sendable(self, uint32_t events) except -1
    cdef bint shut_write(self) except -1
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
    cdef bint send_first(self, bytes data) except -1
    cdef bint has_unsent(self) noexcept
    cdef int wait_for_room(self, Stream stream) except -1
    cdef int wake_waiting(self) except -1
    cdef int process_input(self, bytes data) except -1
    cdef int pause(self, unsigned int reasons) except -1
    cdef int resume(self, unsigned int reasons) except -1

    cdef Py_ssize_t consume(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int on_end(self) except -1
    cdef int on_hangup(self) except -1
    cdef int on_broken(self, int error) except -1
    cdef int on_established(self) except -1
    cdef int on_refused(self, int error) except -1
    cdef int on_shut(self) except -1
    cdef int on_flushed(self, Py_ssize_t sent) except -1
    cdef bint may_send(self) noexcept
    cdef int abort(self, str why) except -1
