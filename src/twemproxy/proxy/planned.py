"""What a codec has planned, carried out for a client.

Compiled-only; part of ``proxy.client``, in a module of its own.
"""

import cython
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.stream import HIGH_WATER
from cython.cimports.twemproxy.proxy.client import ClientConnection
from cython.cimports.twemproxy.proxy.fragment import dispatch_ask
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection

from twemproxy.protocol.plan import Answer, ToPrivate, ToServer


@cython.cfunc
@cython.exceptval(-1, check=False)
def follow(
    client: ClientConnection, plan, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Carry out a plan for the request just framed, see ``protocol.plan``; False when it has to wait."""
    connection: ServerConnection
    if isinstance(plan, Answer):
        client.reply(plan.reply)
        client.closing = client.closing or plan.last
        return True
    if isinstance(plan, ToServer):
        return client.forward(plan.server, block, start, end)
    if isinstance(plan, ToPrivate):
        connection = client.reserved.use(plan.server)
        connection.send_request(client.replies, client.replies.reserve(), block, start, end)
        if plan.last:
            client.leave_private()
        return True
    if plan.private:
        dispatch_ask(client.pool, client.replies, [client.reserved.use(server) for server, _ in plan.requests], plan)
        client.leave_private()
        return True
    connections = [client.pool.connection(server, client.id, client.profile) for server, _ in plan.requests]
    for connection in connections:
        if connection.out.pending > HIGH_WATER:
            return client.wait_for(connection)
    dispatch_ask(client.pool, client.replies, connections, plan)
    return True


@cython.cfunc
@cython.exceptval(-1, check=False)
def queue_request(
    client: ClientConnection, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Send a request with one key to the server that queues the client's requests, if it is the key's and is well."""
    connection: ServerConnection
    if client.skipping or client.pool.server_of_key(block_bytes(block)) != client.queues_to:
        return False
    connection = client.reserved.use(client.queues_to)
    if not connection.is_ready() or connection.out.pending > HIGH_WATER:
        return False
    connection.send_request(client.replies, client.replies.reserve(), block, start, end)
    return True
