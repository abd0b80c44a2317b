"""A pool and its clients, as far as the proxy's own answers ask for them."""

from types import SimpleNamespace
from typing import Any

from twemproxy.protocol.redis.connection_commands import RESP3_PROFILE, Session

FIGURES = {"version": "9.8.7", "pid": 123, "uptime": 200_000, "client_connections": 2, "requests": 44}
FIGURES |= {"response_bytes": 55, "request_bytes": 66, "forward_error": 7, "servers": 3, "servers_live": 2}
FIGURES |= {"server_ejects": 8, "fragments": 99}


class FakePool:
    """``usable``: what ``can_use`` says; ``asked`` is who asked it."""

    def __init__(self, password: str = "", database: int = 0, usable: bool | None = True) -> None:
        address = SimpleNamespace(host="127.0.0.1", port=22121, path="")
        listen = SimpleNamespace(address=address)
        self.config = SimpleNamespace(redis_auth=password, redis_db=database, name="alpha", listen=listen)
        self.config.client_connections, self.config.backlog = 1000, 512
        self.usable = usable
        self.asked: list[Any] = []
        self.connected: list[FakeClient] = []

    def clients(self) -> list[Any]:
        return list(reversed(self.connected))

    def statistics(self) -> list[tuple[str, object]]:
        return [*FIGURES.items()]

    def can_use(self, profile: int, client: Any) -> bool | None:
        assert profile == RESP3_PROFILE
        self.asked.append(client)
        return self.usable


class FakeClient:
    """Number N has port N and is N seconds old; ``ended`` is why it was cut off, ``waiting`` whether
    replies are due."""

    def __init__(self, pool: FakePool) -> None:
        pool.connected.append(self)
        self.id = len(pool.connected)
        self.session: Any = None
        self.ended = ""
        self.waiting = False

    def number(self) -> int:
        return self.id

    def awaits_replies(self) -> bool:
        return self.waiting

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
