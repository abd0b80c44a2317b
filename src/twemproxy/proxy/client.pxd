from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.net.stream cimport Stream
from twemproxy.proxy.limits cimport ClientCount, ClientLimits
from twemproxy.proxy.reply_queue cimport ReplyQueue
from twemproxy.proxy.server_connection cimport ServerConnection
from twemproxy.proxy.server_pool cimport ServerPool
from twemproxy.stats.counters cimport Counter


cdef class ClientConnection(Stream):
    cdef ServerPool pool
    cdef ReplyQueue replies
    cdef ClientCount everyone
    cdef ClientLimits limits
    cdef ServerConnection blocked_on
    cdef readonly object session
    cdef unsigned int id
    cdef Py_ssize_t resume_at
    cdef Py_ssize_t resume_left
    cdef Py_ssize_t swallow
    cdef Py_ssize_t swallow_arguments
    cdef int64_t opened_at
    cdef int64_t used_at
    cdef int profile
    cdef unsigned char wishes
    cdef bint skipping
    cdef bint attended
    cdef int queues_to
    cdef object reserved
    cdef bint leaving
    cdef bint closing
    cdef bint awaits_memory
    cdef bint broken_off

    cdef bint must_pause(self) noexcept
    cdef bint take_request(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint route_request(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int answer_here(self, bytes reply) except -1
    cdef object begin_session(self)
    cdef int take_wishes(self) except -1
    cdef bint forward(self, int server, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint forward_together(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint wait_for(self, ServerConnection full) except -1
    cdef int rewrite(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint take_planned(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int leave_private(self) except -1
    cdef int give_back(self) except -1
    cdef int reply(self, bytes reply) except -1
    cdef int break_off(self, bytes reply) except -1
    cdef int close_if_done(self) except -1
    cdef bint leaves_lying(self) except -1
    cdef bint is_subscribed(self) except -1
    cdef int64_t expire(self) except? -2
    cdef int close(self, int counter, str why) except -1
    cpdef drain(self)
