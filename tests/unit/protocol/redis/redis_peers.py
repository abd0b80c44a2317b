"""A pool and its clients, as far as the proxy's own answers ask for them."""

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from harness.resp import command
from twemproxy.protocol.redis.command_reply import Available
from twemproxy.protocol.redis.commands import COMMANDS, Routing
from twemproxy.protocol.redis.session import Session

AVAILABLE = Available(tuple(command.name for command in COMMANDS if command.routing != Routing.REFUSED))
FIGURES = {"version": "9.8.7", "pid": 123, "uptime": 200_000, "client_connections": 2, "requests": 44}
FIGURES |= {"response_bytes": 55, "request_bytes": 66, "forward_error": 7, "servers": 3, "servers_live": 2}
FIGURES |= {"server_ejects": 8, "fragments": 99}


class FakePool:
    """``usable``: what ``can_use`` says; ``asked`` is who asked it, and ``profile`` for which profile."""

    refused = b"-ERR Connection refused\r\n"

    def __init__(
        self, password: str = "", database: int = 0, usable: bool | None = True, databases: int = 1, servers: int = 1
    ) -> None:
        address = SimpleNamespace(host="127.0.0.1", port=22121, path="")
        listen = SimpleNamespace(address=address)
        self.config = SimpleNamespace(redis_auth=password, redis_db=database, name="alpha", listen=listen)
        self.config.client_connections, self.config.backlog, self.config.databases = 1000, 512, databases
        self.codec = SimpleNamespace(available=AVAILABLE)
        self.subscriptions: Any = FakeSubscriptions()
        self.names = [f"s{index:02d}" for index in range(servers)]
        self.profile = 0
        self.time = 1_000_000
        self.usable = usable
        self.asked: list[Any] = []
        self.connected: list[FakeClient] = []

    def clients(self) -> list[Any]:
        return list(reversed(self.connected))

    def statistics(self) -> list[tuple[str, object]]:
        return [*FIGURES.items()]

    def can_use(self, profile: int, client: Any) -> bool | None:
        self.profile = profile
        self.asked.append(client)
        return self.usable

    def server_names(self) -> list[str]:
        return self.names

    def find_server(self, keys: list[bytes]) -> int:
        """The first byte of a key tells its server, that of an empty key is the first."""
        servers = {sum(key[:1]) % len(self.names) for key in keys} or {0}
        return servers.pop() if len(servers) == 1 else -1

    def draws(self) -> bool:
        return False

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        self.asked.append((request, done))

    def now(self) -> int:
        return self.time


class FakeSubscriptions:
    """``answer``: what ``subscribe`` gives; ``calls``: what was asked."""

    def __init__(self) -> None:
        self.answer: bytes | bool = True
        self.calls: list[tuple[Any, ...]] = []

    def subscribe(self, client: Any, kind: str, names: Sequence[bytes]) -> bytes | bool:
        self.calls.append((client, kind, *names))
        return self.answer

    def unsubscribe(self, client: Any, kind: str, names: Iterable[bytes]) -> None:
        self.calls.append((client, "end of " + kind, *names))

    def drop(self, client: Any) -> None:
        self.calls.append((client, "drop"))

    def subscribers(self, kind: str, name: bytes) -> tuple[int, int]:
        return (3, 1)


class FakeReservations:
    """``answer``: what ``reserve`` gives; ``calls``: what was asked."""

    def __init__(self) -> None:
        self.answer: bytes | bool = True
        self.waiting = False
        self.calls: list[tuple[Any, ...]] = []

    def reserve(
        self, server: int, profile: int, before: Sequence[bytes] = (), *, patient: bool = False, kept: bool = False
    ) -> bytes | bool:
        self.calls.append((server, profile, *before, *(["patient"] * patient), *(["kept"] * kept)))
        return self.answer

    def awaits_replies(self) -> bool:
        return self.waiting

    def keep_no_longer(self) -> None:
        self.calls.append(("keep no longer",))

    def give_back(self, answered: bool) -> None:
        self.calls.append(("give back" if answered else "drop",))


class FakeClient:
    """Number N has port N and is N seconds old; ``ended`` is why it was cut off, ``waiting`` whether
    replies are due."""

    def __init__(self, pool: FakePool) -> None:
        pool.connected.append(self)
        self.id = len(pool.connected)
        self.session: Any = None
        self.ended = ""
        self.waiting = False
        self.woken = 0
        self.reserved = FakeReservations()

    def number(self) -> int:
        return self.id

    def awaits_replies(self) -> bool:
        return self.waiting

    def wake(self) -> None:
        self.woken += 1

    def is_blocked(self) -> bool:
        return False

    def reservations(self) -> FakeReservations:
        return self.reserved

    def description(self) -> dict[str, object]:
        return {"addr": f"10.0.0.1:{self.id}", "laddr": "10.0.0.2:22121", "fd": 7, "age": self.id, "idle": 0}

    def cut_off(self, why: str) -> None:
        assert not self.ended
        self.ended = why


def new_session(password: str = "", database: int = 0, pool: FakePool | None = None) -> Session:
    """The session of a new client, of this pool or of a new one with this password and database."""
    owner = pool or FakePool(password, database)
    client = FakeClient(owner)
    client.session = session = Session(owner, client)
    return session


def ask(codec: Any, session: Session, *arguments: bytes) -> bytes:
    """The proxy's own reply to a request, on a connection that goes on."""
    reply, last = plan(codec, session, *arguments)
    assert not last
    assert isinstance(reply, bytes)
    return reply


def plan(codec: Any, session: Session, *arguments: bytes) -> Any:
    """What becomes of a request, told to the session as if it were done.

    Interpreted codecs have classes of their own, so a plan is compared by what is in it.
    """
    request = command(*arguments)
    assert codec.find_request(request, 0, len(request)) == 1
    planned = codec.plan(request, session)
    if planned is not None:
        session.taken()
    return planned
