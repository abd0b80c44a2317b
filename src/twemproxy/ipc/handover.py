"""What two workers say to each other while one hands its clients over to the other, over a unix stream socket.

The giving worker sends ``Handed`` messages, in the form of ``ipc.messages``, each with the descriptor of the client.
The taking worker sends one byte for each client that it has taken.
"""

from typing import Any

import msgspec


class Handed(msgspec.Struct, frozen=True, tag=True):
    """A client, whose descriptor comes with the message."""

    pool: str
    """The name of its pool."""
    state: dict[str, Any]
    """See ``downstream.handover``."""


HANDED = msgspec.msgpack.Decoder(Handed)
"""For the ``MessageStream`` of the taking worker."""
