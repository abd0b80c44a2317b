"""The messages between the supervisor and its fork server, over a unix socket that keeps them apart (SOCK_SEQPACKET).

On the wire, a message is MessagePack. The fork server sends ``Waiting`` when it is ready. Then each ``ForkWorker``,
which brings the worker's end of its control socket (SCM_RIGHTS), has as answer ``Forked`` or ``NotForked``, and then
``Waiting``.
"""

from typing import Final

import msgspec

MESSAGE_SIZE: Final = 4096
"""Longer than any message."""


class ForkWorker(msgspec.Struct, frozen=True, tag=True):
    """Fork a worker."""

    title: bytes
    """The command line that other processes see of it."""
    name: bytes
    """The name of the process (comm); empty: that of the fork server."""


class Forked(msgspec.Struct, frozen=True, tag=True):
    """A worker runs. It is a child of the supervisor when ``parent`` has ended."""

    worker: int
    parent: int
    """Process ids; ``parent``: of the process between the fork server and the worker."""


class NotForked(msgspec.Struct, frozen=True, tag=True):
    """The system has refused."""

    problem: str


class Waiting(msgspec.Struct, frozen=True, tag=True):
    """The fork server waits for a request; the process between it and the last worker has ended."""


ToForkServer = ForkWorker
FromForkServer = Forked | NotForked | Waiting

TO_FORK_SERVER: Final = msgspec.msgpack.Decoder(ToForkServer)
FROM_FORK_SERVER: Final = msgspec.msgpack.Decoder(FromForkServer)

encode: Final = msgspec.msgpack.encode
