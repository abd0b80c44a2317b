"""The messages of a connection to a server that has subscriptions, see ``upstream.pubsub``."""

from collections.abc import Sequence


class PubsubMessages:
    """The messages of a protocol without subscriptions; a codec that has some has an object of a subclass."""

    def request(self, kind: str, names: Sequence[bytes], begins: bool) -> bytes:
        """The request that subscribes to these topics of a kind, or unsubscribes if not ``begins``."""
        raise NotImplementedError

    def answer_head(self, kind: str, begins: bool) -> bytes:
        """The beginning of a server's answers to such a request, up to the topic."""
        raise NotImplementedError

    def is_answer(self, message: bytes, head: bytes, name: bytes) -> bool:
        """Whether a server's message is the answer for this topic that begins with ``head``; an error is not."""
        raise NotImplementedError

    def read(self, message: bytes) -> tuple[str, str, bytes]:
        """(what, kind, name) of a server's message.

        ``what``: ``published``, or ``refused`` for an error, which does not name its topic. Raises ValueError for any
        other message.
        """
        raise NotImplementedError

    def kind_of(self, command: int) -> str:
        """The kind of topic that gets the message of a TO_CHANNEL request; ``command``: see ``Request``."""
        raise NotImplementedError

    def matches(self, pattern: bytes, name: bytes) -> bool:
        """Whether a pattern matches a channel's name."""
        return False

    def comes_from_anywhere(self, kind: str, name: bytes) -> bool:
        """Whether messages of a topic may come from other servers than that of the key with its name."""
        return True
