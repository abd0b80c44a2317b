"""A pool whose subscriptions are real, its servers, and its clients."""

import errno
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from harness.resp import arguments, error, message_end
from harness.subscribing import confirmation, message, pattern_message
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.upstream.pubsub import Subscriptions
from twemproxy.upstream.topics import TopicRequest, UnsubscribeRequest
from unit.fakes import FakeClient, FakeConnection, FakePool, FakeServer

# In microseconds.
TIMEOUT = 100_000
REFUSED = error("NOPERM no")


class Link(FakeConnection):
    """``requests``: requests without an answer so far; ``subscribed``: the server's subscriptions, as (kind, name)."""

    def __init__(self, pool: "Pool", server: FakeServer) -> None:
        super().__init__(server)
        self.pool = pool
        self.listener: Callable[[bytes], str] | None = None
        self.open = False
        self.requests: deque[list[bytes]] = deque()
        self.history: list[str] = []
        self.subscribed: set[tuple[str, bytes]] = set()

    def write(self, data: bytes) -> None:
        assert self in self.pool.extra, "written to a connection that nobody knows any more"
        if not self.open and self.server in self.pool.down:
            self.fail()
            return
        self.open = True
        while data:
            end = message_end(data)
            self.requests.append(arguments(data[:end]))
            self.history.append(b" ".join(self.requests[-1]).decode())
            data = data[end:]

    def abandon(self) -> None:
        super().abandon()
        self.listener = None
        self.shut()

    def is_open(self) -> bool:
        return self.open

    def take_unread(self) -> None:
        assert self.open

    def give_up(self, error: int, reason: str) -> None:
        assert self.open
        self.pool.given_up.append(errno.errorcode[error])
        self.fail()

    def shut(self) -> None:
        self.open = False
        self.requests.clear()
        self.subscribed.clear()

    def fail(self) -> None:
        """End the connection."""
        self.shut()
        if self.on_status is not None:
            self.on_status(False, False)

    def say(self, message: bytes) -> None:
        """Let the server send this message."""
        assert self.listener is not None
        if self.listener(message):
            self.give_up(errno.EINVAL, "")

    def answer(self, count: int = 0) -> None:
        """Let the server answer the first ``count`` requests, or all of them for 0."""
        for _ in range(count or len(self.requests)):
            if not self.requests:
                return
            word, *names = self.requests.popleft()
            kind = word.decode().replace("unsubscribe", "subscribe")
            if kind == word.decode() and self.pool.forbidden.get(self.server, set()) & {(kind, name) for name in names}:
                self.say(REFUSED)
                continue
            for name in names:
                if self.listener is None:
                    return
                if kind != word.decode():
                    self.subscribed.discard((kind, name))
                else:
                    self.subscribed.add((kind, name))
                self.say(confirmation(word.decode(), name, len(self.subscribed)))

    def publish(self, name: bytes, text: bytes) -> None:
        """Publish at the server; a pattern is the beginning of a name, followed by an asterisk."""
        for kind, topic in sorted(self.subscribed):
            if kind == "psubscribe" and name.startswith(topic.removesuffix(b"*")):
                self.say(pattern_message(topic, name, text))
            elif kind == "subscribe" and name == topic:
                self.say(message(name, text))


