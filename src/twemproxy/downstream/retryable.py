"""Requests whose error reply may say that another form of the request would succeed; that form is then sent.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.twemproxy.downstream.reply_queue import ClientRequest, ReplyQueue
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import NOREPLY, QUIET, Request
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

# Bytes of retried requests in progress on a server connection.
MOST_RETRIED = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# A longer request is neither retried nor passed to ``Codec.remember_script``.
LONGEST = cython.declare(cython.const[cython.Py_ssize_t], 128 * 1024)


@cython.cfunc
@cython.exceptval(-1, check=False)
def send_retryable(
    connection: ServerConnection,
    request: Request,
    replies: ReplyQueue,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.int:
    """Send a request, in ``block`` from ``start`` to ``end``; send it again in another form if its error allows that.

    Not sent again while the server's send queue is full: the other form may be much longer.
    """
    handler: RetryableRequest
    if end - start > LONGEST:
        connection.send_request(replies, replies.reserve(), request, request.expected, block, start, end)
        return 0
    handler = RetryableRequest()
    handler.connection = connection
    handler.expected = request.expected
    handler.remembers_script = request.remembers_script
    handler.begin_request(replies, 1)
    handler.data = PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start)
    # The handler drops an unwanted reply.
    return connection.send_request(handler, 0, request, request.expected & ~(QUIET | NOREPLY), block, start, end)


@cython.final
@cython.cclass
class RetryableRequest(ClientRequest):
    """A request that is sent in another form after an error reply which says that this form would succeed.

    ``data``: the bytes of the request, None after its first error reply. ``retry_bytes``: length of the other form
    while it is in progress. ``remembers_script``: pass the request to ``Codec.remember_script`` when it has succeeded.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        codec: Codec = self.connection.codec
        self.connection.retry_bytes -= self.retry_bytes
        self.retry_bytes = 0
        if self.data is not None:
            if not codec.is_error(data, 0, length):
                if self.remembers_script:
                    codec.remember_script(self.data)
            elif self.is_retried(PyBytes_FromStringAndSize(cython.cast(cython.p_char, data), length)):
                return 0
        return self.answer_with(block, data, length)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_retried(self, reply: bytes) -> cython.bint:
        """Whether another form of the request was sent, because this error reply says that it would succeed."""
        connection: ServerConnection = self.connection
        retry: bytes = connection.codec.retry_form(self.data, reply)
        length: cython.Py_ssize_t
        self.data = None
        if not retry or self.replies.stream is None or connection.out.pending > HIGH_WATER:
            return False
        length = len(retry)
        if connection.retry_bytes + length > MOST_RETRIED:
            return False
        connection.retry_bytes += length
        self.retry_bytes = length
        connection.send_bytes(self, 0, retry, self.expected & ~(QUIET | NOREPLY))
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        self.connection.retry_bytes -= self.retry_bytes
        self.retry_bytes = 0
        return ClientRequest.fail(self, position, reply)
