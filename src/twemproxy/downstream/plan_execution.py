"""Executes a codec's plan for a client's request.

Compiled-only.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.downstream.blocked_request import BlockedRequest
from cython.cimports.twemproxy.downstream.client_states import ABORTED
from cython.cimports.twemproxy.downstream.client_stream import ClientStream
from cython.cimports.twemproxy.downstream.scatter import fan_out
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.net.stream import HIGH_WATER, LOW_WATER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import COMPLETE, NOREPLY, QUIET, Cursor, Frame, Request
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

from twemproxy.protocol.plan import Answer, Steps, ToPrivate, ToServer


@cython.cfunc
@cython.exceptval(-1, check=False)
def execute(
    client: ClientStream,
    plan,
    request: Request,
    expected: cython.uchar,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.bint:
    """Execute a plan for a request, in ``block`` from ``start`` to ``end``; returns False if the request has to wait.

    See ``protocol.plan``. The plan at the end of ``Steps`` does not send the client's request: ``request`` is None
    then, and there are no bytes. ``expected``: that of the request.
    """
    connection: ServerConnection
    if isinstance(plan, Steps):
        return begin_steps(client, plan)
    if isinstance(plan, Answer):
        client.reply(plan.reply)
        if plan.last:
            client.close_after_replies()
        return True
    if isinstance(plan, ToServer):
        return client.forward(plan.server, request, block, start, end)
    if isinstance(plan, ToPrivate):
        connection = client.reserved.use(plan.server)
        if plan.blocking is not None:
            client.blocked = BlockedRequest()
            client.blocked.begin(client.replies, request.expected, plan.blocking, client.loop.now)
            send_blocked(client, plan, connection, request, block, start, end)
        else:
            connection.send_request(
                client.replies, client.replies.reserve(), request, request.expected, block, start, end
            )
        if plan.last:
            client.release_after_replies()
        return True
    if plan.private:
        connections = [client.reserved.use(server) for server, _ in plan.requests]
        fan_out(client.pool, expected, client.replies, connections, plan)
        client.release_after_replies()
        return True
    connections = [client.pool.connection(server, client.id, client.profile) for server, _ in plan.requests]
    for connection in connections:
        if connection.out.pending > HIGH_WATER:
            return client.wait_for(connection)
    fan_out(client.pool, expected, client.replies, connections, plan)
    return True


@cython.cfunc
@cython.exceptval(-1, check=False)
def send_blocked(
    client: ClientStream,
    plan,
    connection: ServerConnection,
    request: Request,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.int:
    """Send the client's blocking request on this connection, as ``plan`` says, which is a ``ToPrivate``."""
    blocked: BlockedRequest = client.blocked
    blocked.place(client.reserved.wait(plan.server, plan.blocking.keys, blocked), connection)
    # The handler drops an unwanted reply.
    return connection.send_request(blocked, 0, request, request.expected & ~(QUIET | NOREPLY), block, start, end)


