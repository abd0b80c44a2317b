from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.upstream.pipeline cimport Pipeline
from twemproxy.upstream.roles cimport Policy
from twemproxy.upstream.server_stream cimport ServerStream
from twemproxy.proxy.reply_handler cimport ReplyHandler


cdef class ServerConnection(ServerStream):
    cdef public object listener
    cdef public object may_open
    cdef Policy policy
    cdef bint writes_suspended
    cdef bint drain_requested
    cdef bint was_cut
    cdef bint tainted
    cdef bint fenced
    cdef bint limited
    cdef bint private
    cdef bint has_place
    cdef int64_t counted_until
    cdef Pipeline requests
    cdef Py_ssize_t retry_bytes
    cdef int64_t reply_began_at
    cdef Py_ssize_t[4] gauges

    cdef int send_request(self, ReplyHandler handler, unsigned int position, Request request, unsigned char expected, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int send_bytes(self, ReplyHandler handler, unsigned int position, bytes request, unsigned char expected) except -1
    cdef int begin_request(self, ReplyHandler handler) except -1
    cdef int fence_before(self, object owner) except -1
    cdef bint is_stuck(self) noexcept
    cdef int drop_unsent(self) except -1
    cdef int end_last_slice(self) except -1
    cdef int forget_unsent_fences(self) except -1
    cdef int enqueue(self, ReplyHandler handler, unsigned int position, Py_ssize_t length, unsigned char expected, unsigned char required_features) except -1
    cdef Py_ssize_t consumed(self, Py_ssize_t start) except -1
    cdef list take_failed(self, bint again)
    cdef int reply_arrived(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int64_t check_deadlines(self) except? -2
    cdef int64_t suspend_writes(self) noexcept
    cdef bint is_due(self) noexcept
    cdef int read_unread(self) except -1
    cdef int end_reply(self) except -1
    cdef int64_t reply_ends_by(self) noexcept
    cdef int opening_overdue(self) except -1
    cdef int requests_overdue(self) except -1
    cdef int fail_overdue(self, bytes reply) except -1
    cdef bint owes(self) noexcept
    cdef int fail_for_stop(self, str reason) except -1
    cdef int tell_failed(self, list failed, bytes reply) except -1
    cdef bint counts_failures(self) noexcept
    cdef bint is_unused(self) noexcept
    cdef int64_t timeout(self) noexcept
    cdef bint is_down(self) noexcept
    cdef int answer_unsent(self) except -1
    cdef int end_with(self, bytes reply) except -1
    cdef int64_t silent_by(self) noexcept
    cdef int drain_soon(self) except -1
    cdef bint may_drain(self) noexcept
    cdef int start_drain(self) except -1
    cdef int reconnect(self) except -1
    cdef int fail_with(self, int error, str reason, bytes reply, bint counts_as_failure, bint again) except -1
