"""PUBLISH: in the reply, the number of clients that got the message replaces that of the proxy's subscriptions.

Compiled-only. Without subscriptions in the pool, requests and replies are forwarded unchanged.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.twemproxy.downstream.client_states import PAUSED_FOR_DECISION
from cython.cimports.twemproxy.downstream.client_stream import ClientStream
from cython.cimports.twemproxy.downstream.reply_queue import ClientRequest
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import NOREPLY, QUIET, SUM, Request
from cython.cimports.twemproxy.upstream.pubsub import Subscriptions
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection


@cython.cfunc
@cython.exceptval(-1, check=False)
def publish(
    client: ClientStream,
    request: Request,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.bint:
    """Send a request to its channel's server; returns False if the connection's send queue is full, or subscriptions
    move so that the message would miss subscribers.
    """
    buf: cython.p_uchar = block_bytes(block)
    server: Server = client.pool.routes.server_of_key(buf, start, request)
    connection: ServerConnection
    published: PublishRequest
    subscriptions: Subscriptions = client.pool.subscriptions
    kind: str
    name: bytes
    if not subscriptions.is_used():
        return client.forward(server, request, block, start, end)
    kind = client.pool.codec.pubsub.kind_of(request.command)
    name = PyBytes_FromStringAndSize(
        cython.cast(cython.p_char, buf + start + request.key_start), request.key_end - request.key_start
    )
    if subscriptions.is_moving() and subscriptions.holds_back(client, kind, name, server):
        client.pause(PAUSED_FOR_DECISION)
        return False
    connection = client.pool.connection(server, client.id, client.profile)
    if connection.out.pending > HIGH_WATER:
        return client.wait_for(connection)
    published = PublishRequest()
    published.pool = client.pool
    published.server = server
    published.kind = kind
    published.name = name
    published.published = subscriptions.published
    published.routes = published.published.begin()
    published.is_on_its_way = True
    published.expected = request.expected
    published.begin_request(client.replies, 1)
    # The handler drops an unwanted reply.
    connection.send_request(published, 0, request, request.expected & ~(QUIET | NOREPLY), block, start, end)
    return True


@cython.final
@cython.cclass
class PublishRequest(ClientRequest):
    """``kind``, ``name``: the kind and name of the channel, as in ``upstream.pubsub``. ``routes``: the argument of
    ``Published.end``, which is to be called while ``is_on_its_way``.
    """

    @cython.cfunc
    @cython.exceptval(check=False)
    def arrived(self) -> cython.void:
        """The server has replied, or never will."""
        if self.is_on_its_way:
            self.is_on_its_way = False
            self.published.end(self.routes)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        codec: Codec = self.pool.codec
        reply = cython.declare(cython.uchar[32])
        at: cython.Py_ssize_t = codec.find_values(data, 0, length, SUM, 1)
        counted: cython.longlong
        self.arrived()
        if self.expected & NOREPLY or at < 0:
            return self.answer_with(block, data, length)
        clients, subscriptions = self.pool.subscriptions.audience(self.kind, self.name, self.server)
        counted = max(codec.read_integer(data, at, length) - subscriptions, 0) + clients
        return self.answer_with(cython.NULL, reply, codec.put_merged(reply, SUM, 1, counted))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        self.arrived()
        return ClientRequest.fail(self, position, reply)
