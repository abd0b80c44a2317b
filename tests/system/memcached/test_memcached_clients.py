"""Common clients of memcached with a pool: pymemcache, python-memcached, and the tools of libmemcached."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import memcache
import pytest
from pymemcache import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from harness.proxy import ServedPools, memcached_pool
from harness.servers import MemcachedServer, installed
from harness.shared_proxy import Configure
from harness.waiting import DEADLINE

KEYS = [f"key:{number}" for number in range(200)]
LARGE = bytes(range(256)) * 4090
"""Nearly the largest value that memcached accepts by default."""

PYMEMCACHE: dict[str, Callable[[int], Client]] = {
    "default": lambda port: Client(("127.0.0.1", port), timeout=DEADLINE),
    "no-noreply": lambda port: Client(("127.0.0.1", port), timeout=DEADLINE, default_noreply=False),
    "prefix": lambda port: Client(("127.0.0.1", port), timeout=DEADLINE, no_delay=True, key_prefix="prefix:"),
    "pooled": lambda port: PooledClient(("127.0.0.1", port), timeout=DEADLINE, max_pool_size=4),
    "hash": lambda port: HashClient([("127.0.0.1", port)], timeout=DEADLINE, use_pooling=True),
}


def exercise(client: Client) -> None:
    """Commands of every kind."""
    assert client.set("s", "1")
    assert client.get("s") == b"1"
    assert client.get("absent") is None
    assert client.get("absent", "instead") == "instead"
    assert client.set_many({key: key * 3 for key in KEYS}) == []
    assert client.get_many([*KEYS, "absent"]) == {key: (key * 3).encode() for key in KEYS}
    uniques = client.gets_many(KEYS[:10])
    assert [uniques[key][0] for key in KEYS[:10]] == [(key * 3).encode() for key in KEYS[:10]]
    assert client.add("s", "2", noreply=False) is False
    assert client.add("new", "2", noreply=False) is True
    assert client.replace("absent", "2", noreply=False) is False
    assert client.replace("s", "2", noreply=False) is True
    found, unique = client.gets("s")
    assert found == b"2"
    assert client.cas("s", "3", unique) is True
    assert client.cas("s", "4", unique) is False
    assert client.cas("absent", "4", unique) is None
    assert client.append("s", "0")
    assert client.prepend("s", "1")
    assert client.get("s") == b"130"
    assert client.incr("s", 5) == 135
    assert client.decr("s", 1000) == 0
    assert client.incr("absent", 1) is None
    assert client.incr("s", 7, noreply=True) is None
    assert client.get("s") == b"7  "
    assert client.touch("s", 100, noreply=False) is True
    assert client.touch("absent", 100, noreply=False) is False
    assert client.delete("s", noreply=False) is True
    assert client.delete("s", noreply=False) is False
    assert client.delete_many(KEYS[:150])
    assert client.get_many(KEYS) == {key: (key * 3).encode() for key in KEYS[150:]}
    assert client.set("large", LARGE)
    assert client.get("large") == LARGE
    assert client.set("expired", "x", expire=-1)
    assert client.get("expired") is None
    with pytest.raises(MemcacheClientError, match="non-numeric"):
        client.incr("large", 1)
    with pytest.raises(MemcacheServerError, match="too large"):
        client.set("large", LARGE * 2, noreply=False)
    with pytest.raises(MemcacheIllegalInputError):
        client.get("a key with spaces")
    assert client.get("new") == b"2"


@pytest.mark.parametrize("name", PYMEMCACHE)
def test_pymemcache(memcached_proxy: ServedPools, name: str) -> None:
    with closing(PYMEMCACHE[name](memcached_proxy.port())) as client:
        exercise(client)


@pytest.mark.parametrize("name", ["default", "pooled"])
def test_pymemcache_asks_about_the_server(memcached_proxy: ServedPools, name: str) -> None:
    with closing(PYMEMCACHE[name](memcached_proxy.port())) as client:
        assert client.version() == b"1.6.18"
        assert client.stats()
        settings = client.stats("settings")
        assert settings[b"maxbytes"] == 3 * 67108864


def test_pymemcache_speaks_meta_commands(memcached_proxy: ServedPools) -> None:
    with closing(PYMEMCACHE["default"](memcached_proxy.port())) as client:
        assert client.raw_command(b"ms raw 3 T100\r\nabc") == b"HD"
        assert client.raw_command(b"mg raw s k") == b"HD s3 kraw"
        assert client.raw_command(b"gat 100 raw", end_tokens=b"END\r\n") == b"VALUE raw 0 3\r\nabc\r\n"


def test_pymemcache_is_told_that_flushing_is_not_allowed(memcached_proxy: ServedPools) -> None:
    with closing(PYMEMCACHE["default"](memcached_proxy.port())) as client:
        client.set("s", "kept")
        client.flush_all()
        assert client.get("s") == b"kept"
        with pytest.raises(MemcacheClientError, match="flush_all is not allowed in this pool"):
            client.flush_all(noreply=False)
        assert client.get("s") == b"kept"
        with pytest.raises(MemcacheClientError, match="cache_memlimit"):
            client.cache_memlimit(64)


@pytest.fixture
def python_memcached(memcached_proxy: ServedPools) -> Iterator[memcache.Client]:
    client = memcache.Client([f"127.0.0.1:{memcached_proxy.port()}"], cache_cas=True, socket_timeout=DEADLINE)
    yield client
    client.disconnect_all()


def test_python_memcached(python_memcached: memcache.Client) -> None:
    client = python_memcached
    assert client.set("s", "1")
    assert client.get("s") == "1"
    assert client.get("absent") is None
    assert client.set_multi({key: key * 3 for key in KEYS}) == []
    assert client.get_multi([*KEYS, "absent"]) == {key: key * 3 for key in KEYS}
    assert client.set_multi({key: number for number, key in enumerate(KEYS)}, noreply=True) == []
    assert client.get_multi(KEYS) == {key: number for number, key in enumerate(KEYS)}
    assert client.gets("s") == "1"
    assert client.cas("s", "2")
    assert client.add("s", "3") is False
    assert client.replace("s", "4")
    assert client.append("s", "0") and client.prepend("s", "1")
    assert client.get("s") == "140"
    assert client.incr("s", 2) == 142
    assert client.decr("s", 200) == 0
    assert client.incr("absent") is None
    assert client.touch("s", 100)
    assert client.delete("s")
    assert client.delete_multi(KEYS) == 1
    assert client.get_multi(KEYS) == {}
    assert client.set("object", {"a": [1, 2.5, None]}, time=100)
    assert client.get("object") == {"a": [1, 2.5, None]}
    assert client.set("large", "x" * 1_000_000)
    assert client.get("large") == "x" * 1_000_000
    [(_, stats)] = client.get_stats("settings")
    assert stats["maxbytes"] == str(3 * 67108864)
    client.flush_all()
    assert client.get("object") == {"a": [1, 2.5, None]}


class Tools:
    """The programs of libmemcached as clients of a proxy; they run in their own folder."""

    def __init__(self, proxy: ServedPools, folder: Path) -> None:
        self.port = proxy.port()
        self.folder = folder

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run the program, check its exit status, and return its output."""
        command = [installed(program), f"--servers=127.0.0.1:{self.port}", *arguments]
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=30)
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture
def tools(memcached_proxy: ServedPools, tmp_path: Path) -> Tools:
    return Tools(memcached_proxy, tmp_path)