@cython.cfunc
@cython.exceptval(-1, check=False)
def ask_again(client: ClientStream) -> cython.int:
    """Plan the client's blocking request again, which was taken off its server, and carry out the plan.

    If it has to wait, this function is called again when the client is woken.
    """
    blocked: BlockedRequest = client.blocked
    codec: Codec = client.pool.codec
    request: Request = client.pool.request
    data: bytes
    frame: Frame
    block: cython.pointer[Block]
    if not client.loop.may_work(client):
        return client.loop.put_off(client)
    client.reserved.leave_misplaced()
    data = blocked.blocking.after_waiting(blocked.blocking.data, client.loop.now - blocked.since)
    block = client.loop.blocks.take(PyBytes_GET_SIZE(data))
    memcpy(block_bytes(block), PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    client.reserved.asks_again = True
    try:
        frame = codec.frame_request(
            block_bytes(block), 0, PyBytes_GET_SIZE(data), False, client.reply_flags, Cursor(), request
        )
        if frame != COMPLETE:
            raise ValueError("a blocking request that cannot be framed again")
        plan = codec.plan(data, request, client.session, True)
        if isinstance(plan, ToPrivate):
            send_blocked(client, plan, client.reserved.use(plan.server), request, block, 0, PyBytes_GET_SIZE(data))
        elif isinstance(plan, Answer):
            blocked.end_with(plan.reply)
        elif plan is not None:
            raise TypeError(f"a blocking request with the plan {plan}")
    finally:
        client.reserved.asks_again = False
        client.loop.blocks.release(block)
        client.loop.worked()
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def begin_steps(client: ClientStream, plan) -> cython.bint:
    """Process a request in steps; returns True, because the request's bytes are no longer needed."""
    client.steps = plan.work
    client.steps_hold = plan.held
    client.steps_are_messages = plan.messages
    client.loop.blocks.allocated += client.steps_hold
    go_on(client)
    return True


@cython.cfunc
@cython.exceptval(-1, check=False)
def go_on(client: ClientStream) -> cython.bint:
    """Run the next steps of the client's request; returns False if steps are left."""
    while client.last_step is None:
        if not may_go_on(client):
            return False
        if not client.loop.may_work(client):
            client.loop.put_off(client)
            return False
        part = last = None
        try:
            part = next(client.steps)
        except StopIteration as end:
            last = end.value
            if last is None:
                raise TypeError("steps that end without a plan") from None
        finally:
            client.loop.worked()
        if client.state == ABORTED:
            # The step found that the client has to be closed.
            return False
        client.last_step = last
        if part is not None:
            take_part(client, part)
        elif last is None:
            return False
    return end_steps(client)


@cython.cfunc
@cython.exceptval(-1, check=False)
def may_go_on(client: ClientStream) -> cython.bint:
    """Whether there is room for more of the reply; if not, the client is flushed when there is."""
    if client.replies.head != client.replies.tail:
        return client.parts is None or client.parts.pending <= LOW_WATER
    return client.out.pending <= LOW_WATER


@cython.cfunc
@cython.exceptval(-1, check=False)
def take_part(client: ClientStream, part: bytes) -> cython.int:
    """Send a part of a reply to the client, or keep the part until earlier replies are sent.

    If the client may get a message at any time, all parts of one reply are kept: a message may only be sent between
    replies.
    """
    if client.parts is None:
        client.parts = SendQueue()
    client.parts.append(
        client.loop.blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(part)), PyBytes_GET_SIZE(part)
    )
    if client.replies.head == client.replies.tail and (client.steps_are_messages or not client.is_subscribed()):
        client.replies.note_part(client.replies.tail, client.parts.pending)
        client.out.take_over(client.parts)
        client.loop.want_flush(client)
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def end_steps(client: ClientStream) -> cython.bint:
    """Execute the plan that the last step has returned; returns False if it has to wait."""
    plan = client.last_step
    rest: bytes
    if isinstance(plan, Answer) and client.parts is not None and client.parts.pending > 0:
        if client.replies.head == client.replies.tail:
            client.replies.note_part(client.replies.tail, client.parts.pending)
            client.out.take_over(client.parts)
        else:
            rest = PyBytes_FromStringAndSize(cython.NULL, client.parts.pending)
            client.parts.copy_last(cython.cast(cython.p_uchar, PyBytes_AS_STRING(rest)), client.parts.pending)
            plan = plan._replace(reply=rest + plan.reply)
    client.replies.go_on_sampled(client.replies.tail)
    try:
        if not execute(client, plan, None, client.reply_flags, cython.NULL, 0, 0):
            return False
    finally:
        client.replies.end_sampled()
    client.drop_steps()
    client.update_session()
    return True


@cython.cfunc
@cython.exceptval(-1, check=False)
def queue_request(
    client: ClientStream,
    request: Request,
    block: cython.pointer[Block],
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.bint:
    """Send a request with one key to ``transaction_server``, if the key is there and the connection can take it.

    Returns whether the request was sent. It is not sent before a plan has checked where the keys of the transaction
    are after a change of the routes.
    """
    connection: ServerConnection
    data: cython.p_char = cython.cast(cython.p_char, block_bytes(block))
    key: bytes
    transaction = client.session.transaction
    if client.skips_reply or transaction.routes is not client.pool.routes:
        return False
    if client.pool.routes.server_of_key(block_bytes(block), start, request) is not client.transaction_server:
        return False
    connection = client.reserved.use(client.transaction_server)
    if not connection.is_ready() or connection.out.pending > HIGH_WATER:
        return False
    keys = transaction.keys
    if keys is not None:
        key = PyBytes_FromStringAndSize(data + start + request.key_start, request.key_end - request.key_start)
        if key not in keys:
            transaction.remember((key,))
    connection.send_request(client.replies, client.replies.reserve(), request, request.expected, block, start, end)
    return True
