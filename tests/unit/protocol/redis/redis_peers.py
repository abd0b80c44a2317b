"""A pool and its clients, with everything that the proxy's own replies use."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from feeding import Parser

from harness.resp import command
from twemproxy.protocol.redis.command_reply import Available
from twemproxy.protocol.redis.commands import BY_NAME, COMMANDS, Routing
from twemproxy.protocol.redis.session import Session
from twemproxy.protocol.redis.versions import Versions
from twemproxy.proxy.slow_log import SlowLog
from unit.fakes import FakeClient, FakePoll, FakePool, FakeSubscriptions

AVAILABLE = Available(tuple(command.name for command in COMMANDS if command.routing != Routing.REFUSED))
FIGURES = {"version": "9.8.7", "pid": 123, "uptime": 200_000, "client_connections": 2, "requests": 44}
FIGURES |= {"response_bytes": 55, "request_bytes": 66, "forward_error": 7, "servers": 3, "servers_live": 2}
FIGURES |= {"server_ejects": 8, "fragments": 99}
FIGURES |= {"run_id": "0123456789" * 4, "responses": 43}


class Pool(FakePool):
    """``usable``: result of ``can_use``; ``profile``: its last profile; ``asked``: its clients and ``ask`` calls."""

    def __init__(
        self, password: str = "", database: int = 0, usable: bool | None = True, databases: int = 1, servers: int = 1
    ) -> None:
        address = SimpleNamespace(host="127.0.0.1", port=22121, path="")
        listen = SimpleNamespace(address=address)
        config = SimpleNamespace(redis=True, redis_auth=password, redis_db=database, name="alpha", listen=listen)
        config.client_connections, config.backlog, config.databases = 1000, 512, databases
        codec = SimpleNamespace(available=AVAILABLE, versions=Versions(), permission_refusal=lambda *_: "")
        super().__init__(config, codec, servers)
        self.poll: Any = FakePoll(self)
        self.slow_log: Any = SlowLog()
        self.opened_connections = 0
        self.subscriptions: Any = FakeSubscriptions()
        self.profile = 0
        self.time = 1_000_000
        self.usable = usable
        self.connected: list[Client] = []

    def clients(self) -> list[Any]:
        return list(reversed(self.connected))

    def statistics(self) -> list[tuple[str, object]]:
        return [*FIGURES.items()]

    def can_use(self, profile: int, client: Any) -> bool | None:
        self.profile = profile
        self.asked.append(client)
        return self.usable

    def may_be_busy(self) -> bool:
        return False

    @property
    def routes(self) -> object:
        return self.servers

    def is_open(self) -> bool:
        return True

    def any_server(self) -> Any:
        return self.servers[0]

    def server_of(self, key: bytes) -> Any:
        """The server of a key by its first byte; an empty key has server 0."""
        return self.servers[sum(key[:1]) % len(self.servers)]

    def server_of_all(self, keys: list[bytes]) -> Any:
        servers = {self.server_of(key) for key in keys} or {self.any_server()}
        return servers.pop() if len(servers) == 1 else None

    def tell_guesses(self, address: str, count: int) -> None:
        self.guesses = (address, count)

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        self.asked.append((request, done))

    def connects(self) -> int:
        return self.opened_connections


class Client(FakeClient):
    """Client N of a pool has port N and is N seconds old."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        pool.connected.append(self)
        super().__init__(len(pool.connected))

    def is_confined(self) -> bool:
        return bool(self.pool.config.redis_auth)

    def description(self) -> dict[str, object]:
        return {
            "addr": f"10.0.0.1:{self.id}",
            "laddr": "10.0.0.2:22121",
            "fd": self.fd,
            "age": self.id,
            "idle": 0,
            "qbuf": 5,
            "oll": 1,
            "omem": 20,
            "events": "rw",
            "command": BY_NAME["client"],
        }


def new_session(password: str = "", database: int = 0, pool: Pool | None = None) -> Session:
    """The session of a new client, of ``pool`` or of a new pool with this password and database."""
    owner = pool or Pool(password, database)
    client = Client(owner)
    client.session = session = Session(owner, client)
    return session


def finished(planned: Any) -> Any:
    """The plan, or for ``Steps`` the plan at their end with the whole reply; None if a step has to wait."""
    if not hasattr(planned, "work"):
        return planned
    parts = []
    while True:
        try:
            part = next(planned.work)
            if part is None:
                return None
            parts.append(part)
        except StopIteration as end:
            return end.value._replace(reply=b"".join([*parts, end.value.reply]))


def ask(codec: Any, session: Session, *arguments: bytes) -> bytes:
    """The proxy's own reply to a request; the connection must stay open."""
    reply, last = finished(plan(codec, session, *arguments))
    assert not last
    assert isinstance(reply, bytes)
    return reply


def plan(codec: Any, session: Session, *arguments: bytes) -> Any:
    """The plan for a request; the session is then told that the request is dispatched.

    Interpreted codecs have classes of their own, so compare plans by their contents.
    """
    request = command(*arguments)
    parser = codec if isinstance(codec, Parser) else Parser(codec)
    assert parser.find_request(request, 0, len(request)) == 1
    planned = parser.plan(request, session)
    if planned is not None:
        session.on_dispatched()
    return planned
