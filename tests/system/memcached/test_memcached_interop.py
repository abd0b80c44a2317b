"""Values written through Debian's nutcracker 0.5.0 are found through this proxy, and the other way round."""

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from harness.memcache import END, STORED, store, value
from harness.ports import free_host
from harness.proxy import Proxy
from harness.servers import MemcachedServer, installed

HASHES = [
    *("one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64"),
    *("fnv1a_64", "fnv1_32", "fnv1a_32", "hsieh", "murmur", "jenkins"),
]
DISTRIBUTIONS = ["ketama", "modula"]
NAMINGS = ["port-11211", "other-ports", "named-and-weighted"]
HASH_TAGS = ["", "{}", "$$"]
WEIGHTS = [1, 5, 2, 10]
KEYS = [
    *(f"key:{number}" for number in range(80)),
    *(f"user:{{{number % 7}}}:{number}" for number in range(40)),
    *(f"a${number % 5}$b{number}" for number in range(40)),
    *("x" * length for length in range(1, 251, 12)),
    *("é" * length for length in range(1, 20)),
    *("{}", "{", "}", "}{", "a{}b", "$$", "$", "a$", "{a}{b}", "noreply", "0", "get"),
]
CASES = [
    f"{hash_name} {distribution} {naming} {hash_tag}".strip()
    for hash_name, distribution, naming, hash_tag in itertools.product(HASHES, DISTRIBUTIONS, NAMINGS, HASH_TAGS)
]


class Both(NamedTuple):
    """Both proxies in front of the same servers, with one pool per case."""

    ours: Proxy
    original: Proxy
    servers: list[MemcachedServer]


def directives(case: str, servers: list[MemcachedServer]) -> dict[str, object]:
    """The directives of the pool for a case."""
    hash_name, distribution, naming, *hash_tag = case.split(" ")
    entries = {
        "port-11211": [f"{server.also}:1" for server in servers],
        "other-ports": [f"{server.address}:1" for server in servers],
        "named-and-weighted": [
            f"{server.address}:{weight} node-{number}"
            for number, (server, weight) in enumerate(zip(servers, WEIGHTS, strict=True))
        ],
    }
    pool: dict[str, object] = {"hash": hash_name, "distribution": distribution, "servers": entries[naming]}
    return {**pool, "hash_tag": f'"{hash_tag[0]}"'} if hash_tag else pool


def pool_name(case: str) -> str:
    """The name of the pool for a case; the case itself has spaces and braces."""
    return f"case{CASES.index(case)}"


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with ExitStack() as stack:
        # Without a name, ketama knows a server on port 11211 by its host only, so each server has its own host.
        servers = [stack.enter_context(MemcachedServer(also=f"{free_host(11211)}:11211")) for _ in WEIGHTS]
        pools = {pool_name(case): directives(case, servers) for case in CASES}
        original = stack.enter_context(Proxy(pools, command=[installed("nutcracker")]))
        yield Both(stack.enter_context(Proxy(pools)), original, servers)


def write(proxy: Proxy, case: str, mark: str) -> None:
    """Store every key through a proxy."""
    with proxy.client(pool_name(case)) as client:
        client.send(b"".join(store("set", key, mark + key) for key in KEYS))
        client.expect(STORED * len(KEYS))


def read(proxy: Proxy, case: str, mark: str) -> None:
    """Read every key through a proxy, in one request per key and in one request for all keys."""
    with proxy.client(pool_name(case)) as client:
        client.send(b"".join(f"get {key}\r\n".encode() for key in KEYS))
        client.expect(b"".join(value(key, mark + key) + END for key in KEYS))
        client.send(f"get {' '.join(KEYS)}\r\n".encode())
        found = client.text_reply()
        assert all(value(key, mark + key) in found for key in KEYS)


def test_the_other_proxy_is_the_original() -> None:
    version = subprocess.run([installed("nutcracker"), "-V"], capture_output=True, text=True, check=True)
    assert version.stderr.startswith("This is nutcracker-0.5.0\n")


@pytest.mark.parametrize("case", CASES)
def test_each_finds_what_the_other_has_written(both: Both, case: str) -> None:
    for server in both.servers:
        server.flush()
    write(both.original, case, "original ")
    read(both.ours, case, "original ")
    write(both.ours, case, "ours ")
    read(both.original, case, "ours ")
    assert sum(len(server.present(KEYS)) for server in both.servers) == len(KEYS), "a key is on two servers"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_pools_of_the_two_differ_where_their_directives_do(both: Both, distribution: str) -> None:
    write(both.original, f"fnv1a_64 {distribution} named-and-weighted", "original ")
    with pytest.raises(AssertionError):
        read(both.ours, f"murmur {distribution} named-and-weighted", "original ")
