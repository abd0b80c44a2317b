"""Takes golden data from a live nutcracker: the server of each key, and with it the values of the hash functions.

Run by hand, never by the tests: ``python take_vectors.py`` (options: ``--help``) rewrites ``live_hash.json`` and
``live_ring.json`` in the same folder. The script uses no code of this project, so that the data can contradict it.
``hash.json`` and ``ring.json`` are older data of the same origin, which include the points of the continuum.

The servers behind nutcracker are small servers in this process; each replies to GET with its own number, so the reply
to a key tells which server got it.

``live_hash.json``: ``{"keys": [hex, …], "values": {hash: [value of each key, …]}}``. With distribution modula and
servers of weight 1, the index of a key's server is the hash modulo the number of servers; five pools of coprime sizes
determine the whole 32-bit value (Chinese remainder theorem).

``live_ring.json``: ``{"keys": [hex, …], "pools": [{distribution, hash, hash_tag, names: […], weights, ejected: [index,
…], owners: [index of each key's server, …]}, …]}``. Servers are in order of index: by name, shorter names first.
Ejected servers refused connections until nutcracker ejected them.
"""

import argparse
import asyncio
import contextlib
import json
import math
import random
import re
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HASHES = (
    *("one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64"),
    *("fnv1a_64", "fnv1_32", "fnv1a_32", "hsieh", "murmur", "jenkins"),
)
COPRIME_SIZES = (97, 101, 103, 107, 109)
LARGEST_WEIGHT = (1 << 31) - 1
HERE = Path(__file__).parent
DEADLINE = 20.0
"""Seconds after which something that should have happened is an error."""


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@dataclass
class Pool:
    """One pool to ask: its servers in order of index, and the port at which nutcracker listens for it."""

    distribution: str
    hash: str
    hash_tag: str
    names: list[bytes]
    weights: list[int]
    eject: bool = False
    """Whether nutcracker ejects servers that refuse connections."""
    named: bool = True
    """Whether the configuration contains the names; otherwise they are made of the addresses."""
    addresses: list[tuple[str, int]] = field(default_factory=list)
    listen: int = 0
    stats: int = 0


def by_index(names: Sequence[bytes]) -> list[bytes]:
    return sorted(names, key=lambda name: (len(name), name))


