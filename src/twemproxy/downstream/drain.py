"""The end of a worker that serves clients: requests that were read get replies, and requests that hang fail early.

Compiled-only. There are two steps. In the first one the worker *settles*: it serves as before, new clients included,
until all requests that were in progress at the beginning have replies. In the second one it *drains*: each client gets
the replies to the requests that were read, and is closed after the last one.

In both steps a server that owes a reply and is silent for ``patience`` gets no more time: its requests fail, and so do
later ones while it stays silent. The same holds for a client that does not read its replies. So one server that hangs,
or one client that does not read, does not affect the clients of other pools while the worker settles, and the drain
takes no longer than with healthy ones.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.downstream.client_states import CLOSING, DRAINING, OPEN
from cython.cimports.twemproxy.downstream.reply_queue import ReplyQueue
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import CallbackTimer
from cython.cimports.twemproxy.proxy.memory_limit import PAUSED_FOR_MEMORY
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.stats.positions import CLIENT_ERR
from cython.cimports.twemproxy.upstream.connection_states import HALF_CLOSED
from cython.cimports.twemproxy.upstream.pipeline import oldest
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection
from cython.cimports.twemproxy.upstream.server_pool import ServerPool

# Microseconds between the first two checks, and the longest time between two later ones.
FIRST_INTERVAL = cython.declare(cython.const[int64_t], 1000)
LOOK_INTERVAL = cython.declare(cython.const[int64_t], 20_000)
STOPPED = "the proxy stops"


@cython.final
@cython.cclass
class Drain:
    """``owing``: the clients with requests from the beginning that have no reply yet. ``silences``: for each server
    connection that owes a reply, ``heard_at`` and the time since when it has not changed. ``stalls``: for each client
    its progress and the time since when it has not changed. ``timer``: calls ``check``.
    """

    def __init__(self, loop: EventLoop, pools: list, find_clients, patience: int, on_quiesced) -> None:
        """Begin to quiesce. ``pools``: the worker's. ``find_clients()``: returns its clients. ``patience``: in
        microseconds. ``on_quiesced()``, if not None, is called when all requests from the beginning have replies, or
        have failed.
        """
        client: ClientConnection
        self.loop = loop
        self.pools = pools
        self.find_clients = find_clients
        self.patience = patience
        self.on_quiesced = on_quiesced
        self.owing = {}
        self.silences = {}
        self.stalls = {}
        self.interval = FIRST_INTERVAL
        for client in find_clients():
            if client.replies.head != client.replies.tail or client.out.pending > 0 or is_waiting(client):
                self.owing[client] = client.replies.tail
        self.timer = CallbackTimer(loop.timers, self.check)
        self.check()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_clients(self) -> cython.int:
        """Begin to drain: close each client after the reply to its last request that was read."""
        client: ClientConnection
        self.is_closing = True
        self.owing = {}
        for client in self.find_clients():
            close_after_replies(client)
        return self.check()

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def check(self) -> cython.int:
        """Fail overdue requests, and see whether the worker has quiesced. During the drain all clients are checked."""
        pool: ServerPool
        client: ClientConnection
        for pool in self.pools:
            for server in pool.all_servers():
                for connection in list(server.shared):
                    self.look_at_server(connection)
            for connection in list(pool.unshared):
                self.look_at_server(connection)
        for client in self.find_clients() if self.is_closing else list(self.owing):
            self.look_at_client(client)
        self.timer.arm(self.loop.now + self.interval)
        self.interval = min(2 * self.interval, LOOK_INTERVAL)
        if self.on_quiesced is not None and not self.owing:
            on_quiesced, self.on_quiesced = self.on_quiesced, None
            on_quiesced()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look_at_server(self, connection: ServerConnection) -> cython.int:
        if connection.is_unused():
            self.silences.pop(connection, None)
            return 0
        if not connection.owes() or waits_patiently(connection):
            return 0
        heard_at, since = self.silences.get(connection, (-1, 0))
        if heard_at != connection.heard_at:
            self.silences[connection] = (connection.heard_at, self.loop.now)
        elif self.loop.now - cython.cast(int64_t, since) >= self.patience:
            return connection.fail_for_stop(f"it does not answer, and {STOPPED}")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look_at_client(self, client: ClientConnection) -> cython.int:
        awaits_replies: cython.bint = client.replies.head != client.replies.tail
        progress = (client.replies.head, client.tail_start, client.tail_end)
        untaken: cython.Py_ssize_t = client.out.pending
        if not self.is_closing and self.has_what_is_due(client):
            del self.owing[client]
            return 0
        last, least, since = self.stalls.get(client, (None, 0, 0))
        if progress != last or untaken < cython.cast(cython.Py_ssize_t, least) or client.is_put_off:
            self.stalls[client] = (progress, untaken, self.loop.now)
            return 0
        if self.loop.now - cython.cast(int64_t, since) < self.patience:
            return 0
        self.owing.pop(client, None)
        if not self.is_closing or client.fd < 0:
            return 0
        if untaken > 0:
            return client.close(CLIENT_ERR, f"it does not read its replies, and {STOPPED}")
        if awaits_replies:
            return 0
        if client.steps is not None and not client.steps_are_messages:
            # The client may have got a part of the reply; only the rest of this reply could follow.
            return client.close(CLIENT_ERR, STOPPED)
        if client.steps is not None or client.state < CLOSING:
            # The client's next request waits for a server that is silent.
            client.drop_steps()
            return client.break_off(client.pool.codec.error(STOPPED))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has_what_is_due(self, client: ClientConnection) -> cython.bint:
        """Whether a client has got the replies to all its requests from the beginning."""
        due: cython.uint = self.owing[client]
        answered: cython.bint = cython.cast(cython.int, client.replies.head - due) >= 0
        if client.fd < 0 or client.watches_hangup:
            return True
        return answered and client.out.pending == 0 and not is_waiting(client)


@cython.cfunc
@cython.exceptval(check=False)
def is_waiting(client: ClientConnection) -> cython.bint:
    """Whether a request of the client has been read and waits, but not for the replies to earlier requests."""
    return (
        client.is_put_off
        or client.steps is not None
        or (client.pauses != 0 and client.replies.head == client.replies.tail)
    )


@cython.cfunc
@cython.exceptval(-1, check=False)
def waits_patiently(connection: ServerConnection) -> cython.bint:
    """Whether a reply may never arrive: on a blocking command, a probe or a subscription."""
    handler: ReplyHandler
    replies: ReplyQueue
    if connection.policy.patient or connection.state == HALF_CLOSED:
        return True
    if connection.policy.independent or connection.requests.head == connection.requests.tail:
        return False
    if oldest(connection.requests).handler is cython.NULL:
        return False
    handler = cython.cast(ReplyHandler, oldest(connection.requests).handler)
    owner = handler.owner()
    if not isinstance(owner, ReplyQueue):
        return False
    replies = owner
    return replies.stream is not None and replies.stream.watches_hangup


@cython.cfunc
@cython.exceptval(-1, check=False)
def close_after_replies(client: ClientConnection) -> cython.int:
    """Process the bytes that the client has sent already, read no more, and close it after the last reply."""
    if client.watches_hangup or not client.established:
        return client.close(CLIENT_ERR, STOPPED)
    if client.state == OPEN:
        client.become(DRAINING)
    if client.awaits_memory():
        # The client waits for memory to read on, but no more is read.
        client.admission.memory.forget(client)
        client.pauses &= ~PAUSED_FOR_MEMORY
    if client.pauses == 0 and not client.ended and client.fd >= 0:
        client.receive()
    if client.fd >= 0:
        if client.pauses == 0:
            client.close_after_replies()
        return client.loop.want_flush(client)
    return 0