def test_libmemcached_copies_prints_and_removes(tools: Tools, memcached_servers: list[MemcachedServer]) -> None:
    files = {f"file{number}": f"text of {number}\n" for number in range(20)}
    for name, text in files.items():
        (tools.folder / name).write_text(text)
    assert tools.run("memccp", *files) == ""
    assert all(server.present(files) for server in memcached_servers)
    assert tools.run("memccat", *files) == "".join(f"{text}\n" for text in files.values())
    assert "NOT STORED" in tools.run("memccp", "--add", "file0", status=1)
    assert tools.run("memccp", "--replace", "--expire=100", "--flag=7", "file0") == ""
    assert tools.run("memccat", "--flags", "file0") == "7\ntext of 0\n\n"
    assert tools.run("memcexist", *files) == ""
    assert tools.run("memctouch", "--expire=1000", *files) == ""
    assert tools.run("memcrm", *files) == ""
    for program in ("memcrm", "memcexist", "memctouch", "memccat"):
        tools.run(program, "file0", status=1)


def test_libmemcached_buffers_and_does_not_block(tools: Tools) -> None:
    (tools.folder / "large").write_bytes(LARGE)
    for option in ("--buffer", "--non-blocking", "--tcp-nodelay"):
        assert tools.run("memccp", option, "large") == ""
        assert tools.run("memccat", option, "--file=copy", "large") == ""
        assert (tools.folder / "copy").read_bytes().removesuffix(b"\n") == LARGE


@pytest.mark.parametrize("arguments", [["--test=get"], ["--test=set"], ["--test=mget"], ["--test=set", "--noreply"]])
def test_libmemcached_load_generator(
    tools: Tools, memcached_servers: list[MemcachedServer], arguments: list[str]
) -> None:
    before = [int(server.stats()["cmd_set"]) for server in memcached_servers]
    output = tools.run("memcslap", *arguments, "--concurrency=3", "--execute-number=400")
    kind = arguments[0].removeprefix("--test=")
    assert f"Time to {kind}" in output and "1200 keys by    3 threads" in output
    assert "rror" not in output and "ail" not in output
    stored = [int(server.stats()["cmd_set"]) - count for server, count in zip(memcached_servers, before, strict=True)]
    assert min(stored) > 50 and sum(stored) >= 400


def test_libmemcached_asks_about_the_server(tools: Tools) -> None:
    assert tools.run("memcping") == ""
    assert tools.run("memcstat", "--server-version") == f"127.0.0.1:{tools.port} 1.6.18\n"
    assert f"Server: 127.0.0.1 ({tools.port})" in tools.run("memcstat")
    assert f"\tmaxbytes: {3 * 67108864}\n" in tools.run("memcstat", "settings")


def capability(proxy: ServedPools) -> dict[str, bool]:
    """The results of libmemcached's test of the text protocol: whether each part passed."""
    command = [installed("memccapable"), "-h", "127.0.0.1", "-p", str(proxy.port()), "-a"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    return {part: bool(passed) for part, passed in re.findall(r"(ascii(?: \w+)+) {2,}(\[pass])?", output)}


def test_libmemcached_finds_every_capability_that_needs_no_permission(memcached_proxy: ServedPools) -> None:
    found = capability(memcached_proxy)
    assert len(found) == 27
    assert [part for part, passed in found.items() if not passed] == [
        "ascii verbosity",
        "ascii flush",
        "ascii flush noreply",
    ]


def test_libmemcached_finds_every_capability_where_flushing_is_allowed(
    configured: Configure,
    memcached_servers: list[MemcachedServer],
) -> None:
    with configured(
        memcached_pool(
            *memcached_servers, allow_commands="flush_all verbosity stats|cachedump stats|detail stats|reset"
        )
    ) as proxy:
        found = capability(proxy)
    assert len(found) == 27
    assert all(found.values())
