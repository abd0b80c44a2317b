"""Requests to every server of a pool, sent once for all clients that want the same at the same time.

Plain Python. Each request is in progress once: a client that wants the same in the meantime gets the replies to the
next one. So no reply is older than the client's request, and a flood of client requests causes only one request at a
time. Requests of one client that arrived together, without another request in between, share their replies. Ejected
servers are left out, and servers that are silent for ``ANSWER_BY`` are not waited for.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, Protocol

from twemproxy.protocol.plan import Server

ANSWER_BY = 1_000_000
"""Microseconds that a server has to reply; the pool's ``timeout`` if that is shorter."""


class Waiting(Protocol):
    """The part of ``downstream.client.ClientConnection`` that is used here."""

    def wake(self) -> None:
        """Have the client's request checked again."""

    def number(self) -> int:
        """The client's number."""

    def progress(self) -> tuple[int, int]:
        """(the number of its requests so far; the event loop's turn of the last read)."""


class Reply(NamedTuple):
    """The result of one server. ``state``: ok, error, ejected, failed or silent. ``text``: the reply, or the reason."""

    server: Server
    state: str
    text: bytes = b""


NOT_SENT = 1 << 62
"""The turn of a poll before it is sent."""

_SILENT = b"-it did not answer in time"


class Poll:
    """One request to all servers.

    ``replies``: in server order, once ``done``. ``notes``: for results made of them. ``turn``: the event loop's turn in
    which it was sent. ``timer``: armed until it is done.
    """

    __slots__ = ("_awaited", "_clients", "done", "kind", "notes", "replies", "timer", "turn")

    def __init__(self, kind: int) -> None:
        self.done = False
        self.timer: Any = None
        self.turn = NOT_SENT
        self.kind = kind
        self.notes: dict[Any, Any] = {}
        self.replies: list[Reply] = []
        self._awaited: dict[Server, int] = {}
        self._clients: dict[Waiting, None] = {}

    def wanted_by(self, client: Waiting) -> None:
        """Wake this client when the poll is done."""
        self._clients[client] = None

    def begin(self, replies: list[Reply], asked: Collection[Server], timer: Any, turn: int) -> None:
        """Start. ``replies``: the results of all servers unless a server in ``asked`` replies."""
        self.timer = timer
        self.turn = turn
        self.replies = replies
        self._awaited = {reply.server: place for place, reply in enumerate(replies) if reply.server in asked}

    def take(self, reply: Reply) -> bool:
        """Take a server's result; returns whether it was the last one."""
        if self.done or reply.server not in self._awaited:
            return False
        self.replies[self._awaited.pop(reply.server)] = reply
        return not self._awaited

    def finish(self) -> None:
        """End the poll with the results so far."""
        self.done = True
        self.timer = None
        clients, self._clients = self._clients, {}
        for client in clients:
            client.wake()


class _Latest(NamedTuple):
    """The latest request of a client: the client's number, what it wants, the number of its requests, and the poll."""

    client: int
    request: bytes
    requests: int
    poll: Poll


class ServerPoll:
    """The polls of one pool."""

    def __init__(self, pool: Any, is_error: Callable[[bytes], bool]) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``. ``is_error``: whether a reply is an error."""
        self._pool = pool
        self._is_error = is_error
        self._latest = _Latest(-1, b"", 0, Poll(0))
        self._asked: dict[bytes, Poll] = {}
        self._next: dict[bytes, Poll] = {}
        self._owing: set[tuple[bytes, Server]] = set()
        """(request, server) of requests without a reply: a server gets the same request again only after its reply."""

    def ask(self, request: bytes, client: Waiting, kind: int = 0) -> Poll:
        """Send a request to every server and wake the client when the poll is done; later clients share the next poll.

        ``kind``: ``Request.expected`` for the replies.
        """
        poll = self._shared(request, client) or self._new(request, client, kind)
        self._latest = _Latest(client.number(), request, client.progress()[0], poll)
        return poll

    def _shared(self, request: bytes, client: Waiting) -> Poll | None:
        """The poll for the client's request before this one, if it was the same and this one had arrived by then."""
        latest, (requests, read_turn) = self._latest, client.progress()
        is_next = (latest.client, latest.request) == (client.number(), request)
        if not is_next or (requests - latest.requests) % (1 << 32) != 1 or read_turn > latest.poll.turn:
            return None
        if not latest.poll.done:
            latest.poll.wanted_by(client)
        return latest.poll

    def _new(self, request: bytes, client: Waiting, kind: int) -> Poll:
        """A poll that is sent now, or after the one in progress for the same request."""
        if request in self._asked:
            poll = self._next.setdefault(request, Poll(kind))
            poll.wanted_by(client)
            return poll
        poll = Poll(kind)
        poll.wanted_by(client)
        self._begin(request, poll)
        return poll

    def _begin(self, request: bytes, poll: Poll) -> None:
        live = set(self._pool.live_servers())
        replies = [
            Reply(server, "silent", _SILENT) if server in live else Reply(server, "ejected")
            for server in self._pool.servers
        ]
        asked = [server for server in self._pool.servers if server in live and (request, server) not in self._owing]
        timer = self._pool.timer(partial(self._finish, request, poll))
        timer.arm(self._pool.now() + min(self._pool.settings.timeout or ANSWER_BY, ANSWER_BY))
        poll.begin(replies, asked, timer, self._pool.turn())
        self._asked[request] = poll
        if not asked:
            return self._finish(request, poll)
        self._owing.update((request, server) for server in asked)
        for server in asked:
            self._pool.ask_server(server, request, self._answer(request, poll, server), poll.kind)

    def _answer(self, request: bytes, poll: Poll, server: Server) -> Callable[[bytes, bool], None]:
        def done(reply: bytes, answered: bool) -> None:
            self._owing.discard((request, server))
            state = "failed" if not answered else "error" if self._is_error(reply) else "ok"
            if poll.take(Reply(server, state, reply)):
                self._finish(request, poll)

        return done

    def _finish(self, request: bytes, poll: Poll) -> None:
        if self._asked.get(request) is poll:
            del self._asked[request]
        poll.finish()
        following = self._next.pop(request, None)
        if following is not None:
            self._begin(request, following)
