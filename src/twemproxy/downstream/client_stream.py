"""A client's connection without its requests: its state, the order of replies, its session, and its end.

Compiled-only. ``downstream.client`` takes requests from it.
"""

import os

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.admission import Admission
from cython.cimports.twemproxy.downstream.client_states import (
    ABORTED,
    CLIENT_STATES,
    CLOSED,
    CLOSING,
    LINGERING,
    OPEN,
    PAUSED_FOR_DECISION,
    PAUSED_FOR_OUTPUT,
    PAUSED_FOR_PIECES,
    PAUSED_FOR_RELEASE,
    PAUSED_FOR_SERVER,
    PAUSED_FOR_STEPS,
    PAUSED_FOR_WINDOW,
    ClientState,
)
from cython.cimports.twemproxy.downstream.reply_queue import ReplyQueue
from cython.cimports.twemproxy.downstream.retryable import send_retryable
from cython.cimports.twemproxy.downstream.shared_message import SharedMessage
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import ChannelTimer
from cython.cimports.twemproxy.net.stream import HIGH_WATER, LOW_WATER, PAUSED_FOR_TURN
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.net.transport import Transport
from cython.cimports.twemproxy.protocol.request import (
    NOREPLY,
)
from cython.cimports.twemproxy.proxy.memory_limit import PAUSED_FOR_MEMORY, THRIFTY_WINDOW, LimitedStream
from cython.cimports.twemproxy.proxy.pool_settings import PoolSettings
from cython.cimports.twemproxy.stats.positions import (
    CLIENT_CONNECTIONS,
    CLIENT_EOF,
    CLIENT_ERR,
    CURR_CONNECTIONS,
)
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection
from cython.cimports.twemproxy.upstream.server_pool import ServerPool

from twemproxy.net.sockets import local_end_of, peer_of
from twemproxy.upstream.private_connections import Reservations

# A client's requests wait while more than REPLIES_HIGH bytes of its replies are unsent, until they fall to REPLIES_LOW.
REPLIES_HIGH = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
REPLIES_LOW = cython.declare(cython.const[cython.Py_ssize_t], 256 * 1024)
WARN = cython.declare(cython.const[cython.int], 4)
INFO = cython.declare(cython.const[cython.int], 6)
# Value of ``Session.replies`` when the next request gets no reply.
SKIP_NEXT = cython.declare(cython.const[cython.int], 2)


@cython.final
@cython.no_gc
@cython.cclass
class ClientTimer(ChannelTimer):
    """The timer of a client with a deadline. ``lingers_until``: NEVER while the client does not linger."""

    def __cinit__(self, *_) -> None:
        self.lingers_until = NEVER


