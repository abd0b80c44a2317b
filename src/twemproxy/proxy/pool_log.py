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
        _logger.log(25, "%s: server '%s' ejected, it is probed in %d ms", self.name, server, microseconds // 1000)

    def ejected_elsewhere(self, server: str) -> None:
        """At INFO: another worker, or the supervisor, has ejected a server."""
        _logger.info("%s: another process has ejected server '%s'", self.name, server)

    def reinstated_elsewhere(self, server: str) -> None:
        """At INFO: another worker, or the supervisor, has reinstated a server."""
        _logger.info("%s: another process has put server '%s' back", self.name, server)

    def reinstated(self, server: str) -> None:
        """At NOTICE: a server was reinstated."""
        _logger.log(25, "%s: server '%s' is back, it answers probes", self.name, server)

    def messages_missed(self, server: str, topics: int, clients: int) -> None:
        """At NOTICE: a connection for subscriptions ended before ``topics`` of them had moved to another one."""
        _logger.log(
            25,
            "%s: the connection to server '%s' ended before %d channels and patterns had moved to another server or"
            " address: %d clients may have missed messages",
            *(self.name, server, topics, clients),
        )

    def client_opened(self, descriptor: int) -> None:
        """At INFO: a client connected."""
        _logger.info("%s: client %d connected from %s", self.name, descriptor, peer_of(descriptor))

    def client_left(self, descriptor: int) -> None:
        """At INFO: another process goes on with a client."""
        _logger.info("%s: client %d handed over", self.name, descriptor)

    def client_closed(self, descriptor: int, why: str) -> None:
        """At INFO: a client was closed."""
        _logger.info("%s: client %d closed: %s", self.name, descriptor, why)

    def client_takes_nothing(self, descriptor: int, untaken: int, limit: int) -> None:
        """At WARN: a client is closed because it has ``untaken`` bytes of unread output."""
        _logger.warning(
            "%s: client %d from %s is closed: it has not read %d bytes, 'client_output_limit' is %d",
            *(self.name, descriptor, peer_of(descriptor), untaken, limit),
        )

    def client_writes_on(self, descriptor: int, unread: int, limit: int) -> None:
        """At WARN: a client is closed because it has sent ``unread`` bytes without reading replies."""
        _logger.warning(
            "%s: client %d from %s is closed: it sent %d bytes without reading replies, 'client_input_limit' is %d",
            *(self.name, descriptor, peer_of(descriptor), unread, limit),
        )

    def client_holds_most(self, descriptor: int, held: int, limit: int) -> None:
        """At WARN: a client loses its ``held`` bytes of memory because the worker uses too much."""
        _logger.warning(
            "%s: client %d from %s: its %d bytes are dropped, '--max-memory' is %d and traffic uses more than twice"
            " that",
            *(self.name, descriptor, peer_of(descriptor), held, limit),
        )

    def client_speaks(self, descriptor: int, foreign: int, now: int) -> None:
        """At WARN: a client is closed because it speaks another protocol.

        ``foreign``: index in ``foreign.NAMES``. ``now``: microseconds of a steady clock. The first client is logged,
        then at most one per TELL_INTERVAL: a port scanner must not fill the log.
        """
        port = "has no TLS" if NAMES[foreign] == "TLS" else f"serves {self.protocol}"
        if self._may_tell("foreign", now):
            _logger.warning(
                "client %s of pool %s speaks %s, this port %s: closed%s",
                *(peer_of(descriptor), self.name, NAMES[foreign], port, self._not_told("foreign")),
            )

    def client_guesses(self, address: str, count: int, now: int) -> None:
        """At WARN: a client is closed after ``count`` wrong passwords; logged as often as ``client_speaks``."""
        if self._may_tell("guesses", now):
            _logger.warning(
                "client %s of pool %s is closed after %d wrong passwords%s",
                *(address, self.name, count, self._not_told("guesses")),
            )

    def _may_tell(self, event: str, now: int) -> bool:
        """Whether a message of this kind may be logged now; if not, the event is counted."""
        if now < self._tell_at.get(event, 0):
            self._untold[event] = self._untold.get(event, 0) + 1
            return False
        self._tell_at[event] = now + TELL_INTERVAL
        return True

    def _not_told(self, event: str) -> str:
        """The addition to a message that says how many events were not logged since the last message."""
        untold = self._untold.pop(event, 0)
        return f" ({untold} such clients since the last such message)" if untold else ""

    def client_refused(self, limit: str) -> None:
        """At WARN: a client was refused."""
        _logger.warning("%s: client refused: %s", self.name, limit)

    def accept_failed(self, reason: str) -> None:
        """At WARN: accepting has failed, so clients wait for a while."""
        _logger.warning("%s: accept failed: %s: clients wait", self.name, reason)