class Pool(FakePool):
    """The first byte of a name determines its server; if that server is not live, a live server is used.

    ``down``: servers that refuse connections at once. ``forbidden``: topics that servers refuse.
    """

    def __init__(self, servers: int = 3, timeout: int = TIMEOUT) -> None:
        config = SimpleNamespace(timeout=timeout // 1000, hash="fnv1a_64", distribution="ketama", hash_tag="")
        config.servers = [SimpleNamespace(address=number) for number in range(servers)]
        super().__init__(config, RedisCodec(), servers)
        self.down: set[int] = set()
        self.forbidden: dict[int, set[tuple[str, bytes]]] = {}
        self.given_up: list[str] = []
        self.subscriptions = Subscriptions(self)

    @property
    def routes(self) -> Any:
        """A snapshot of where keys are."""
        servers, live, server_of = self.servers, self.live_servers(), self.server_of
        return SimpleNamespace(servers=servers, live=live, server_of_all=lambda names: server_of(names[0]))

    def server_of(self, key: bytes) -> Any:
        first = key[0] if key else 0
        live = self.live_servers()
        server = self.servers[first % len(self.servers)]
        return server if server in live else live[first % len(live)]

    def open_subscriber(self, server: FakeServer) -> Any:
        return self._opened(Link(self, server))

    def link(self, server: int) -> Link:
        """The only connection to the present address of a server."""
        connection: Link
        [connection] = [each for each in self.extra if each.server == server and not each.misplaced]
        return connection

    def links(self) -> list[int]:
        """The servers that have a connection to their present addresses."""
        return sorted(connection.server for connection in self.extra if not connection.misplaced)

    def former(self) -> list[Link]:
        """The connections to former addresses, the oldest first."""
        return [connection for connection in self.extra if connection.misplaced]

    def answer(self) -> None:
        """Let all servers answer all requests, before and after all pending work is done."""
        for _ in range(2):
            for connection in list(self.extra):
                connection.answer()
            self.work()

    def work(self) -> None:
        """Do all pending work."""
        while self.has_work():
            self.wait(0)


class Subscriber(FakeClient):
    """``answers``: the result of each request, True or an error. ``got``: the messages.

    ``piece``: how many topics the client takes in a turn.
    """

    def __init__(self, pool: Pool, piece: int = 1000) -> None:
        super().__init__()
        self.piece = piece
        self.pool = pool
        self.subscriptions = pool.subscriptions
        self.request: tuple[str, list[bytes]] | None = None
        self.asked: TopicRequest | None = None
        self.topics: dict[str, dict[bytes, None]] = defaultdict(dict)
        self.answers: list[bytes | bool] = []

    def abort(self, why: str) -> None:
        if not self.ended:
            super().abort(why)
            self._drop()

    def leave(self) -> None:
        """Leave, and do all pending work."""
        self._drop()
        self.pool.work()

    def _drop(self) -> None:
        if self.asked is not None:
            self.asked.end()
        self.request = self.asked = None
        self.subscriptions.drop(self, self.topics)
        self.topics = defaultdict(dict)

    def has(self) -> set[tuple[str, bytes]]:
        """The topics that are confirmed to the client."""
        return {(kind, name) for kind, names in self.topics.items() for name in names}

    def unsubscribe(self, kind: str, *names: bytes) -> None:
        """Unsubscribe from these topics, without waiting for the servers."""
        self.begin_unsubscribe(kind, *names).end()

    def begin_unsubscribe(self, kind: str, *names: bytes) -> UnsubscribeRequest:
        """Unsubscribe from these topics; returns the request, which may wait for the servers."""
        for name in names:
            self.topics[kind].pop(name, None)
        request: UnsubscribeRequest = self.subscriptions.begin_unsubscribe(self, kind)
        request.ask(list(names))
        return request

    def ask(self, kind: str, *names: bytes) -> bytes | bool:
        """Subscribe; returns the result of the request, or False while there is none."""
        assert self.request is None
        self.request = kind, list(names)
        self.asked = self.subscriptions.begin(self, kind)
        self.asked.ask(list(names))
        return self.go_on()

    def go_on(self) -> bytes | bool:
        """Continue the request; returns its result, or False while there is none."""
        assert self.request is not None
        assert self.asked is not None
        self.woken = 0
        if not self.asked.is_answered():
            return False
        told = self.asked.error or True
        kind, names = self.request
        if told is True:
            assert self.asked.take(self.piece) == names[: self.piece]
            self.topics[kind] |= dict.fromkeys(names[: self.piece])
            if len(names) > self.piece:
                self.request = kind, names[self.piece :]
                self.wake()
                return False
        self.asked.end()
        self.request = self.asked = None
        self.answers.append(told)
        return told

    def turn(self) -> bytes | bool:
        """Do all pending work and continue a woken client; returns the result of its request, or False."""
        self.pool.work()
        return self.go_on() if self.woken and self.request else False


def subscribed(pool: Pool, kind: str, *names: bytes) -> Subscriber:
    """A client that has subscribed to these topics."""
    client = Subscriber(pool)
    if client.ask(kind, *names) is False:
        pool.answer()
        assert client.turn() is True
    return client


def move(pool: Pool, *live: int) -> None:
    """Let only these servers be live."""
    pool.live = set(live)
    pool.subscriptions.follow_routes()
    pool.work()
