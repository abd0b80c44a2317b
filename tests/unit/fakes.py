"""Fakes of classes that are compiled or own sockets: each stands for one class, which ``test_interfaces.py`` checks.

A fake has only methods of its class, with the same parameters, and does the simplest thing that its class may do. A
test that needs more, or that drives a fake as its server or client, derives a class from it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from harness.resp import bulk, error
from twemproxy.protocol.other_workers import NO_OTHER_WORKERS, OtherWorkers
from twemproxy.protocol.redis.session import SCRIPTS_PROFILE
from twemproxy.upstream.server_poll import Poll, Reply
from unit.timed import Timed, settings_of

Done = Callable[[bytes, bool], None]
"""Gets a reply, or an error of the proxy; the second argument says whether the server has replied."""


class Fake:
    """``of``: the class that a fake stands for, as ``module:name``."""

    of: ClassVar[str]

    def __init_subclass__(cls, *, of: str = "") -> None:
        if of:
            cls.of = of


class FakeServer(Fake, int, of="twemproxy.upstream.server:Server"):
    """A server, equal to its position, so that tests can write servers as numbers."""

    @property
    def position(self) -> int:
        return int(self)

    @property
    def name(self) -> str:
        return f"s{self:02d}"

    @property
    def removed(self) -> bool:
        return False


def fake_servers(count: int) -> tuple[FakeServer, ...]:
    """The servers of a pool."""
    return tuple(map(FakeServer, range(count)))


S0, S1, S2 = fake_servers(3)


class FakeConnection(Fake, of="twemproxy.upstream.server_connection:ServerConnection"):
    """A server connection that is open at first.

    ``asked``: requests without a reply so far. ``finished``: whether it has finished, which it can if ``can_finish``.
    ``no_place``: why it may not open. ``tainted``: whether scripts may have changed it. ``misplaced``: whether its
    server has another address now. ``timeout``: the last one that was set, -1 for that of the pool.
    """

    def __init__(self, server: Any = S0, profile: int = 0) -> None:
        self.server, self.profile = server, profile
        self.on_status: Callable[[bool, bool], None] | None = None
        self.asked: list[tuple[bytes, Done]] = []
        self.timeout = -1
        self.candidate: Any = None
        self.closed = False
        self.busy = self.full = self.misplaced = self.finished = False
        self.can_finish = True
        self.no_place = ""
        self.tainted = profile & SCRIPTS_PROFILE != 0

    def ask(self, request: bytes, done: Done) -> None:
        assert not self.closed
        self.asked.append((request, done))

    def close_idle(self) -> None:
        assert self.is_idle()

    def take_place(self) -> str:
        return self.no_place

    def abandon(self) -> None:
        self.closed = True
        self.on_status = None

    def set_timeout(self, timeout: int) -> None:
        self.timeout = timeout

    def finish(self) -> bool:
        self.finished = self.can_finish
        return self.can_finish

    def is_open(self) -> bool:
        return not self.closed

    def is_idle(self) -> bool:
        return not (self.closed or self.busy or self.asked)

    def is_stale(self) -> bool:
        return self.misplaced

    def has_room(self, stream: object) -> bool:
        return not self.full

    def taint(self) -> None:
        self.tainted = True

    def is_tainted(self) -> bool:
        return self.tainted


class FakePool(Timed, Fake, of="twemproxy.upstream.server_pool:ServerPool"):
    """A pool whose servers are live, with a clock of its own. ``config``: has the directives that the test needs.

    ``opened``, ``extra``, ``dropped``: the connections besides the shared ones that were opened, that there are, and
    that were dropped. ``kept``: bytes of subscriptions, at most ``most_subscription_bytes``. ``moved_subscriptions``:
    how many have moved; ``missed``: what was logged about messages that clients may have missed. ``asked``: requests
    for a server, with the server and the kind of their reply.

    ``private``, ``private_of_others``: private connections that the clients of this worker and of others have.
    ``crowded``: other workers need the places of idle connections.
    """

    refused = b"-ERR Connection refused\r\n"

    def __init__(self, config: Any = None, codec: Any = None, servers: int = 1) -> None:
        super().__init__()
        self.config: Any = config or SimpleNamespace()
        self.settings = settings_of(self.config)
        self.codec = codec
        self.others: OtherWorkers = NO_OTHER_WORKERS
        self.servers: Sequence[Any] = fake_servers(servers)
        self.live: set[Any] = set(self.servers)
        self.random = False
        self.turns = 5
        self.opened: list[Any] = []
        self.extra: list[Any] = []
        self.dropped: list[Any] = []
        self.private = self.private_of_others = 0
        self.crowded = False
        self.kept = 0
        self.moved_subscriptions = 0
        self.missed: list[tuple[str, int, int]] = []
        self.most_subscription_bytes = 1 << 30
        self.asked: list[Any] = []

    def turn(self) -> int:
        return self.turns

    def error(self, text: str) -> bytes:
        return error(f"ERR {text}")

    def live_servers(self) -> Sequence[Any]:
        return tuple(server for server in self.servers if server in self.live) or self.servers

    def is_random(self) -> bool:
        return self.random

    def has_keys_as_in(self, routes: object) -> bool:
        return routes is self.servers

    def open_private(self, server: Any, profile: int) -> Any:
        return self._opened(FakeConnection(server, profile))

    def open_probe(self, server: Any, timeout: int) -> Any:
        connection = self._opened(FakeConnection(server))
        connection.timeout = timeout
        return connection

    def count_private(self, change: int) -> int:
        self.private += change
        return self.private + self.private_of_others

    def time_to_keep(self, server: Any, usual: int) -> int:
        return 0 if self.crowded else usual

    def open_subscriber(self, server: Any) -> Any:
        return self._opened(FakeConnection(server))

    def _opened(self, connection: Any) -> Any:
        self.opened.append(connection)
        self.extra.append(connection)
        return connection

    def drop(self, connection: Any) -> None:
        assert not connection.is_open()
        self.extra.remove(connection)
        self.dropped.append(connection)

    def ask_server(self, server: Any, request: bytes, done: Done, kind: int) -> None:
        self.asked.append((server, request, done, kind))

    def count_subscriptions(self, change: int) -> None:
        self.kept += change
        assert self.kept >= 0

    def count_moved_subscriptions(self, count: int) -> None:
        self.moved_subscriptions += count

    def tell_missed_messages(self, server: str, topics: int, clients: int) -> None:
        self.missed.append((server, topics, clients))

    def may_subscribe(self, held: int, more: int) -> bool:
        return max(self.kept, held) + more <= self.most_subscription_bytes


class FakeReservations(Fake, of="twemproxy.upstream.private_connections:Reservations"):
    """``answer``: the result of ``reserve``; ``calls``: the recorded calls."""

    def __init__(self) -> None:
        self.answer: bytes | bool = True
        self.waiting = False
        self.calls: list[tuple[Any, ...]] = []

    def reserve(
        self,
        server: Any,
        profile: int,
        before: Sequence[bytes] = (),
        *,
        patient: bool = False,
        kept: bool = False,
        selects: bool = True,
    ) -> bytes | bool:
        self.calls.append((server, profile, *before, *(["patient"] * patient), *(["kept"] * kept)))
        return self.answer

    def awaits_replies(self) -> bool:
        return self.waiting

    def is_stale(self, server: Any) -> bool:
        return False

    def blocked_at(self) -> tuple[Any, bytes] | None:
        return None

    def keep_no_longer(self) -> None:
        self.calls.append(("keep no longer",))

    def taint(self) -> None:
        self.calls.append(("taint",))

    def release(self, answered: bool) -> None:
        self.calls.append(("give back" if answered else "drop",))


class FakeClient(Fake, of="twemproxy.downstream.client:ClientConnection"):
    """A client with a number and an address.

    ``woken``: how often it was. ``waiting``: whether replies are due. ``ended``: why it was cut off. ``lapses``: how
    often its connection was given back while it was idle. ``got``: messages of its subscriptions. ``requests``,
    ``read_turn``: the number of its requests, and the turn of the last read.
    """

    def __init__(self, number: int = 1, address: str = "10.0.0.1") -> None:
        self.id = number
        self.fd = 7
        self.where = address
        self.session: Any = None
        self.reserved: Any = FakeReservations()
        self.woken = 0
        self.lapses = 0
        self.waiting = self.has_left = False
        self.ended = ""
        self.got: list[bytes] = []
        self.requests = self.read_turn = 0

    def number(self) -> int:
        return self.id

    def address(self) -> str:
        return self.where

    def wake(self) -> None:
        self.woken += 1

    def awaits_replies(self) -> bool:
        return self.waiting

    def is_blocked(self) -> bool:
        return False

    def reservations(self) -> Any:
        return self.reserved

    def lapse(self) -> None:
        self.lapses += 1

    def close_after_hangup(self) -> None:
        self.has_left = True

    def abort(self, why: str) -> None:
        assert not self.ended
        self.ended = why

    def push(self, message: bytes, shared: object) -> object:
        assert shared in (None, message)
        assert not self.ended
        self.got.append(message)
        return message

    def progress(self) -> tuple[int, int]:
        return self.requests, self.read_turn


class FakePoll(Fake, of="twemproxy.upstream.server_poll:ServerPoll"):
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


class FakeSubscriptions(Fake, of="twemproxy.upstream.pubsub:Subscriptions"):
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


class FakeUnsubscribeRequest(Fake, of="twemproxy.upstream.topics:UnsubscribeRequest"):
    """A request to ``FakeSubscriptions``."""

    def __init__(self, subscriptions: FakeSubscriptions, client: Any, kind: str) -> None:
        self.subscriptions = subscriptions
        self.client = client
        self.kind = kind

    def ask(self, names: list[bytes]) -> None:
        self.subscriptions.calls.append((self.client, "end of " + self.kind, *names))

    def is_answered(self) -> bool:
        return self.subscriptions.answer is not False

    def end(self) -> None:
        """No call is recorded: the request may end at any time."""


class FakeTopicRequest(Fake, of="twemproxy.upstream.topics:TopicRequest"):
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

    def is_answered(self) -> bool:
        return self.subscriptions.answer is not False

    def take(self, most: int) -> list[bytes]:
        names, self.names = self.names[:most], self.names[most:]
        if names:
            self.subscriptions.calls.append((self.client, "take", *names))
        return names

    def end(self) -> None:
        self.subscriptions.calls.append((self.client, "end"))
