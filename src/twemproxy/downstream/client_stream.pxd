from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.net.event_loop cimport ChannelTimer
from twemproxy.net.send_queue cimport SendQueue
from twemproxy.protocol.request cimport Cursor, Request
from twemproxy.downstream.admission cimport Admission
from twemproxy.downstream.blocked_request cimport BlockedRequest
from twemproxy.downstream.client_states cimport ClientState
from twemproxy.proxy.memory_limit cimport LimitedStream
from twemproxy.downstream.pieced_request cimport PiecedRequest
from twemproxy.downstream.reply_queue cimport ReplyQueue
from twemproxy.upstream.server cimport Server
from twemproxy.upstream.server_connection cimport ServerConnection
from twemproxy.upstream.server_pool cimport ServerPool
from twemproxy.stats.counters cimport Counter


cdef class ClientTimer(ChannelTimer):
    cdef int64_t lingers_until


cdef class ClientStream(LimitedStream):
    cdef ServerPool pool
    cdef ReplyQueue replies
    cdef Admission admission
    cdef ServerConnection blocked_on
    cdef PiecedRequest pieced
    cdef BlockedRequest blocked
    cdef readonly object session
    cdef unsigned int id
    cdef unsigned int requests
    cdef unsigned int requests_counted
    cdef int command
    cdef Cursor cursor
    cdef Py_ssize_t discard
    cdef Py_ssize_t discard_arguments
    cdef int64_t opened_at
    cdef int64_t used_at
    cdef int profile
    cdef bint recognized
    cdef bint confined
    cdef unsigned char reply_flags
    cdef bint skips_reply
    cdef bint needs_planning
    cdef Server transaction_server
    cdef object reserved
    cdef object steps
    cdef object last_step
    cdef SendQueue parts
    cdef bytes notice
    cdef Py_ssize_t steps_hold
    cdef bint steps_are_messages
    cdef bint releasing
    cdef readonly ClientState state
    cdef str close_reason
    cdef int close_counter
    cdef bint broken_off
    cdef bint lingers
    cdef ClientTimer timer
    cdef object handover

    cdef int become(self, ClientState state) except -1
    cdef unsigned int reasons_to_pause(self) noexcept
    cdef unsigned int reasons_over(self) except 0
    cdef bint awaits_memory(self) except -1
    cdef int reconsider_reading(self) except -1
    cdef int answer_here(self, Request request, bytes reply) except -1
    cdef object begin_session(self)
    cdef int sync_session(self) except -1
    cdef int sync_profile(self) except -1
    cdef bint forward(self, Server server, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef bint wait_for(self, ServerConnection full) except -1
    cdef int update_session(self) except -1
    cdef int release_after_replies(self) except -1
    cdef int release_connections(self) except -1
    cdef int notify(self, bytes message) except -1
    cdef int reply(self, bytes reply) except -1
    cdef int break_off(self, bytes reply) except -1
    cdef int close_after_replies(self) except -1
    cdef bint exceeds_output_limit(self) except -1
    cdef bint is_subscribed(self) except -1
    cdef ClientTimer begin_timer(self)
    cdef int check_idleness(self) except -1
    cdef int apply_settings(self) except -1
    cdef int close(self, int counter, str why) except -1
    cpdef int abort(self, str why) except -1
    cdef int defer_close(self, int counter, str why) except -1
    cdef int drop_steps(self) except -1
    cdef bint recognized_or_silent(self) noexcept
    cdef Py_ssize_t unread_input(self) noexcept
    cdef int leave(self) except -1
    cdef int release_everything(self) except -1
