"""A fake pool, its servers and its clients, as far as subscriptions use them."""

import errno
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace

from harness.fake_servers import FakeServer, fake_servers
from harness.resp import arguments, error, message_end
from harness.subscribing import confirmation, message, pattern_message
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.pubsub import Subscriptions
from twemproxy.proxy.topics import TopicRequest, UnsubscribeRequest

TIMEOUT = 100
REFUSED = error("NOPERM no")


class FakeConnection:
    """``requests``: requests without an answer so far; ``subscribed``: the server's subscriptions, as (kind, name)."""

    def __init__(self, pool: "FakePool", server: FakeServer) -> None:
        self.pool = pool
        self.server = server
        self.on_settled: Callable[[bool, bool], None] | None = None
        self.listener: Callable[[bytes], None] | None = None
        self.open = False
        self.misplaced = False
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
        self.on_settled = self.listener = None
        self.shut()

    def is_stale(self) -> bool:
        return self.misplaced

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
        if self.on_settled is not None:
            self.on_settled(False, False)

    def say(self, message: bytes) -> None:
        """Let the server send this message."""
        assert self.listener is not None
        self.listener(message)

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


class FakePool:
    """The first byte of a name determines its server; if that server is not live, a live server is used.

    ``down``: servers that refuse connections at once. ``forbidden``: topics that servers refuse.
    """

    def __init__(self, servers: int = 3, timeout: int = TIMEOUT) -> None:
        self.config = SimpleNamespace(timeout=timeout)
        self.codec = RedisCodec()
        self.servers = fake_servers(servers)
        self.live: set[int] = set(self.servers)
        self.down: set[int] = set()
        self.forbidden: dict[int, set[tuple[str, bytes]]] = {}
        self.random = False
        self.extra: list[FakeConnection] = []
        self.given_up: list[str] = []
        self.time = 1000
        self.look_at = 0
        self.kept = 0
        self.most_kept = 1 << 30
        self.subscriptions = Subscriptions(self)

    def is_random(self) -> bool:
        return self.random

    def server_of(self, key: bytes) -> FakeServer:
        first = key[0] if key else 0
        live = self.live_servers()
        server = self.servers[first % len(self.servers)]
        return server if server in live else live[first % len(live)]

    def live_servers(self) -> tuple[FakeServer, ...]:
        return tuple(server for server in self.servers if server in self.live) or self.servers

    def open_subscriber(self, server: FakeServer) -> FakeConnection:
        connection = FakeConnection(self, server)
        self.extra.append(connection)
        return connection

    def drop(self, connection: FakeConnection) -> None:
        assert not connection.open
        self.extra.remove(connection)

    def error(self, text: str) -> bytes:
        return error(f"ERR {text}")

    def now(self) -> int:
        return self.time

    def look_by(self, moment: int) -> None:
        self.look_at = moment

    def keep(self, change: int) -> None:
        self.kept += change
        assert self.kept >= 0

    def may_keep(self, held: int, more: int) -> bool:
        return max(self.kept, held) + more <= self.most_kept

    def link(self, server: int) -> FakeConnection:
        """The only connection to a server."""
        [connection] = [connection for connection in self.extra if connection.server == server]
        return connection

    def links(self) -> list[int]:
        """The servers that have a connection."""
        return sorted(connection.server for connection in self.extra)

    def answer(self) -> None:
        """Let all servers answer all requests, before and after all pending work is done."""
        for _ in range(2):
            for connection in list(self.extra):
                connection.answer()
            self.work()

    def work(self) -> None:
        """Do all pending work."""
        while self.subscriptions.expire(self.time) == self.time:
            pass


class FakeClient:
    """``answers``: the result of each request, True or an error. ``got``: the messages.

    ``piece``: how many topics the client takes in a turn.
    """

    def __init__(self, pool: FakePool, piece: int = 1000) -> None:
        self.piece = piece
        self.pool = pool
        self.subscriptions = pool.subscriptions
        self.request: tuple[str, list[bytes]] | None = None
        self.asked: TopicRequest | None = None
        self.topics: dict[str, dict[bytes, None]] = defaultdict(dict)
        self.woken = False
        self.ended = ""
        self.answers: list[bytes | bool] = []
        self.got: list[bytes] = []

    def push(self, message: bytes, shared: object) -> object:
        assert shared in (None, message)
        assert not self.ended
        self.got.append(message)
        return message

    def wake(self) -> None:
        self.woken = True

    def cut_off(self, why: str) -> None:
        if not self.ended:
            self.ended = why
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
        self.woken = False
        if not self.asked.is_settled():
            return False
        told = self.asked.error or True
        kind, names = self.request
        if told is True:
            assert self.asked.take(self.piece) == names[: self.piece]
            self.topics[kind] |= dict.fromkeys(names[: self.piece])
            if len(names) > self.piece:
                self.request = kind, names[self.piece :]
                self.woken = True
                return False
        self.asked.end()
        self.request = self.asked = None
        self.answers.append(told)
        return told

    def turn(self) -> bytes | bool:
        """Do all pending work and continue a woken client; returns the result of its request, or False."""
        self.pool.work()
        return self.go_on() if self.woken and self.request else False
