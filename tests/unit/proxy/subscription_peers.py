"""A pool, its servers and its clients, as far as subscriptions ask for them."""

import errno
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

from harness.resp import arguments, error
from harness.subscribing import confirmation, message, pattern_message
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.subscriptions import Subscriptions

TIMEOUT = 100
REFUSED = error("NOPERM no")


class FakeConnection:
    """``requests``: what the server has not answered. ``subscribed``: what it sends, as (kind, name)."""

    def __init__(self, pool: "FakePool", server: int) -> None:
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
        request = arguments(data)
        self.history.append(b" ".join(request).decode())
        if not self.open and self.server in self.pool.down:
            self.fail()
            return
        self.open = True
        self.requests.append(request)

    def abandon(self) -> None:
        self.on_settled = self.listener = None
        self.shut()

    def is_misplaced(self) -> bool:
        return self.misplaced

    def give_up(self, error: int, reason: str) -> None:
        assert self.open
        self.pool.given_up.append(errno.errorcode[error])
        self.fail()

    def shut(self) -> None:
        self.open = False
        self.requests.clear()
        self.subscribed.clear()

    def fail(self) -> None:
        """It ends."""
        self.shut()
        if self.on_settled is not None:
            self.on_settled(False, False)

    def say(self, message: bytes) -> None:
        """The server sends this."""
        assert self.listener is not None
        self.listener(message)

    def answer(self, count: int = 0) -> None:
        """The server answers the first so many requests, or all there are."""
        for _ in range(count or len(self.requests)):
            if not self.requests:
                return
            word, name = self.requests.popleft()
            kind = word.decode().replace("unsubscribe", "subscribe")
            if "un" in word.decode():
                self.subscribed.discard((kind, name))
            elif (kind, name) in self.pool.forbidden.get(self.server, ()):
                self.say(REFUSED)
                continue
            else:
                self.subscribed.add((kind, name))
            self.say(confirmation(word.decode(), name, len(self.subscribed)))

    def publish(self, name: bytes, text: bytes) -> None:
        """Something is published at the server; patterns are those that end in an asterisk, and their beginnings."""
        for kind, topic in sorted(self.subscribed):
            if kind == "psubscribe" and name.startswith(topic.removesuffix(b"*")):
                self.say(pattern_message(topic, name, text))
            elif kind == "subscribe" and name == topic:
                self.say(message(name, text))


class FakePool:
    """The first byte of a name tells its server, or the next one that is live.

    ``down``: servers that refuse connections at once. ``forbidden``: topics that servers refuse.
    """

    def __init__(self, servers: int = 3, timeout: int = TIMEOUT) -> None:
        self.config = SimpleNamespace(timeout=timeout)
        self.codec = RedisCodec()
        self.servers = list(range(servers))
        self.live = set(self.servers)
        self.down: set[int] = set()
        self.forbidden: dict[int, set[tuple[str, bytes]]] = {}
        self.random = False
        self.extra: list[FakeConnection] = []
        self.given_up: list[str] = []
        self.time = 1000
        self.look_at = 0
        self.subscriptions = Subscriptions(self)

    def draws(self) -> bool:
        return self.random

    def server_of_all(self, names: list[bytes]) -> int:
        [name] = names
        first = name[0] if name else 0
        live = sorted(self.live) or self.servers
        return first % len(self.servers) if first % len(self.servers) in live else live[first % len(live)]

    def live_servers(self) -> list[int]:
        return sorted(self.live) or self.servers

    def open_extra(self, server: int, profile: int) -> FakeConnection:
        assert profile == 0
        connection = FakeConnection(self, server)
        self.extra.append(connection)
        return connection

    def drop_extra(self, connection: FakeConnection) -> None:
        assert not connection.open
        self.extra.remove(connection)

    def error(self, text: str) -> bytes:
        return error(f"ERR {text}")

    def server_names(self) -> list[str]:
        return [f"s{server:02d}" for server in self.servers]

    def now(self) -> int:
        return self.time

    def look_by(self, moment: int) -> None:
        self.look_at = moment

    def link(self, server: int) -> FakeConnection:
        """The one connection to a server."""
        [connection] = [connection for connection in self.extra if connection.server == server]
        return connection

    def links(self) -> list[int]:
        """Servers there are connections to."""
        return sorted(connection.server for connection in self.extra)

    def answer(self) -> None:
        """All servers answer everything."""
        for connection in list(self.extra):
            connection.answer()


class FakeClient:
    """``answers``: what it was told of its requests: True, or an error. ``got``: its messages."""

    def __init__(self, pool: FakePool) -> None:
        self.subscriptions = pool.subscriptions
        self.request: tuple[str, list[bytes]] | None = None
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
            self.request = None
            self.subscriptions.drop(self)

    def ask(self, kind: str, *names: bytes) -> bytes | bool:
        """Subscribe; what it is told at once."""
        assert self.request is None
        self.request = kind, list(names)
        return self.plan()

    def plan(self) -> bytes | bool:
        """Its request is planned again."""
        assert self.request is not None
        self.woken = False
        told = self.subscriptions.subscribe(self, *self.request)
        if told is not False:
            self.request = None
            self.answers.append(told)
        return told

    def turn(self) -> bytes | bool:
        """The event loop has come round; gives what it is told now, False for nothing."""
        return self.plan() if self.woken and self.request else False