class Backends:
    """Servers on loopback that reply to every GET with their own number, and ports that refuse connections."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.refusing: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, count: int, refusing: int) -> None:
        for number in range(count):
            server = await asyncio.start_server(self._answers(number), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])
        for _ in range(refusing):
            bound = socket.socket()
            bound.bind(("127.0.0.1", 0))
            self.refusing.append(bound)

    async def close(self) -> None:
        """Close everything when nutcracker has ended: waits for its connections to end."""
        for server in self._servers:
            server.close()
        for bound in self.refusing:
            bound.close()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*self._connections)

    def _answers(self, number: int) -> Serve:
        reply = b"%d" % number

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    arguments = int((await reader.readuntil(b"\r\n"))[1:])
                    for _ in range(arguments):
                        length = int((await reader.readuntil(b"\r\n"))[1:])
                        await reader.readexactly(length + 2)
                    writer.write(b"$%d\r\n%s\r\n" % (len(reply), reply))
            writer.close()

        return serve


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def configuration(pools: Sequence[Pool]) -> bytes:
    lines = []
    for pool in pools:
        lines += [
            b"pool%d:" % pool.listen,
            b"  listen: 127.0.0.1:%d" % pool.listen,
            b"  redis: true",
            b"  distribution: " + pool.distribution.encode(),
            b"  hash: " + pool.hash.encode(),
        ]
        if pool.hash_tag:
            lines.append(b"  hash_tag: " + json.dumps(pool.hash_tag).encode())
        if pool.eject:
            lines += [
                b"  auto_eject_hosts: true",
                b"  server_failure_limit: 1",
                b"  server_retry_timeout: 3600000",
            ]
        lines.append(b"  servers:")
        for name, weight, (host, port) in zip(pool.names, pool.weights, pool.addresses, strict=True):
            text = b"%s:%d:%d" % (host.encode(), port, weight)
            lines.append(b'  - "%s"' % (text + b" " + name if pool.named else text))
    return b"\n".join(lines) + b"\n"


@contextlib.asynccontextmanager
async def nutcracker(program: str, pools: Sequence[Pool]) -> AsyncIterator[None]:
    """Run nutcracker with these pools until the end of the context; it accepts clients."""
    *listens, stats = free_ports(len(pools) + 1)
    for pool, listen in zip(pools, listens, strict=True):
        pool.listen, pool.stats = listen, stats
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "nutcracker.yml"), Path(folder, "log")
        file.write_bytes(configuration(pools))
        process = subprocess.Popen(
            [program, "-c", file, "-o", log, "-s", str(stats), "-i", "50"], stderr=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(DEADLINE):
                for listen in listens:
                    while True:
                        with contextlib.suppress(OSError):
                            _, writer = await asyncio.open_connection("127.0.0.1", listen)
                            writer.close()
                            break
                        if process.poll() is not None:
                            raise RuntimeError(f"nutcracker left: {log.read_text(errors='replace')[-2000:]}")
                        await asyncio.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait()


async def ask(pool: Pool, keys: Sequence[bytes]) -> list[bytes]:
    """The reply to a GET of each key: the number of a server, or an error with its minus sign."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pool.listen)
    replies = []
    async with asyncio.timeout(DEADLINE):
        for key in keys:
            writer.write(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
        for _ in keys:
            head = await reader.readuntil(b"\r\n")
            replies.append((await reader.readuntil(b"\r\n"))[:-2] if head.startswith(b"$") else head)
    writer.close()
    return replies


async def owners(pool: Pool, keys: Sequence[bytes], backends: Backends) -> tuple[list[int], list[int]]:
    """The index of each key's server, and the indexes of the servers that were ejected before."""
    index_of = {port: index for index, (_, port) in enumerate(pool.addresses)}
    errors = 0
    async with asyncio.timeout(DEADLINE):
        while True:
            replies = await ask(pool, keys)
            refused = sum(reply.startswith(b"-") for reply in replies)
            if not refused:
                break
            errors += refused
        owned = [index_of[backends.ports[int(reply)]] for reply in replies]
        return owned, await ejected(pool, errors) if errors else []


async def ejected(pool: Pool, errors: int) -> list[int]:
    """The indexes of the ejected servers, once the statistics include these errors."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", pool.stats)
        servers = json.loads(await reader.read())[f"pool{pool.listen}"]
        writer.close()
        if servers["forward_error"] >= errors:
            return [i for i, name in enumerate(pool.names) if servers[name.decode()]["server_ejected_at"]]
        await asyncio.sleep(0.01)


def remainder_theorem(remainders: Sequence[int], sizes: Sequence[int]) -> int:
    """The number below the product of ``sizes`` that has these remainders."""
    product = math.prod(sizes)
    terms = (
        remainder * (product // size) * pow(product // size, -1, size)
        for remainder, size in zip(remainders, sizes, strict=True)
    )
    return sum(terms) % product


def hashed_keys(source: random.Random) -> Iterator[bytes]:
    """Keys of every length up to 40, and some longer: of any bytes, of bytes above 0x80, and of bytes below."""
    for length in [*range(1, 41), 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 250, 1000]:
        yield source.randbytes(length)
        yield bytes(source.randrange(0x80, 0x100) for _ in range(length))
        yield bytes(source.randrange(0x21, 0x7F) for _ in range(length))


async def take_hashes(program: str, backends: Backends, source: random.Random) -> dict[str, object]:
    keys = list(hashed_keys(source))
    values: dict[str, list[int]] = {}
    for name in HASHES:
        pools = [Pool("modula", name, "", [b"s%03d" % i for i in range(size)], [1] * size) for size in COPRIME_SIZES]
        for pool in pools:
            pool.addresses = [("127.0.0.1", port) for port in backends.ports[: len(pool.names)]]
        async with nutcracker(program, pools):
            remainders = [(await owners(pool, keys, backends))[0] for pool in pools]
        values[name] = [remainder_theorem(each, COPRIME_SIZES) for each in zip(*remainders, strict=True)]
        assert max(values[name]) < 1 << 32, "a key did not go where its hash says"
    return {"keys": [key.hex() for key in keys], "values": values}


def routed_keys(source: random.Random) -> Iterator[bytes]:
    """Ordinary keys, binary keys, and hash tags: complete, empty, unclosed, reversed and repeated."""
    yield from (b"a", b"foo", b"apple", b"\x00", b"\xff", b"user:1000:profile")
    for opening, closing in ("{}", "$$", "()", "<>"):
        marks = (
            opening + closing,
            opening,
            closing,
            closing + "a" + opening + "tag",
            f"x{opening}{closing}y",
        )
        yield from (mark.encode() for mark in marks)
        for _ in range(4):
            tag = source.randrange(1000)
            yield f"user:{opening}{tag}{closing}:{source.randrange(1000)}".encode()
            yield f"{opening}{tag}{closing}{opening}{source.randrange(1000)}{closing}".encode()
    yield from (b"key-%d" % source.randrange(10**9) for _ in range(40))
    yield from (source.randbytes(source.randrange(1, 60)) for _ in range(30))


def random_names(source: random.Random, count: int) -> list[bytes]:
    """Names that a configuration may contain: short, of equal length, not ASCII, or longer than what counts."""
    style = source.choice(("short", "even", "accented", "long" if count <= 10 else "even"))
    names: set[bytes] = set()
    while len(names) < count:
        number = source.randrange(10**6)
        if style == "short":
            names.add(b"%s%d" % (source.choice((b"s", b"server", b"redis-", b"n.")), number % 1000))
        elif style == "even":
            names.add(b"shard-%06d" % number)
        elif style == "long":
            # 268 to 275 bytes: the cut at 272 falls before, within and after the number that follows the name.
            names.add((b"%06d" % number).ljust(source.randrange(268, 276), b"x"))
        else:
            names.add(f"sérveur-é{number % 1000}".encode())
    return list(names)


def random_weights(source: random.Random, distribution: str, count: int, eject: bool) -> list[int]:
    styles = ["one", "small", "medium"]
    if distribution == "ketama":
        styles += ["skewed", "large"]
        if 4 <= count <= 10 and not eject:
            styles.append("wrapping")
    style = source.choice(styles)
    if style == "one":
        return [source.choice((1, 1, 1, 7))] * count
    if style == "small":
        return [source.randrange(1, 6) for _ in range(count)]
    if style == "medium":
        return [source.randrange(1, 1000) for _ in range(count)]
    if style == "skewed":
        return [source.choice((1, 10, 1000, 100000)) for _ in range(count)]
    if style == "large":
        return [source.randrange(1, min(LARGEST_WEIGHT, (1 << 32) // count)) for _ in range(count)]
    # The sum is a little less than 2**33: nutcracker's 32-bit total wraps once, and nutcracker survives it.
    return [((1 << 33) - source.randrange(8, 1000)) // count] * count


def random_pool(source: random.Random, backends: Backends, hash: str) -> Pool:
    distribution = source.choice(("ketama", "ketama", "modula"))
    count = source.choice((1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 25, 47, 50, 100))
    refusing = 0
    if count > 1 and source.random() < 0.3:
        refusing = source.randrange(1, min(count, len(backends.refusing) + 1))
    ports = source.sample(backends.ports, count - refusing)
    ports += [bound.getsockname()[1] for bound in source.sample(backends.refusing, refusing)]
    host = source.choice(("127.0.0.1", "localhost"))
    addresses = {b"%s:%d" % (host.encode(), port): (host, port) for port in ports}
    named = source.random() < 0.7
    names = by_index(random_names(source, count) if named else list(addresses))
    places = list(addresses.values()) if named else [addresses[name] for name in names]
    if named:
        source.shuffle(places)
    return Pool(
        distribution,
        hash,
        source.choice(("", "", "{}", "$$", "()", "<>")),
        names,
        random_weights(source, distribution, count, refusing > 0),
        refusing > 0,
        named,
        places,
    )


async def take_rings(program: str, backends: Backends, source: random.Random, count: int) -> dict[str, object]:
    keys = list(routed_keys(source))
    pools = [random_pool(source, backends, HASHES[i % len(HASHES)]) for i in range(count)]
    taken = []
    for first in range(0, count, 20):
        some = pools[first : first + 20]
        async with nutcracker(program, some):
            for pool in some:
                owned, gone = await owners(pool, keys, backends)
                taken.append(
                    {
                        "distribution": pool.distribution,
                        "hash": pool.hash,
                        "hash_tag": pool.hash_tag,
                        "names": [name.decode() for name in pool.names],
                        "weights": pool.weights,
                        "ejected": gone,
                        "owners": owned,
                    }
                )
    return {"keys": [key.hex() for key in keys], "pools": taken}


def write(file: Path, data: dict[str, object]) -> None:
    """Write JSON, with one line for each pool or hash."""
    text = json.dumps(data, separators=(",", ":"))
    file.write_text(re.sub(r'(\{"distribution"|"(?:pools|values|\w+)":\[\d)', r"\n\1", text) + "\n")


async def main() -> None:
    parser = argparse.ArgumentParser(description="Take golden data from a live nutcracker.")
    parser.add_argument("--nutcracker", default="nutcracker", help="the program (default: the one on the PATH)")
    parser.add_argument("--pools", type=int, default=120, help="how many pools to ask")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of keys and pools")
    parser.add_argument("--folder", type=Path, default=HERE, help="where to write")
    options = parser.parse_args()
    backends = Backends()
    await backends.start(max(COPRIME_SIZES), refusing=3)
    source = random.Random(options.seed)
    try:
        write(options.folder / "live_hash.json", await take_hashes(options.nutcracker, backends, source))
        write(
            options.folder / "live_ring.json",
            await take_rings(options.nutcracker, backends, source, options.pools),
        )
    finally:
        await backends.close()


if __name__ == "__main__":
    asyncio.run(main())
