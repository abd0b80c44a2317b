"""As test_redis_differential, for features beyond single keys: transactions, databases, scans, subscriptions.

Every test also runs with a second redis in place of the proxy: if that fails, the test is wrong.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import resp
from harness.connection import Connection
from harness.redis_comparison import FURNISHING, Stand, clear, compare, cut_places, perform, stand, streams
from harness.redis_pool_streams import DATABASES, DIRECTIVES, LOADING, POOL_GROUPS
from harness.redis_replies import tree
from harness.redis_streams import GROUPS, Command
from harness.servers import RedisServer, ValkeyServer

EXAMPLES = int(os.environ.get("TWEMPROXY_EXAMPLES", "0"))
CHANNELS = [b"news", b"news", b"sport", b"{a}", b"", b"\x00\r\n"]
PATTERNS = [b"n*", b"*", b"s?ort", b"nosuch*"]


OFTEN = "--hz", "500"
"""How many times a second the servers look for blocked clients whose timeout has passed."""


class Itself(RedisServer):
    """A server in place of the proxy."""

    def client(self) -> Connection:
        """A new connection."""
        return self.connect_unix()


@pytest.fixture(
    params=[(RedisServer, 0), (RedisServer, 1), (RedisServer, 3), (ValkeyServer, 3)],
    ids=["redis-itself", "one-redis", "three-redis", "three-valkey"],
    scope="module",
)
def any_pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        kind, count = request.param
        if count == 0:
            twin = stack.enter_context(Itself(*OFTEN))
            yield Stand(stack.enter_context(kind(*OFTEN)), twin, [twin])
        else:
            listen = tmp_path_factory.mktemp("differential") / "proxy.sock"
            yield stand(stack, kind, count, listen, OFTEN, **DIRECTIVES)


@settings(max_examples=EXAMPLES or 30, derandomize=not EXAMPLES)
@given(work=streams(POOL_GROUPS | {"strings": GROUPS["strings"]}, (5, 25)), cuts=cut_places)
@pytest.mark.parametrize("version", [2, 3])
def test_any_stream_is_answered_as_by_redis(
    any_pool: Stand, version: int, work: list[list[Command]], cuts: list[int]
) -> None:
    compare(any_pool, version, work, cuts, furniture=LOADING, databases=DATABASES)


def scanned(connection: Connection, options: list[str]) -> set[bytes]:
    """The keys that SCAN returns from start to end."""
    found: set[bytes] = set()
    cursor: object = b"0"
    while True:
        assert isinstance(cursor, bytes)
        kind, parts = tree(connection.ask("SCAN", cursor, *options))
        assert kind == b"*" and isinstance(parts, list), parts
        (_, cursor), (_, keys) = parts
        found |= {key for _, key in keys}
        if cursor == b"0":
            return found


@settings(max_examples=EXAMPLES or 15, derandomize=not EXAMPLES)
@given(
    work=streams({"several keys": GROUPS["several keys"], "sets": GROUPS["sets"]}, (0, 50)),
    options=st.lists(
        st.sampled_from([["COUNT", "1"], ["COUNT", "1000"], ["MATCH", "*{a}*"], ["TYPE", "set"], ["TYPE", "hash"]]),
        max_size=3,
    ).map(lambda chosen: [word for option in chosen for word in option]),
)
@pytest.mark.parametrize("version", [2, 3])
def test_a_scan_finds_the_keys_that_redis_finds(
    any_pool: Stand, version: int, work: list[list[Command]], options: list[str]
) -> None:
    clear(any_pool)
    with any_pool.reference.connect_unix() as direct, any_pool.proxy.client() as client:
        for connection in (direct, client):
            connection.ask("HELLO", version)
            for sent in (FURNISHING, *work):
                perform(connection, sent)
        assert scanned(client, options) == scanned(direct, options)


class Subscriber:
    """A client that subscribes, and another client that publishes."""

    def __init__(self, stack: ExitStack, subscriber: Connection, publisher: Connection, version: int) -> None:
        self.connection = stack.enter_context(subscriber)
        self.publisher = stack.enter_context(publisher)
        self.connection.ask("HELLO", version)
        self.barriers = 0

    def step(self, who: str, words: list[bytes]) -> None:
        """Send a command from one of the two clients; a publisher's command is complete when this returns."""
        if who == "publisher":
            assert self.publisher.ask(*words).startswith(b":")
        else:
            self.connection.send(resp.command(*words))

    def up_to_barrier(self) -> list[bytes]:
        """The messages that have arrived; a server that is asked directly has sent all messages by then."""
        self.barriers += 1
        token = b"barrier %d" % self.barriers
        self.connection.send(resp.command("PING", token))
        found = []
        while token not in (reply := self.connection.reply()):
            found.append(reply)
        return found


def shown(messages: list[bytes]) -> list[str]:
    """The messages in a comparable form: messages of one step may arrive in any order."""
    return sorted(repr(sorted(part)) for part in (message.split(b"\r\n") for message in messages))


chosen_channels = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3)
subscriber_steps = st.one_of(
    st.builds(lambda names: [b"SUBSCRIBE", *names], chosen_channels),
    st.builds(lambda names: [b"UNSUBSCRIBE", *names], chosen_channels),
    st.builds(lambda name: [b"PSUBSCRIBE", name], st.sampled_from(PATTERNS)),
    st.builds(lambda name: [b"PUNSUBSCRIBE", name], st.sampled_from(PATTERNS)),
    st.sampled_from([[b"GET", b"key"], [b"PING"], [b"SUBSCRIBE"], [b"NOSUCH", b"x"], [b"MGET", b"{a}1", b"{b}2"]]),
).map(lambda words: ("subscriber", words))
publisher_steps = st.builds(
    lambda name, text: ("publisher", [b"PUBLISH", name, text]),
    st.sampled_from(CHANNELS),
    st.sampled_from([b"text", b"", b"\r\n", b"-ERR forged\r\n", b"x" * 9000]),
)


@settings(max_examples=EXAMPLES or 15, derandomize=not EXAMPLES)
@given(steps=st.lists(st.one_of(subscriber_steps, publisher_steps), min_size=5, max_size=25))
@pytest.mark.parametrize("version", [2, 3])
def test_subscribers_hear_what_subscribers_of_redis_hear(
    any_pool: Stand, version: int, steps: list[tuple[str, list[bytes]]]
) -> None:
    clear(any_pool)
    reference = any_pool.reference
    with ExitStack() as stack:
        direct = Subscriber(stack, reference.connect_unix(), reference.connect_unix(), version)
        proxied = Subscriber(stack, any_pool.proxy.client(), any_pool.proxy.client(), version)
        for who, words in steps:
            direct.step(who, words)
            proxied.step(who, words)
            expected = direct.up_to_barrier()
            # Messages and replies use different server connections, so a barrier would not wait for all messages.
            assert shown(proxied.connection.replies(len(expected))) == shown(expected), (who, words)
        assert proxied.up_to_barrier() == []
