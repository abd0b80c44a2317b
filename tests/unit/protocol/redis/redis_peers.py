"""A fake pool and fake clients, with everything that the proxy's own replies use."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from feeding import Parser

from harness.fake_servers import FakeServer, fake_servers
from harness.resp import bulk, command
from twemproxy.protocol.plan import Server
from twemproxy.protocol.redis.command_reply import Available
from twemproxy.protocol.redis.commands import BY_NAME, COMMANDS, Routing
from twemproxy.protocol.redis.session import Session
from twemproxy.protocol.redis.versions import Versions
from twemproxy.proxy.server_poll import Poll, Reply

AVAILABLE = Available(tuple(command.name for command in COMMANDS if command.routing != Routing.REFUSED))
FIGURES = {"version": "9.8.7", "pid": 123, "uptime": 200_000, "client_connections": 2, "requests": 44}
FIGURES |= {"response_bytes": 55, "request_bytes": 66, "forward_error": 7, "servers": 3, "servers_live": 2}
FIGURES |= {"server_ejects": 8, "fragments": 99}
FIGURES |= {"run_id": "0123456789" * 4, "responses": 43}


class FakePool:
    """``usable``: result of ``can_use``; ``profile``: its last profile; ``asked``: its clients and ``ask`` calls."""

    refused = b"-ERR Connection refused\r\n"

    def __init__(
        self, password: str = "", database: int = 0, usable: bool | None = True, databases: int = 1, servers: int = 1
    ) -> None:
        self.servers: Sequence[FakeServer] = fake_servers(servers)
        address = SimpleNamespace(host="127.0.0.1", port=22121, path="")
        listen = SimpleNamespace(address=address)
        self.config = SimpleNamespace(redis_auth=password, redis_db=database, name="alpha", listen=listen)
        self.config.client_connections, self.config.backlog, self.config.databases = 1000, 512, databases
        self.codec = SimpleNamespace(available=AVAILABLE, versions=Versions(), permission_refusal=lambda *_: "")
        self.poll: Any = FakePoll(self)
        self.opened = 0
        self.subscriptions: Any = FakeSubscriptions()
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

    def may_be_busy(self) -> bool:
        return False

    def is_open(self) -> bool:
        return True

    def any_server(self) -> FakeServer:
        return self.servers[0]

    def server_of(self, key: bytes) -> FakeServer:
        """The server of a key by its first byte; an empty key has server 0."""
        return self.servers[sum(key[:1]) % len(self.servers)]

    def server_of_all(self, keys: list[bytes]) -> FakeServer | None:
        servers = {self.server_of(key) for key in keys} or {self.any_server()}
        return servers.pop() if len(servers) == 1 else None

    def is_random(self) -> bool:
        return False

    def tell_guesses(self, address: str, count: int) -> None:
        self.guesses = (address, count)

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        self.asked.append((request, done))

    def connects(self) -> int:
        return self.opened

    def now(self) -> int:
        return self.time


class FakePoll:
    """``replies``: the reply of each server, or None to leave all polls open; ``asked``: the requests."""

    def __init__(self, pool: FakePool) -> None:
        server = bulk("# Server\r\nredis_version:7.0.15\r\n")
        self.replies: list[Reply] | None = [Reply(each, "ok", server) for each in pool.servers]
        self.asked: list[bytes] = []
        self.open: list[Poll] = []

    def ask(self, request: bytes, client: Any, kind: int = 0) -> Poll:
        self.asked.append(request)
        poll = Poll(kind)
        poll.wanted_by(client)
        if self.replies is None:
            self.open.append(poll)
        else:
            poll.replies = self.replies
            poll.finish()
        return poll


class FakeSubscriptions:
    """``answer``: True for success, False while it is not known, or an error; ``calls``: the recorded calls."""

    def __init__(self) -> None:
        self.answer: bytes | bool = True
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, client: Any, kind: str) -> "FakeTopicRequest":
        return FakeTopicRequest(self, client, kind)

    def begin_unsubscribe(self, client: Any, kind: str) -> "FakeUnsubscribeRequest":
        return FakeUnsubscribeRequest(self, client, kind)

    def drop(self, client: Any, topics: Mapping[str, dict[bytes, None]]) -> None:
        self.calls.append((client, "drop", *[name for kind in topics for name in topics[kind]]))

    def subscribers(self, kind: str, name: bytes) -> tuple[int, int]:
        return (3, 1)


class FakeUnsubscribeRequest:
    """A request to ``FakeSubscriptions``."""

    def __init__(self, subscriptions: FakeSubscriptions, client: Any, kind: str) -> None:
        self.subscriptions = subscriptions
        self.client = client
        self.kind = kind

    def ask(self, names: list[bytes]) -> None:
        self.subscriptions.calls.append((self.client, "end of " + self.kind, *names))

    def is_settled(self) -> bool:
        return self.subscriptions.answer is not False

    def end(self) -> None:
        """No call is recorded: the request may end at any time."""


class FakeTopicRequest:
    """A request to ``FakeSubscriptions``."""

    def __init__(self, subscriptions: FakeSubscriptions, client: Any, kind: str) -> None:
        self.subscriptions = subscriptions
        self.client = client
        self.kind = kind
        self.names: list[bytes] = []

    @property
    def error(self) -> bytes:
        answer = self.subscriptions.answer
        return answer if isinstance(answer, bytes) else b""

    def ask(self, names: list[bytes]) -> None:
        self.names += names
        self.subscriptions.calls.append((self.client, self.kind, *names))

    def may_ask(self) -> bool:
        return True

    def is_settled(self) -> bool:
        return self.subscriptions.answer is not False

    def take(self, most: int) -> list[bytes]:
        names, self.names = self.names[:most], self.names[most:]
        if names:
            self.subscriptions.calls.append((self.client, "take", *names))
        return names

    def end(self) -> None:
        self.subscriptions.calls.append((self.client, "end"))


class FakeReservations:
    """``answer``: the result of ``reserve``; ``calls``: the recorded calls."""

    def __init__(self) -> None:
        self.answer: bytes | bool = True
        self.waiting = False
        self.calls: list[tuple[Any, ...]] = []

    def reserve(
        self,
        server: Server,
        profile: int,
        before: Sequence[bytes] = (),
        *,
        patient: bool = False,
        kept: bool = False,
        turns: bool = True,
    ) -> bytes | bool:
        self.calls.append((server, profile, *before, *(["patient"] * patient), *(["kept"] * kept)))
        return self.answer

    def awaits_replies(self) -> bool:
        return self.waiting

    def blocked_at(self) -> tuple[Server, bytes] | None:
        return None

    def keep_no_longer(self) -> None:
        self.calls.append(("keep no longer",))

    def distrust(self) -> None:
        self.calls.append(("distrust",))

    def give_back(self, answered: bool) -> None:
        self.calls.append(("give back" if answered else "drop",))


class FakeClient:
    """Client N has port N and is N seconds old; ``ended``: why it was cut off; ``waiting``: whether replies are due."""

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
        return {
            "addr": f"10.0.0.1:{self.id}",
            "laddr": "10.0.0.2:22121",
            "fd": 7,
            "age": self.id,
            "idle": 0,
            "qbuf": 5,
            "oll": 1,
            "omem": 20,
            "events": "rw",
            "command": BY_NAME["client"],
        }

    def cut_off(self, why: str) -> None:
        assert not self.ended
        self.ended = why


def new_session(password: str = "", database: int = 0, pool: FakePool | None = None) -> Session:
    """The session of a new client, of ``pool`` or of a new pool with this password and database."""
    owner = pool or FakePool(password, database)
    client = FakeClient(owner)
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
