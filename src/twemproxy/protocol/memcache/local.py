"""The commands of memcached that the proxy answers itself, and the statistics it puts together.

Lines of statistics are ``STAT name value``, as in memcached's doc/protocol.txt.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from twemproxy.protocol.plan import Answer

_END = b"END\r\n"
_PREFIXED = (b"STAT ", b"ITEM ", b"PREFIX ")
_FAILED = b"SERVER_ERROR "


class Pool(Protocol):
    """What is asked of a pool here."""

    def statistics(self) -> Sequence[tuple[str, object]]:
        """Names and values of the proxy's own figures for the pool."""

    def server_statistics(self) -> Sequence[tuple[str, Sequence[tuple[str, object]]]]:
        """For each server its name, and names and values of what is known of it."""


class Session:
    """The state of one client connection. Nobody has to authenticate, and replies cannot be turned off."""

    __slots__ = ("pool",)

    attended = subscribed = False
    replies = 0
    profile = 0
    expected = 0
    queues_to = -1

    def __init__(self, pool: Pool) -> None:
        """``pool``: the client's."""
        self.pool = pool

    def taken(self) -> None:
        """Nothing is different then."""

    def spoilt(self) -> None:
        """Other requests do not depend on it."""

    def ended(self) -> None:
        """There is nothing to give back."""


def _statistics(figures: Iterable[tuple[str, object]]) -> bytes:
    return "".join(f"STAT {name} {value}\r\n" for name, value in figures).encode() + _END


def _stats(arguments: list[bytes], session: Session) -> bytes:
    if not arguments:
        return _statistics(session.pool.statistics())
    return _statistics(
        (f"{server}:{name}", value) for server, figures in session.pool.server_statistics() for name, value in figures
    )


def answer(request: bytes, session: Any) -> Answer:
    """The answer to a request that the proxy answers."""
    name, *arguments = request.split()
    match name:
        case b"mn":
            return Answer(b"MN\r\n")
        case b"quit":
            return Answer(b"", last=True)
        case _:
            return Answer(_stats(arguments, session))


def merge_statistics(replies: Sequence[tuple[str, bytes]]) -> bytes:
    """The statistics of every server in one reply, each line with its server's name in front.

    ``replies``: (name, reply) of every server; one that did not answer has the proxy's own SERVER_ERROR. When those
    that answered have one line to say instead of statistics, that is the reply: the first error if there is one.
    """
    failures = [reply for _, reply in replies if reply.startswith(_FAILED)]
    single = [reply for _, reply in replies if not reply.startswith((*_PREFIXED, _END, _FAILED))]
    if single and len(single) + len(failures) == len(replies):
        errors = [reply for reply in single if b"ERROR" in reply.split()[0]]
        return (failures + errors + single)[0]
    lines = []
    for server, reply in replies:
        name = server.encode()
        if reply.startswith(_FAILED) or reply in single:
            lines.append(b"STAT %s:error %s\r\n" % (name, reply.removeprefix(_FAILED).split(b"\r\n")[0]))
            continue
        for line in reply.split(b"\r\n"):
            for word in _PREFIXED:
                if line.startswith(word):
                    lines.append(word + name + b":" + line.removeprefix(word) + b"\r\n")
    return b"".join(lines) + _END
