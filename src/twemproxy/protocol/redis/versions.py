"""The versions of a pool's servers; clients are told the oldest one.

Plain Python. The servers are asked when a client first needs a version, and again after new connections to them have
been opened: a server may have been replaced.
"""

from typing import Any, NamedTuple

from twemproxy.protocol.figures import version_key
from twemproxy.protocol.plan import Server
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.sections import sections_of
from twemproxy.protocol.redis.session import Session

FALLBACK = "7.0.0"
"""The version for clients while no server has reported its own."""

ASK_AGAIN_AFTER = 1_000_000
"""Microseconds before servers are asked again."""

_QUESTION = encode_request([b"INFO", b"server"])


class Version(NamedTuple):
    """``told``: the version in the server's own numbering. ``redis``: the compatible version of redis."""

    server: str
    told: str
    redis: str


class Versions:
    """The versions of one pool's servers. ``by_server``: of the servers that have reported it."""

    def __init__(self) -> None:
        self.by_server: dict[Server, Version] = {}
        self._ask_at = 0
        self._connects = -1
        self._poll: Any = None

    def learn(self, server: Server, section: dict[str, str]) -> None:
        """Take the version from the section "Server" of a server's INFO."""
        redis = section.get("redis_version", "")
        if not version_key(redis):
            return
        valkey = section.get("valkey_version", "")
        self.by_server[server] = Version("valkey" if valkey else "redis", valkey or redis, redis)

    def spoken(self) -> str:
        """The oldest redis version with which a server is compatible."""
        return min((version.redis for version in self.by_server.values()), key=version_key, default=FALLBACK)

    def greeting(self) -> tuple[str, str]:
        """Name and version for HELLO: those of valkey only if all servers are valkey."""
        known = list(self.by_server.values())
        if known and all(version.server == "valkey" for version in known):
            return "valkey", min((version.told for version in known), key=version_key)
        return "redis", self.spoken()

    def are_known(self, session: Session) -> bool:
        """Whether a version is known; if not, the client is woken when it is, after at most a second."""
        pool = session.pool
        if self._poll is not None and self._poll.done:
            self._take(pool)
        outdated = not self.by_server or pool.connects() != self._connects
        if outdated and self._poll is None and pool.now() >= self._ask_at:
            self._poll = pool.poll.ask(_QUESTION, session.client)
            if self._poll.done:
                self._take(pool)
        if self.by_server or self._poll is None:
            return True
        self._poll.wanted_by(session.client)
        return False

    def _take(self, pool: Any) -> None:
        """Take the versions from the servers' replies; forget servers that the pool does not have any more."""
        present = set(pool.servers)
        self.by_server = {server: version for server, version in self.by_server.items() if server in present}
        for reply in self._poll.replies:
            if reply.state == "ok":
                try:
                    self.learn(reply.server, sections_of(reply.text).get("Server", {}))
                except ValueError:
                    continue
        self._poll = None
        self._connects = pool.connects()
        self._ask_at = pool.now() + ASK_AGAIN_AFTER
