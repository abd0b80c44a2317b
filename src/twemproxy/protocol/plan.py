"""Plans: the decision about a request that is not routed by its keys, made by a codec and executed by the proxy.

Plain Python. ``Codec.plan`` returns a plan, or None if it has to wait: then the client is paused, the request is not
taken, and it is planned again when the client is woken.
"""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol


class Server(Protocol):
    """A server of the pool, as plans name it; two are the same if they are one object. See ``upstream.server``."""

    @property
    def name(self) -> str:
        """Its name, unique in the pool."""

    @property
    def position(self) -> int:
        """Its place in the configuration."""

    @property
    def removed(self) -> bool:
        """Whether the pool has other servers now."""


Merge = Callable[[list[tuple[str, bytes]]], bytes]
"""Makes the client's reply from (server's name, reply) of each request of an ``Ask``, in its order.

For a server that did not answer, the reply is the proxy's own error.
"""


class Answer(NamedTuple):
    """The proxy replies; empty for no reply."""

    reply: bytes
    last: bool = False
    """Whether the connection closes after this reply."""


class Push(Answer):
    """As ``Answer``, for bytes that the client gets even if it wants no replies."""

    __slots__ = ()


class ToServer(NamedTuple):
    """The unchanged request goes to this server, on a shared connection."""

    server: Server


class Blocking(NamedTuple):
    """A request that may wait for its keys at a server; when they have another server, it is asked again there."""

    keys: Sequence[bytes]
    """At least one."""
    data: bytes
    """The request."""
    after_waiting: Callable[[bytes, int], bytes]
    """Returns the form of a request after it has waited for some microseconds, with the rest of its timeout."""


class ToPrivate(NamedTuple):
    """The unchanged request goes to this server, on the client's private connection."""

    server: Server
    last: bool = False
    """Whether private connections that the client does not keep are released after this reply."""
    blocking: Blocking | None = None
    """None for a request that stays at the server, whatever becomes of its keys."""


class Ask(NamedTuple):
    """These requests go to these servers, and ``merge`` makes the client's reply."""

    requests: Sequence[tuple[Server, bytes]]
    merge: Merge
    private: bool = False
    """Whether the requests go to the client's private connections, which are then released."""


class Steps(NamedTuple):
    """The request takes long, and is processed in steps, in several turns of the event loop.

    In the meantime no later request of the client is processed, so its session does not change. The request is taken:
    its reply is the next one in order.
    """

    work: Generator[bytes | None, None, "Answer | Ask"]
    """Each step takes about a tenth of a millisecond or less. It yields bytes, the next part of the reply, or b"" for a
    step without one; then the next step runs when it may. The work yields None to wait until the client is woken
    (``wake``), or a reply to it is flushed. The work returns the plan that ends the request: an ``Answer`` with the
    rest of the reply, or an ``Ask`` if it has yielded no bytes.

    Parts of a reply are sent before the work ends, and the work waits while the client does not read them; so there
    must be no error after the first part. An exception closes the client. The work is closed when the client is.
    """
    held: int = 0
    """Bytes that the work keeps, such as those of the request, which count as traffic."""
    messages: bool = False
    """Whether each part is a complete message, as the confirmation of a subscription is. Then other messages may come
    between the parts, and the client gets the parts even if it wants no replies."""


class Pass(NamedTuple):
    """The request goes where its ``route`` says."""


PASS = Pass()


class More(NamedTuple):
    """The bytes that were passed do not show the plan: all bytes of the request are needed."""


MORE = More()

Plan = Answer | ToServer | ToPrivate | Ask | Steps | Pass | More | None