@cython.cclass
class ClientStream(LimitedStream):
    """A client's connection.

    ``state``, and the reasons in ``pauses``: see ``downstream.client_states``. ``blocked_on``: the server connection
    without room for the next request.

    ``close_reason``, ``close_counter``: why an ABORTED client is closed, and the counter for that.

    ``cursor``: the cursor of the incomplete request, None without one. ``discard``, ``discard_arguments``: as in
    ``Request``; the part that is still to be discarded. ``profile``: see ``Codec.session``. ``reply_flags``: the
    session's part of ``Request.expected``. ``skips_reply``: the next request gets no reply.

    ``steps``: the request that is being processed in steps, None without one, see ``protocol.plan.Steps``.
    ``last_step``: the plan that ended the steps and is still to be executed. ``parts``: unsent parts of the reply.
    ``steps_hold``: ``Steps.held``. ``steps_are_messages``: ``Steps.messages``.

    ``notice``: a message that waits for the end of these steps, None without one.

    ``requests``: how many were taken; ``requests_counted`` of them were counted by the balance of workers.

    ``command``: the row of the client's last command, -1 before the first one and for an unknown command.

    ``confined``: the client has yet to authenticate. ``recognized``: its first bytes are not those of another protocol.

    ``lingers``: after the last reply the state is LINGERING for some time, so that the client gets this reply.
    ``timer``: None while the client has no deadline. ``pieced``: the request that is served in pieces; later requests
    wait. ``handover``: the hand-over to another process that is in progress, None without one.

    ``transaction_server``: the server on which the client has begun a transaction, on a private connection; None
    without one. ``needs_planning``: every request is planned, except those for ``transaction_server``. ``releasing``:
    private connections are released after the last reply, and no request is taken until then. ``blocked``: the request
    that waits for keys on a private connection, None without one. ``watches_hangup``: a
    reply may never arrive, so the client's hangup is watched for.
    """

    def __init__(self, transport: Transport, number: int, pool: ServerPool, admission: Admission) -> None:
        """``transport``: that of an accepted connection. ``number``: unique among the pool's clients."""
        self.loop = pool.loop
        self.pool = pool
        self.admission = admission
        self.id = number
        self.command = -1
        self.needs_planning = self.confined = pool.settings.requires_auth
        memory = admission.memory
        self.replies = ReplyQueue(pool, memory.first_window, memory.window_bytes)
        self.replies.stream = self
        self.replies.pool_counters = pool.counters
        self.open_stream(transport)
        self.opened_at = self.used_at = self.loop.now
        self.check_idleness()
        admission.open += 1
        pool.counters[CLIENT_CONNECTIONS] += 1
        pool.process_counters[CURR_CONNECTIONS] += 1
        if self.loop.verbosity >= INFO:
            pool.log.client_opened(self.fd)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def become(self, state: ClientState) -> cython.int:
        """Change the state. Raises AssertionError if ``downstream.client_states`` has no such transition."""
        CLIENT_STATES.check(self.state, state)
        self.state = state
        return 0

    # --- pauses ----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def reasons_to_pause(self) -> cython.uint:
        """The reasons for which no further request may be taken now."""
        reasons: cython.uint = 0
        on_their_way: cython.uint = self.replies.tail - self.replies.head
        if (
            on_their_way >= self.replies.window
            or on_their_way + self.replies.values >= 2 * cython.cast(cython.Py_ssize_t, self.replies.window)
            or (on_their_way >= THRIFTY_WINDOW and self.admission.memory.is_thrifty())
        ):
            reasons |= PAUSED_FOR_WINDOW
        if self.out.pending + self.replies.kept > REPLIES_HIGH:
            reasons |= PAUSED_FOR_OUTPUT
        if self.releasing:
            reasons |= PAUSED_FOR_RELEASE
        if self.steps is not None:
            reasons |= PAUSED_FOR_STEPS
        if self.pieced is not None:
            reasons |= PAUSED_FOR_PIECES
        return reasons

    @cython.cfunc
    @cython.exceptval(0, check=False)
    def reasons_over(self) -> cython.uint:
        """The reasons that do not exist any more."""
        over: cython.uint = PAUSED_FOR_TURN | PAUSED_FOR_DECISION
        if (
            self.replies.tail - self.replies.head <= self.admission.memory.window(self.replies.window) // 2
            and self.replies.values <= self.replies.window
        ):
            over |= PAUSED_FOR_WINDOW
        if self.out.pending + self.replies.kept <= REPLIES_LOW:
            over |= PAUSED_FOR_OUTPUT
        if not self.releasing:
            over |= PAUSED_FOR_RELEASE
        if self.steps is None:
            over |= PAUSED_FOR_STEPS
        if self.pieced is None:
            over |= PAUSED_FOR_PIECES
        if self.pauses & PAUSED_FOR_SERVER:
            if self.blocked_on.out.pending > LOW_WATER:
                # Other clients that were woken with this one have filled the queue again.
                self.blocked_on.wait_for_room(self)
            else:
                self.blocked_on = None
                over |= PAUSED_FOR_SERVER
        if not self.awaits_memory():
            over |= PAUSED_FOR_MEMORY
        return over

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def awaits_memory(self) -> cython.bint:
        """Whether nothing is read from the client because of ``--max-memory``."""
        return self.pauses & PAUSED_FOR_MEMORY != 0 and self in self.admission.memory.waiting

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def pause(self, reasons: cython.uint) -> cython.int:
        """Take no more requests while one of these reasons exists; see ``reconsider_reading``."""
        self.pauses |= reasons
        return self.reconsider_reading()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reconsider_reading(self) -> cython.int:
        """During a pause: read on if more than REPLIES_LOW bytes of output are unsent.

        Some clients write all their requests before they read a reply: if the proxy did not read either, both would
        wait for ever.
        """
        self.reads_ahead = (
            self.state == OPEN
            and self.out.pending > 0
            and self.out.pending + self.replies.kept > REPLIES_LOW
            and not self.awaits_memory()
        )
        return self.update_interest()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def forward(
        self,
        server: Server,
        request: Request,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Send a whole request to a server; returns False if the server connection's send queue is full."""
        connection: ServerConnection = self.pool.connection(server, self.id, self.profile)
        if connection.fenced and connection.is_stuck():
            ready = self.reservations().reserve(server, self.profile)
            if ready is True:
                connection = self.reserved.use(server)
                connection.send_request(
                    self.replies, self.replies.reserve(), request, request.expected, block, start, end
                )
                self.release_after_replies()
                return True
            if ready is False:
                self.pause(PAUSED_FOR_DECISION)
                return False
        if connection.out.pending > HIGH_WATER:
            return self.wait_for(connection)
        if request.required_features != 0 and connection.lacks_features(request.required_features):
            self.answer_here(request, connection.endpoint.explanation(self.pool.codec.handshake.missing_feature_text()))
            return True
        if request.retryable and not (
            request.remembers_script and self.pool.codec.has_script(block_bytes(block), start, request)
        ):
            send_retryable(connection, request, self.replies, block, start, end)
            return True
        connection.send_request(self.replies, self.replies.reserve(), request, request.expected, block, start, end)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait_for(self, full: ServerConnection) -> cython.bint:
        """Take no requests until the send queue of ``full`` has room; returns False."""
        self.blocked_on = full
        full.wait_for_room(self)
        self.pause(PAUSED_FOR_SERVER)
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def update_session(self) -> cython.int:
        """Apply the session's state after a planned request was sent or answered."""
        self.session.on_dispatched()
        self.needs_planning = self.session.needs_planning
        self.confined = self.pool.settings.requires_auth and not self.session.authenticated
        self.transaction_server = self.session.transaction_server
        return self.sync_session()

    # --- private connections ---------------------------------------------------------------------------------

    def reservations(self):
        """The client's private connections, created with the first call."""
        if self.reserved is None:
            self.reserved = Reservations(self, self.pool.private)
        return self.reserved

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def release_after_replies(self) -> cython.int:
        """Release private connections after the last reply; watch for a hangup if that reply may never arrive."""
        self.releasing = True
        self.watches_hangup = self.reserved.is_patient()
        return self.update_interest()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def release_connections(self) -> cython.int:
        """After all replies from private connections: release those that the client does not keep."""
        self.releasing = False
        self.blocked = None
        self.reserved.release(True)
        if self.watches_hangup:
            self.watches_hangup = False
            return self.update_interest()
        return 0

    def lapse(self) -> None:
        """The client was silent for too long while it kept a private connection: release the connection."""
        self.session.lapsed()
        self.transaction_server = self.session.transaction_server
        self.wake()

    def address(self) -> str:
        """The client's address without the port, or "a unix socket"."""
        return peer_of(self.fd).rpartition(":")[0] or "a unix socket"

    def close_after_hangup(self) -> None:
        """Close at the end of the turn: the client hung up while it waited for a reply."""
        self.defer_close(CLIENT_EOF, "it closed the connection while it waited for a reply")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_hangup(self) -> cython.int:
        # A reply that the server has ready is still received; a request that still blocks there is dropped by the
        # server. A request between two servers is not asked again.
        if (self.blocked is not None and self.blocked.is_moving()) or not self.reserved.finish():
            self.close_after_hangup()
            return 0
        self.watches_hangup = False
        return self.update_interest()

    # --- messages that answer nothing ------------------------------------------------------------------------

    def push(self, message: bytes, shared):
        """Send a message outside the order of replies, unless the connection is closing.

        ``shared``: the value that this method returned for the previous client with the same message, None for the
        first.
        """
        copy: SharedMessage = shared
        if self.state >= CLOSING:
            return copy
        if copy is None:
            copy = SharedMessage(self.loop.blocks, message)
        if self.pieced is None or not self.pieced.begun:
            copy.append_to(self.out, self.session.message_beginning)
            self.loop.want_flush(self)
            return copy
        copy.append_to(self.pieced.messages, self.session.message_beginning)
        if self.pieced.messages.pending > self.pool.settings.message_limit:
            self.abort("it does not read its replies or messages")
        return copy

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def notify(self, message: bytes) -> cython.int:
        """As ``push``, for one client that may be in the middle of a reply: then the message follows this reply."""
        self.notice = None
        if self.steps is not None and not self.steps_are_messages:
            self.notice = message
        else:
            self.push(message, None)
        return 0

    def wake(self) -> None:
        """Check in this turn whether the client can go on."""
        self.loop.want_flush(self)

    # --- replies of the proxy's own ----------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sync_session(self) -> cython.int:
        """Apply the session's profile and reply mode."""
        self.sync_profile()
        self.skips_reply = self.session.replies == SKIP_NEXT
        self.reply_flags = (NOREPLY if self.session.replies != 0 else 0) | cython.cast(
            cython.uchar, self.session.expected
        )
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sync_profile(self) -> cython.int:
        """Use server connections of the session's profile."""
        profile: cython.int = self.session.profile
        if profile != self.profile:
            self.pool.profiles.changed(self.profile, profile)
            self.profile = profile
        return 0

    @cython.cfunc
    def begin_session(self):
        """The client's session, created with the first call."""
        if self.session is None:
            self.session = self.pool.codec.session(self.pool, self)
        return self.session

    def is_confined(self) -> bool:
        """Whether the client has yet to authenticate."""
        return self.confined

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def apply_settings(self) -> cython.int:
        """The pool has other settings: without a password, clients need not authenticate any more."""
        if self.confined and not self.pool.settings.requires_auth:
            self.confined = self.needs_planning = False
            if self.session is not None:
                self.session.authenticated = True
                self.needs_planning = self.session.needs_planning
        return self.check_idleness()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_here(self, request: Request, reply: bytes) -> cython.int:
        """Reply with this error, unless the client wants no reply to the request."""
        return self.reply(b"" if request.expected & NOREPLY else reply)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reply(self, reply: bytes) -> cython.int:
        """Reply to the next request with these bytes."""
        return self.replies.deliver(
            self.replies.reserve(),
            cython.NULL,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
            PyBytes_GET_SIZE(reply),
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def break_off(self, reply: bytes) -> cython.int:
        """Reply with a last error and close the connection after all replies are sent."""
        self.reply(reply)
        self.broken_off = True
        return self.close_after_replies()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_after_replies(self) -> cython.int:
        """Ignore all further input, and close after the last reply."""
        return self.become(CLOSING) if self.state < CLOSING else 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def exceeds_output_limit(self) -> cython.bint:
        """Whether the unread output exceeds the client's limit; logs a warning if so."""
        untaken: cython.Py_ssize_t = self.out.behind_first()
        settings: PoolSettings = self.pool.settings
        limit: cython.Py_ssize_t = settings.message_limit if self.is_subscribed() else settings.reply_limit
        if untaken <= limit:
            return False
        if self.loop.verbosity >= WARN:
            self.pool.log.client_takes_nothing(self.fd, untaken, limit)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_subscribed(self) -> cython.bint:
        return self.session is not None and self.session.subscribed

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_broken(self, error: cython.int) -> cython.int:
        return self.close(CLIENT_ERR, os.strerror(error) if self.loop.verbosity >= INFO else "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        return self.close(CLIENT_ERR, "an error inside the proxy")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close(self, counter: cython.int, why: str) -> cython.int:
        """Close now; replies to requests in progress are dropped. Not called while input is parsed."""
        if self.fd < 0:
            return 0
        if (self.state == CLOSING or self.state == LINGERING) and not self.ended:
            # The client gets the last reply although it may still be sending.
            self.shut_write()
            self.transport.drop_input()
        if self.loop.verbosity >= INFO:
            self.pool.log.client_closed(self.fd, why)
        self.pool.counters[counter] += 1
        return self.release_everything()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self) -> cython.int:
        """Forget the client, with which another process goes on: only this descriptor is closed."""
        if self.loop.verbosity >= INFO:
            self.pool.log.client_left(self.fd)
        return self.release_everything()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def release_everything(self) -> cython.int:
        """Close the descriptor, and give up all that the client has."""
        if self.handover is not None:
            self.handover.forget(self)
        self.pool.counters[CLIENT_CONNECTIONS] -= 1
        self.pool.process_counters[CURR_CONNECTIONS] -= 1
        self.admission.open -= 1
        self.admission.memory.forget(self)
        self.timer = None
        self.become(CLOSED)
        self.blocked_on = None
        self.drop_steps()
        self.pieced = None
        if self.blocked is not None:
            self.blocked.end()
            self.blocked = None
        self.close_stream()
        self.replies.close()
        if self.profile != 0:
            self.pool.profiles.changed(self.profile, 0)
            self.profile = 0
        if self.session is not None:
            self.session.on_close()
        if self.reserved is not None:
            self.reserved.release(False)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def defer_close(self, counter: cython.int, why: str) -> cython.int:
        """Close at the end of the turn, even with requests in progress; no more requests are taken."""
        if self.state >= ABORTED:
            return 0
        self.become(ABORTED)
        self.close_counter = counter
        self.close_reason = why
        return self.loop.defer(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        return self.close(self.close_counter, self.close_reason) if self.state == ABORTED else 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def abort(self, why: str) -> cython.int:
        return self.defer_close(CLIENT_ERR, why)

    @cython.cfunc
    def begin_timer(self) -> ClientTimer:
        """The client's timer, made with the first call: most clients have no deadline."""
        if self.timer is None:
            self.timer = ClientTimer(self.loop.timers, self)
        return self.timer

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def check_idleness(self) -> cython.int:
        """Arm the timer for the ``idle_limit`` that the pool has now."""
        limit: int64_t = self.pool.settings.idle_limit
        return 0 if limit == 0 else self.begin_timer().arm_by(self.used_at + limit)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_timer(self) -> cython.int:
        """Close if the client has lingered for too long, or has been idle for ``idle_limit``.

        A client that waits for a reply or has a subscription is not idle, unless it has output and takes none of it.
        """
        limit: int64_t = self.pool.settings.idle_limit
        waits: cython.bint = self.awaits_replies() or self.steps is not None or self.is_subscribed()
        if self.timer.lingers_until <= self.loop.now:
            return self.close(CLIENT_ERR, "it did not close")
        self.timer.arm_by(self.timer.lingers_until)
        if limit == 0:
            return 0
        if self.transport.has_taken() if self.out.pending > 0 else waits:
            self.used_at = self.loop.now
        if self.used_at + limit > self.loop.now:
            return self.timer.arm_by(self.used_at + limit)
        return self.close(CLIENT_EOF, "it was idle for too long")

    # --- for the control plane -------------------------------------------------------------------------------

    def slot(self) -> int:
        """The slot of the client's pool, see ``ServerPool``."""
        return self.pool.slot

    def number(self) -> int:
        """The client's number: unique among the clients of a pool, larger than all earlier ones."""
        return self.id

    def progress(self) -> tuple:
        """(the number of requests so far, modulo 2**32; the event loop's turn of the last read)."""
        return self.replies.tail, self.read_turn

    def awaits_replies(self) -> bool:
        """Whether requests of the client have no reply yet."""
        return self.replies.head != self.replies.tail

    def is_blocked(self) -> bool:
        """Whether the client waits for a reply that may never arrive."""
        return self.watches_hangup

    def description(self) -> dict:
        """The connection as a dictionary: addresses, descriptor, age and idle time in seconds, and the entries below.

        ``qbuf``: bytes of input that were read and not processed. ``oll``: replies not sent yet. ``omem``: bytes of
        unsent replies. ``events``: the events that the loop waits for, of "r" and "w". ``command``: the row of the last
        command.
        """
        ahead: cython.Py_ssize_t = 0 if self.ahead is None else self.ahead.pending
        return {
            "addr": peer_of(self.fd),
            "laddr": local_end_of(self.fd),
            "fd": self.fd,
            "age": (self.loop.now - self.opened_at) // 1_000_000,
            "idle": (self.loop.now - self.used_at) // 1_000_000,
            "qbuf": self.steps_hold + self.tail_end - self.tail_start + ahead,
            "oll": self.replies.tail - self.replies.head,
            "omem": self.out.pending + self.replies.kept,
            "events": ("" if self.pauses != 0 else "r") + ("w" if self.out.pending > 0 else ""),
            "command": self.command,
        }

    # --- for a hand-over -------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def recognized_or_silent(self) -> cython.bint:
        """Whether the client has sent nothing yet, or what it has sent is the pool's protocol."""
        return self.recognized or self.tail_end == self.tail_start

    @cython.cfunc
    @cython.exceptval(check=False)
    def unread_input(self) -> cython.Py_ssize_t:
        """Bytes that were read and not processed."""
        return self.tail_end - self.tail_start + (0 if self.ahead is None else self.ahead.pending)

    # --- requests in steps -----------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_steps(self) -> cython.int:
        """Drop the request that is processed in steps, if there is one."""
        self.steps = self.last_step = None
        self.loop.blocks.allocated -= self.steps_hold
        self.steps_hold = 0
        if self.parts is not None:
            self.parts.clear(self.loop.blocks)
            self.parts = None
        return 0
