"""A pool's log messages. Plain Python: compiled code calls it only if the log level includes the message."""

from twemproxy.log import get_logger
from twemproxy.net.sockets import peer_of
from twemproxy.protocol.foreign import NAMES

TELL_INTERVAL = 10_000_000
"""Microseconds between two messages of a kind that any client can cause."""

_logger = get_logger(__name__)


class PoolLog:
    """The log messages of one pool."""

    def __init__(self, name: str, redis: bool) -> None:
        """``redis``: whether the pool's protocol is redis; otherwise it is memcached."""
        self.name = name
        self.protocol = "redis" if redis else "memcached's text protocol"
        self._tell_at: dict[str, int] = {}
        self._untold: dict[str, int] = {}

    def ejected(self, server: str, microseconds: int) -> None:
        """At NOTICE: a server was ejected."""
        _logger.log(
            25,
            "%(pool)s: server '%(server)s' ejected, it is probed in %(milliseconds)d ms",
            {"pool": self.name, "server": server, "milliseconds": microseconds // 1000},
        )

    def ejected_elsewhere(self, server: str) -> None:
        """At INFO: another worker, or the supervisor, has ejected a server."""
        _logger.info("%(pool)s: another process has ejected server '%(server)s'", {"pool": self.name, "server": server})

    def reinstated_elsewhere(self, server: str) -> None:
        """At INFO: another worker, or the supervisor, has reinstated a server."""
        _logger.info(
            "%(pool)s: another process has put server '%(server)s' back", {"pool": self.name, "server": server}
        )

    def reinstated(self, server: str) -> None:
        """At NOTICE: a server was reinstated."""
        _logger.log(
            25, "%(pool)s: server '%(server)s' is back, it answers probes", {"pool": self.name, "server": server}
        )

    def messages_missed(self, server: str, topics: int, clients: int) -> None:
        """At NOTICE: a connection for subscriptions ended before ``topics`` of them had moved to another one."""
        _logger.log(
            25,
            "%(pool)s: the connection to server '%(server)s' ended before %(topics)d channels and patterns had moved to"
            " another server or address: %(clients)d clients may have missed messages",
            {"pool": self.name, "server": server, "topics": topics, "clients": clients},
        )

    def client_opened(self, descriptor: int) -> None:
        """At INFO: a client connected."""
        _logger.info("%(pool)s: client %(client)d connected from %(client_address)s", self._client(descriptor))

    def client_left(self, descriptor: int) -> None:
        """At INFO: another process goes on with a client."""
        _logger.info("%(pool)s: client %(client)d handed over", {"pool": self.name, "client": descriptor})

    def client_closed(self, descriptor: int, why: str) -> None:
        """At INFO: a client was closed."""
        _logger.info(
            "%(pool)s: client %(client)d closed: %(reason)s",
            {"pool": self.name, "client": descriptor, "reason": why},
        )

    def client_takes_nothing(self, descriptor: int, untaken: int, limit: int) -> None:
        """At WARN: a client is closed because it has ``untaken`` bytes of unread output."""
        _logger.warning(
            "%(pool)s: client %(client)d from %(client_address)s is closed: it has not read %(bytes)d bytes,"
            " 'client_output_limit' is %(limit)d",
            self._client(descriptor) | {"bytes": untaken, "limit": limit},
        )

    def client_writes_on(self, descriptor: int, unread: int, limit: int) -> None:
        """At WARN: a client is closed because it has sent ``unread`` bytes without reading replies."""
        _logger.warning(
            "%(pool)s: client %(client)d from %(client_address)s is closed: it sent %(bytes)d bytes without reading"
            " replies, 'client_input_limit' is %(limit)d",
            self._client(descriptor) | {"bytes": unread, "limit": limit},
        )

    def client_holds_most(self, descriptor: int, held: int, limit: int) -> None:
        """At WARN: a client loses its ``held`` bytes of memory because the worker uses too much."""
        _logger.warning(
            "%(pool)s: client %(client)d from %(client_address)s: its %(bytes)d bytes are dropped, '--max-memory' is"
            " %(limit)d and traffic uses more than twice that",
            self._client(descriptor) | {"bytes": held, "limit": limit},
        )

    def client_speaks(self, descriptor: int, foreign: int, now: int) -> None:
        """At WARN: a client is closed because it speaks another protocol.

        ``foreign``: index in ``foreign.NAMES``. ``now``: microseconds of a steady clock. The first client is logged,
        then at most one per TELL_INTERVAL: a port scanner must not fill the log.
        """
        port = "has no TLS" if NAMES[foreign] == "TLS" else f"serves {self.protocol}"
        if self._may_tell("foreign", now):
            untold = self._untold.pop("foreign", 0)
            _logger.warning(
                "client %(client_address)s of pool %(pool)s speaks %(protocol)s,"
                f" this port {port}: closed{_also(untold)}",
                self._client(descriptor) | {"protocol": NAMES[foreign], "suppressed": untold},
            )

    def client_guesses(self, address: str, count: int, now: int) -> None:
        """At WARN: a client is closed after ``count`` wrong passwords; logged as often as ``client_speaks``."""
        if self._may_tell("guesses", now):
            untold = self._untold.pop("guesses", 0)
            _logger.warning(
                "client %(client_address)s of pool %(pool)s is closed"
                f" after %(passwords)d wrong passwords{_also(untold)}",
                {"pool": self.name, "client_address": address, "passwords": count, "suppressed": untold},
            )

    def _may_tell(self, event: str, now: int) -> bool:
        """Whether a message of this kind may be logged now; if not, the event is counted."""
        if now < self._tell_at.get(event, 0):
            self._untold[event] = self._untold.get(event, 0) + 1
            return False
        self._tell_at[event] = now + TELL_INTERVAL
        return True

    def _client(self, descriptor: int) -> dict[str, object]:
        """The fields of a message about a client."""
        return {"pool": self.name, "client": descriptor, "client_address": peer_of(descriptor)}

    def client_refused(self, limit: str) -> None:
        """At WARN: a client was refused."""
        _logger.warning("%(pool)s: client refused: %(reason)s", {"pool": self.name, "reason": limit})

    def accept_failed(self, reason: str) -> None:
        """At WARN: accepting has failed, so clients wait for a while."""
        _logger.warning("%(pool)s: accept failed: %(reason)s: clients wait", {"pool": self.name, "reason": reason})


def _also(untold: int) -> str:
    """The addition to a message that says how many events were not logged since the last message."""
    return f" ({untold} such clients since the last such message)" if untold else ""
