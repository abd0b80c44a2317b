"""Requests whose error reply may say that another form of them would do.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.protocol.codec import MUTED, QUIET
from cython.cimports.twemproxy.proxy.reply_queue import ReplyQueue
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection
from cython.cimports.twemproxy.proxy.sink import Sink


@cython.cfunc
@cython.exceptval(-1, check=False)
def send_repairable(
    connection: ServerConnection,
    replies: ReplyQueue,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.int:
    """Send the request just framed, in ``block`` from ``start`` to ``end``; once more when it can be repaired.

    It cannot when its server has enough to take: a repaired request may be very much longer.
    """
    request: RepairableRequest = RepairableRequest()
    request.connection = connection
    request.replies = replies
    request.expected = connection.codec.expected
    request.position = replies.reserve()
    request.request = PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start)
    if connection.codec.notable:
        connection.codec.note(request.request)
    # What the client does not want of the reply is seen to here.
    connection.codec.expected &= ~(QUIET | MUTED)
    return connection.send_request(request, 0, block, start, end)


@cython.final
@cython.cclass
class RepairableRequest(Sink):
    """``request`` is None once it has been repaired."""

    @cython.cfunc
    def owner(self) -> object:
        return self.replies

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        repaired: bytes
        connection: ServerConnection = self.connection
        if self.request is not None and connection.codec.is_error(data, 0, length):
            repaired = connection.codec.repaired(
                self.request, PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length)
            )
            self.request = None
            if repaired and self.replies.stream is not None and connection.out.pending <= HIGH_WATER:
                connection.out.append(
                    connection.loop.blocks,
                    cython.cast(cython.p_uchar, PyBytes_AS_STRING(repaired)),
                    PyBytes_GET_SIZE(repaired),
                )
                return connection.enqueue(self, 0, PyBytes_GET_SIZE(repaired), self.expected & ~(QUIET | MUTED))
        return self.replies.deliver(self.position, block, data, 0 if self.expected & MUTED else length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        return self.replies.fail(self.position, b"" if self.expected & MUTED else reply)
