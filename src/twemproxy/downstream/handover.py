"""The hand-over of clients to another process, each between two of its requests.

Compiled-only. From a client that is handed over no more requests are taken. When all its replies are sent, its
descriptor and its state go to the other process, with the bytes that were read and not processed. It notices nothing.

A client of a retired pool goes on in the pool that has taken its place, if that has the client's database.

A client keeps what it has at a server: one that waits in a blocking command, is in a transaction or has subscriptions
goes on as before, and is handed over when it has let go. So does one whose incomplete request is large.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.downstream.client_states import OPEN, PAUSED_FOR_HANDOVER
from cython.cimports.twemproxy.net.block import block_bytes
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import CallbackTimer

# Clients that are described and given per turn of the event loop.
PIECE = cython.declare(cython.const[cython.int], 32)
# Most unprocessed bytes of a client that are handed over; with more, it first completes its request.
MOST_UNREAD = cython.declare(cython.const[cython.Py_ssize_t], 256 * 1024)


@cython.final
@cython.cclass
class HandOver:
    """``staying``: the clients that are still here. ``ready``: those of them that can be given now, in this order.
    ``waits``: the other process takes no clients now. ``unsent``: the owner has yet to send some of what was given.
    """

    def __init__(self, loop: EventLoop, clients: list, give) -> None:
        """Begin to hand these clients over.

        ``give(fd, pool, state)``: sends a client to another process; the descriptor is closed afterwards. ``pool``: the
        client's. ``state``: for ``adopt``. Returns False if that is not possible before a call of ``go_on``.
        """
        client: ClientConnection
        self.loop = loop
        self.give = give
        self.staying = set(clients)
        self.ready = {}
        self.timer = CallbackTimer(loop.timers, self.give_some)
        for client in clients:
            client.handover = self
            self.look_at(client)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def look_at(self, client: ClientConnection) -> cython.int:
        """The client may have become ready, or must take no more requests until it is."""
        if self.waits or client.state != OPEN or not self.may_pause(client):
            return 0
        if client.pauses & PAUSED_FOR_HANDOVER == 0:
            client.pause(PAUSED_FOR_HANDOVER)
        if client not in self.ready and is_between_requests(client):
            self.ready[client] = None
            self.timer.arm_by(self.loop.now)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def may_pause(self, client: ClientConnection) -> cython.bint:
        """Whether the client has nothing that it would have to complete here."""
        if client.steps is not None or client.pieced is not None or client.discard != 0 or client.releasing:
            return False
        if client.ended or not client.recognized_or_silent() or client.unread_input() > MOST_UNREAD:
            return False
        if client.reserved is not None and client.reserved.has_any():
            return False
        if client.pool.successor is not None and not client.pool.successor.has_database(
            client.begin_session().database
        ):
            return False
        return client.session is None or client.session.can_move

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def forget(self, client: ClientConnection) -> cython.int:
        """The client is closed or given away."""
        self.staying.discard(client)
        self.ready.pop(client, None)
        client.handover = None
        return 0

    def go_on(self) -> None:
        """The other process can take clients again."""
        client: ClientConnection
        if self.waits:
            self.waits = False
            for client in list(self.staying):
                self.look_at(client)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait_for_room(self, client: ClientConnection) -> cython.int:
        """The other process cannot take this client now, nor those that are ready: they go on here in the meantime."""
        self.waits = True
        self.ready[client] = None
        ready: dict = self.ready
        self.ready = {}
        for client in ready:
            client.resume(PAUSED_FOR_HANDOVER)
        return 0

    def give_some(self) -> None:
        """Give ready clients away, up to PIECE of them in this turn."""
        client: ClientConnection
        left: cython.int = PIECE
        while left > 0 and self.ready:
            client = next(iter(self.ready))
            del self.ready[client]
            if client.state != OPEN or not self.may_pause(client) or not is_between_requests(client):
                continue
            if not self.give(client.fd, client.pool, describe(client)):
                self.wait_for_room(client)
                return
            self.forget(client)
            client.leave()
            left -= 1
        if self.ready:
            self.timer.arm(self.loop.now)

    def stop(self) -> None:
        """Hand over no more clients: those that are still here go on."""
        client: ClientConnection
        self.timer.cancel()
        self.waits = False
        self.ready.clear()
        for client in list(self.staying):
            client.handover = None
            if client.pauses & PAUSED_FOR_HANDOVER:
                client.resume(PAUSED_FOR_HANDOVER)
        self.staying.clear()


@cython.cfunc
@cython.exceptval(-1, check=False)
def is_between_requests(client: ClientConnection) -> cython.bint:
    """Whether all requests that the client's process has taken have replies, and these are sent."""
    return (
        client.replies.head == client.replies.tail
        and client.out.pending == 0
        and client.replies.kept == 0
        and not client.has_unsent()
        and client.transport.buffered == 0
    )


@cython.cfunc
def describe(client: ClientConnection) -> dict:
    """The state of a client for ``adopt``: built-in objects only. Times are in microseconds."""
    now: int64_t = client.loop.now
    return {
        "number": client.id,
        "age": now - client.opened_at,
        "idle": now - client.used_at,
        "confined": client.confined,
        "session": None if client.session is None else client.session.state(),
        "unread": unread(client),
    }


@cython.cfunc
def unread(client: ClientConnection) -> bytes:
    """The bytes of a client that were read and not processed."""
    length: cython.Py_ssize_t = client.tail_end - client.tail_start
    tail: bytes = b""
    ahead: bytes = b""
    if length > 0:
        tail = PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, block_bytes(client.tail) + client.tail_start), length
        )
    if client.ahead is not None and client.ahead.pending > 0:
        ahead = PyBytes_FromStringAndSize(cython.NULL, client.ahead.pending)
        client.ahead.copy_last(cython.cast(cython.p_uchar, PyBytes_AS_STRING(ahead)), client.ahead.pending)
    return tail + ahead


def adopt(client: ClientConnection, state: dict) -> None:
    """Give a client that was made of a descriptor the state that it had in the other process, and serve it."""
    client.opened_at -= state["age"]
    client.used_at -= state["idle"]
    client.confined = client.needs_planning = state["confined"]
    if state["session"] is not None:
        client.begin_session().restore(state["session"])
        client.update_session()
    client.process_input(state["unread"])
