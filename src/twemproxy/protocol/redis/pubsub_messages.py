"""The messages of a connection to a redis server that has subscriptions.

Plain Python. Formats are those of redis.io's "Redis Pub/Sub", in version 2 of the protocol.
"""

from collections.abc import Sequence

from twemproxy.protocol.pubsub import PubsubMessages
from twemproxy.protocol.redis.commands import COMMANDS
from twemproxy.protocol.redis.glob import glob_matches
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.resp_decoder import Failure, parse
from twemproxy.protocol.redis.resp_encoder import bulk
from twemproxy.protocol.redis.session import SUBSCRIBES
from twemproxy.protocol.redis.subscription_messages import answers, comes_from_anywhere, published

END_OF = {"subscribe": "unsubscribe", "psubscribe": "punsubscribe", "ssubscribe": "sunsubscribe"}
"""The command that ends a subscription, by the one that begins it."""

ANSWERED = {(kind, True): b"*3\r\n" + bulk(kind) for kind in SUBSCRIBES}
ANSWERED |= {(kind, False): b"*3\r\n" + bulk(end) for kind, end in END_OF.items()}
"""The beginning of servers' answers to a subscription, or its end, by kind of topic, up to the topic."""


class RedisPubsubMessages(PubsubMessages):
    """The kinds of topics are the commands that subscribe to them."""

    def request(self, kind: str, names: Sequence[bytes], begins: bool) -> bytes:
        return encode_request([(kind if begins else END_OF[kind]).encode(), *names])

    def answer_head(self, kind: str, begins: bool) -> bytes:
        return ANSWERED[kind, begins]

    def is_answer(self, message: bytes, head: bytes, name: bytes) -> bool:
        return answers(message, head, name)

    def read(self, message: bytes) -> tuple[str, str, bytes]:
        found = published(message)
        if found is not None:
            return "published", *found
        if isinstance(parse(message), Failure):
            return "refused", "", b""
        raise ValueError("no message")

    def kind_of(self, command: int) -> str:
        return "ssubscribe" if COMMANDS[command].name == "spublish" else "subscribe"

    def matches(self, pattern: bytes, name: bytes) -> bool:
        """In redis, only the empty pattern matches a channel with an empty name."""
        return glob_matches(pattern, name) if name else not pattern

    def comes_from_anywhere(self, kind: str, name: bytes) -> bool:
        return comes_from_anywhere(kind, name)
