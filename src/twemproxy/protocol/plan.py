"""What is to become of a request that has no place on the fast path: said by a codec, carried out by the proxy.

Plain Python. ``Codec.plan`` gives one of these, or None when it cannot be told yet: then the client is paused, the
request stays where it is, and it is planned again when the client is woken.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

Merge = Callable[[list[tuple[str, bytes]]], bytes]
"""From (server's name, reply) of every request of an ``Ask``, in its order, to the reply for the client.

A server that did not answer has the proxy's own error as its reply.
"""


class Answer(NamedTuple):
    """The proxy answers, empty for no reply at all."""

    reply: bytes
    last: bool = False
    """Whether the connection ends after it."""


class Push(Answer):
    """As ``Answer``, and it is none of the replies that a client can do without."""

    __slots__ = ()


class ToServer(NamedTuple):
    """The request goes to this server as it is, on a connection that clients share."""

    server: int


class ToPrivate(NamedTuple):
    """The request goes as it is to this server, on the connection that the client has reserved there."""

    server: int
    last: bool = False
    """Whether the client needs the connections it has reserved, and does not keep, no longer than for this reply."""


class Ask(NamedTuple):
    """These requests go to these servers, and the client gets what ``merge`` makes of the replies."""

    requests: Sequence[tuple[int, bytes]]
    merge: Merge
    private: bool = False
    """On the connections that the client has reserved there, which it then needs no longer."""


class Pass(NamedTuple):
    """The request goes where the codec's ``route`` says."""


PASS = Pass()

Plan = Answer | ToServer | ToPrivate | Ask | Pass | None
