"""Random streams of commands get exactly the same replies through the proxy as from memcached itself."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.command_streams import KEYS, UNIQUE, Command, calculating, normalised, retrieving
from harness.connection import Connection
from harness.memcache import END, MN
from harness.proxy import ServedPools, memcached_pool, owner
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure

SMALL_ITEMS = "-I", "8k", "-o", "slab_chunk_max=4096,no_lru_maintainer,no_lru_crawler"
"""memcached refuses values of 8 KB and more, so the test for large values is cheap; no threads change items."""

LOOK_UP = f"gets {' '.join(KEYS)}\r\n".encode()


class Side:
    """One of the two sides of the comparison: a connection, and the cas uniques that the keys have on that side."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.uniques: dict[str, str] = {}

    def perform(self, sent: Sequence[Command], cuts: Sequence[int] = ()) -> list[bytes]:
        """Send the commands, cut into pieces at ``cuts``, then look up all keys, and return every reply."""
        stream = b"".join(self._request(command) for command in sent) + LOOK_UP + b"mn\r\n"
        edges = [0, *sorted(cut for cut in set(cuts) if cut < len(stream))]
        self.connection.send_pieces(*(stream[start:end] for start, end in itertools.pairwise(edges)))
        self.connection.send(stream[edges[-1] :])
        replies = []
        while (reply := self.connection.text_reply()) != MN:
            replies.append(reply)
        self._learn(replies[-1])
        return [normalised(reply) for reply in replies]

    def _request(self, command: Command) -> bytes:
        # For a key without a unique any number will do: it is as if another client had changed the item.
        return command.request.replace(UNIQUE.encode(), self.uniques.get(command.key, "1").encode())

    def _learn(self, reply: bytes) -> None:
        self.uniques.clear()
        position = 0
        while not reply.startswith(END, position):
            line_end = reply.index(b"\r\n", position)
            _, key, _, length, unique = reply[position:line_end].decode().split(" ")
            self.uniques[key] = unique
            position = line_end + 2 + int(length) + 2


@pytest.fixture(scope="module")
def reference() -> Iterator[MemcachedServer]:
    """The memcached that is asked directly."""
    with MemcachedServer(*SMALL_ITEMS) as server:
        yield server


@pytest.fixture(params=[1, 3], ids=["one-server", "three-servers"], scope="module")
def differential_proxy(
    configured: Configure, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedPools]:
    # With a unix socket the kernel tells cheaply whether the proxy has read a piece.
    listen = tmp_path_factory.mktemp("differential") / "proxy.sock"
    with ExitStack() as stack:
        servers = [stack.enter_context(MemcachedServer(*SMALL_ITEMS)) for _ in range(request.param)]
        yield stack.enter_context(
            configured(
                memcached_pool(
                    *servers,
                    listen=listen,
                    allow_commands="flush_all verbosity stats|cachedump stats|detail stats|reset",
                )
            )
        )


def test_keys_are_on_every_server() -> None:
    assert {owner(key, 3) for key in KEYS} == {0, 1, 2}


streams = st.lists(
    st.one_of(
        st.lists(st.sampled_from(retrieving(3000)), min_size=20, max_size=60),
        st.lists(st.sampled_from(calculating(3000)), min_size=20, max_size=60),
    ),
    min_size=1,
    max_size=5,
)
"""Lists of commands, each sent in one go; cas uniques are looked up after each list."""


@settings(max_examples=200, derandomize=True)
@given(work=streams, cuts=st.lists(st.integers(1, 4000), max_size=4))
def test_any_stream_is_answered_as_by_memcached(
    reference: MemcachedServer, differential_proxy: ServedPools, work: list[list[Command]], cuts: list[int]
) -> None:
    with reference.connect() as connection, differential_proxy.client() as client:
        direct, proxied = Side(connection), Side(client)
        clear = [Command(b"flush_all\r\n")]
        assert proxied.perform(clear) == direct.perform(clear)
        for sent in work:
            assert proxied.perform(sent, cuts) == direct.perform(sent), sent
