"""What the proxy says to a server for itself: the handshake of a connection, a change of its database, health checks.

Plain Python: used when a connection opens, and for probes. Profiles: see ``Codec.session``.
"""

from typing import Protocol


class Settings(Protocol):
    """The part of a pool's configuration that is used here."""

    @property
    def redis_auth(self) -> str:
        """The servers' password, empty for none."""

    @property
    def redis_db(self) -> int:
        """The pool's own database."""

    @property
    def databases(self) -> int:
        """The number of databases."""


class Handshake:
    """The handshake of a protocol that needs none; each codec has an object of a subclass."""

    def steps(self, settings: Settings, profile: int) -> list[tuple[str, bytes]]:
        """(step, request) of the handshake of a new server connection of this profile; step: its name, for messages."""
        return []

    def problem(self, step: str, reply: bytes) -> str:
        """The server's error if the reply to this step is not the right one; otherwise empty."""
        return ""

    def declines_profile(self, step: str, problem: str) -> bool:
        """Whether this problem in this step means that the server does not support the profile."""
        return False

    def features(self, step: str, reply: bytes) -> int:
        """A server's features by its reply to this step: bits as in ``Request.required_features``."""
        return 0

    def missing_feature_text(self) -> str:
        """The error text for requests whose ``required_features`` a server lacks."""
        return ""

    def with_database(self, settings: Settings, profile: int, other: int) -> int:
        """The profile ``profile`` with the database of the profile ``other``."""
        return profile

    def select(self, settings: Settings, profile: int) -> bytes:
        """The request that selects the database of this profile on a connection."""
        raise NotImplementedError

    def connection_id(self) -> bytes:
        """A request whose reply is the server's id of the connection; empty if the protocol has none."""
        return b""

    def may_unblock(self) -> bool:
        """Whether clients may end the wait of other clients, so that the id of each private connection is needed."""
        return False

    def unblock(self, identity: bytes) -> bytes:
        """A request that ends the wait of a connection with an error: the reply is ``:1`` if it was waiting, else
        ``:0``.

        ``identity``: the reply to ``connection_id`` there. Empty if there is no such request.
        """
        return b""

    def is_unblocked(self, reply: bytes) -> bool:
        """Whether this is the error of a request whose wait was ended."""
        return False

    def probe(self) -> bytes:
        """The request of a health check."""
        raise NotImplementedError

    def is_well(self, reply: bytes) -> bool:
        """Whether the reply to a health check shows that the server can serve."""
        raise NotImplementedError
