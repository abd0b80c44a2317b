"""The memcached commands that the proxy answers itself."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

from twemproxy.protocol.memcache import statistics
from twemproxy.protocol.memcache.commands import KIND_NAMES, STATISTICS_WITH_PERMISSION
from twemproxy.protocol.memcache.errors import TEXTS, Problem, error_line
from twemproxy.protocol.plan import Answer, Ask, Server, Steps

_STATS_KIND = KIND_NAMES.index("stats")


class Pool(Protocol):
    """The part of ``upstream.server_pool.ServerPool`` that is used here."""

    poll: Any
    """Sends requests to every server, see ``upstream.server_poll``."""

    @property
    def servers(self) -> Sequence[Server]:
        """The servers, in the order of the configuration."""

    def statistics(self) -> Sequence[tuple[str, object]]:
        """(name, value) of the proxy's own figures for the pool."""

    def server_statistics(self) -> Sequence[tuple[str, Sequence[tuple[str, object]]]]:
        """(name, figures) of each server; figures: (name, value) of the proxy's own figures for it."""


class Session:
    """The state of one client connection: it needs no authentication, and always wants replies."""

    __slots__ = ("client", "pool")

    needs_planning = subscribed = False
    replies = 0
    profile = 0
    expected = 0
    transaction_server = None

    def __init__(self, pool: Pool, client: Any) -> None:
        """``pool``: the client's."""
        self.pool = pool
        self.client = client

    can_move = True

    def state(self) -> dict[str, object]:
        """Nothing: the session has no state."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Does nothing: the session has no state."""

    def on_dispatched(self) -> None:
        """Does nothing: a request does not change the session."""

    def on_rejected(self) -> None:
        """Does nothing: later requests do not depend on a rejected one."""

    def on_close(self) -> None:
        """Does nothing: the session has nothing to release."""


def plan(codec: Any, data: bytes, session: Session) -> Answer | Ask | Steps:
    """The plan for a SLOW_PATH request."""
    name, *arguments = data.split()
    match name:
        case b"mn":
            return Answer(b"MN\r\n")
        case b"quit":
            return Answer(b"", last=True)
        case _:
            return _stats([argument.decode("utf-8", "replace") for argument in arguments], codec, data, session)


def _stats(arguments: list[str], codec: Any, data: bytes, session: Session) -> Answer | Ask | Steps:
    pool = session.pool
    kind = arguments[0] if arguments else ""
    if len(arguments) < 2:
        if kind == "proxy":
            return Answer(statistics.written(pool.statistics()))
        if kind == "servers":
            return Answer(
                statistics.written(
                    (f"{server}:{name}", value)
                    for server, figures in pool.server_statistics()
                    for name, value in figures
                )
            )
        if kind in statistics.RULES:
            return Steps(_merged(kind, session))
    permission = f"stats|{kind}"
    if kind in STATISTICS_WITH_PERMISSION and permission not in codec.permitted:
        return Answer(error_line(TEXTS[Problem.NOT_ALLOWED].format(name=permission)))
    return Ask([(server, data) for server in pool.servers], statistics.join)


def _merged(kind: str, session: Session) -> Generator[bytes | None, None, Answer]:
    """The merged statistics of the servers."""
    while session.client.awaits_replies():
        # The client's earlier requests must have run before the servers are asked.
        yield None
    question = f"stats {kind}".rstrip().encode() + b"\r\n"
    poll = session.pool.poll.ask(question, session.client, _STATS_KIND)
    while not poll.done:
        yield None
    if "reply" not in poll.notes:
        poll.notes["reply"] = yield from statistics.merge(kind, poll.replies, dict(session.pool.statistics()))
    return Answer(poll.notes["reply"])
