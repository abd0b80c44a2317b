"""A blocking request that may be asked again at another server.

Compiled-only. ``upstream.waits`` takes it off its server when its keys move; then ``downstream.plan_execution`` plans
it again.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.reply_queue import ClientRequest, ReplyQueue
from cython.cimports.twemproxy.net.block import Block
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

# Longest error that may be that of an unblocked request.
LONGEST_ERROR = cython.declare(cython.const[cython.Py_ssize_t], 256)


@cython.final
@cython.cclass
class BlockedRequest(ClientRequest):
    """``blocking``: see ``protocol.plan``. ``since``: when it was first asked, in microseconds. ``size``: bytes that it
    keeps, which count as traffic; 0 when it has ended. ``wait``: an ``upstream.waits.Wait`` while a server has it.
    ``connection``: the last one on which it was sent. ``is_misplaced``: it has to be asked again.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(self, replies: ReplyQueue, expected: cython.uchar, blocking, since: int64_t) -> cython.int:
        """A client asks the request; its reply gets the next position of ``replies``."""
        self.expected = expected
        self.blocking = blocking
        self.since = since
        # The request and its keys.
        self.size = 2 * PyBytes_GET_SIZE(blocking.data)
        self.loop = replies.stream.loop
        self.loop.blocks.allocated += self.size
        self.begin_request(replies, 1)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def place(self, wait, connection: ServerConnection) -> cython.int:
        """The request is sent on this connection."""
        self.wait = wait
        self.connection = connection
        self.is_misplaced = False
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_moving(self) -> cython.bint:
        """Whether the request is being taken off its server, or is at none."""
        return self.is_misplaced or (self.wait is not None and self.wait.moving)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end(self) -> cython.int:
        """The request has its reply, or its client is closed."""
        if self.wait is not None:
            self.wait.end()
            self.wait = None
        self.loop.blocks.allocated -= self.size
        self.size = 0
        self.connection = None
        self.is_misplaced = False
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        if (
            self.wait is not None
            and self.wait.moving
            and length <= LONGEST_ERROR
            and self.wait.takes(PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length))
        ):
            return 0
        self.end()
        return self.answer_with(block, data, length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        # After a part of the reply the request may have popped an element, and must not pop another one.
        if self.wait is not None and not self.connection.was_cut and self.wait.is_lost():
            return 0
        self.end()
        return ClientRequest.fail(self, position, reply)

    # --- for ``upstream.waits`` --------------------------------------------------------------------------------------

    def ask_again(self) -> None:
        """The server does not have the request any more: ask it again."""
        self.wait = None
        if self.replies.stream is not None:
            self.is_misplaced = True
            self.loop.want_flush(self.replies.stream)

    def end_with(self, reply: bytes) -> None:
        """Reply to the client with these bytes."""
        self.end()
        self.answer_with(cython.NULL, cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)), PyBytes_GET_SIZE(reply))
