"""Reloads in a row while several hundred clients verify every reply.

``python -m reloads.run --reloads 100`` prints what the clients have counted and what is wrong. The exit status is 1 if
anything is wrong.
"""

import argparse
import asyncio
import random
import sys
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

from harness.ports import free_port
from harness.proc import anonymous_memory, descriptors
from harness.proxy import Proxy
from harness.servers import MemcachedServer, RedisServer
from reloads.clients import Peer, Tally, blocking, counting, pipelining, remembering, subscribing, transacting
from reloads.files import Files
from twemproxy.commands.control import ask
from twemproxy.ipc.control import Resize, Resized


class Load:
    """The clients of one run. ``scale``: how many of each kind, in relation to the smallest load."""

    def __init__(self, proxy: Proxy, scale: int) -> None:
        self.proxy = proxy
        self.scale = scale
        self.tally = Tally()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.peers: list[Peer] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def peer(self, name: str, pool: str) -> Peer:
        """A connected client."""
        peer = Peer(name, self.tally, self.go_on)
        await peer.open(self.proxy.port(pool))
        self.peers.append(peer)
        return peer

    async def begin(self, *, subscribers: bool) -> None:
        """Connect all clients and start them. ``subscribers``: with those of messages."""
        simple = (("count", counting, 20), ("pipe", pipelining, 4), ("multi", transacting, 6))
        for kind, work, number in simple:
            for i in range(number * self.scale):
                peer = await self.peer(f"{kind}{i}", "values")
                self.tasks.append(asyncio.create_task(peer.run(work)))
        paired = (("block", blocking, "values", 6), ("subscribe", subscribing, "messages", 4))
        for kind, make, pool, number in paired if subscribers else paired[:1]:
            for i in range(number * self.scale):
                peer, other = await self.peer(f"{kind}{i}", pool), await self.peer(f"{kind}{i}'", pool)
                self.tasks.append(asyncio.create_task(peer.run(make(other))))
        for i in range(6 * self.scale):
            peer = await self.peer(f"cache{i}", "cache")
            self.tasks.append(asyncio.create_task(peer.run(remembering)))

    async def end(self) -> None:
        """Let all clients finish what they have begun."""
        self.go_on.clear()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 60)
        for peer in self.peers:
            peer.close()


class Events(NamedTuple):
    """What happens during a load, in random order."""

    reloads: int
    """Each file is a change of the one before, every fifth or so is bad."""
    upgrades: int = 0
    resizes: int = 0
    """How often there is another number of workers."""

    @property
    def hand_over(self) -> bool:
        """Whether clients are handed over: subscribers would stay until the former worker ends, and be closed."""
        return self.upgrades > 0 or self.resizes > 0


async def resize(proxy: Proxy, count: int) -> None:
    """Have so many workers."""
    answer = await asyncio.get_running_loop().run_in_executor(None, ask, str(proxy.control_socket), Resize(count))
    assert isinstance(answer, Resized)
    assert answer.workers == count


async def take_place(events: Events, proxy: Proxy, files: Files, load: Load, choose: random.Random) -> None:
    """Have the events happen."""
    loop = asyncio.get_running_loop()
    upgrading = set(choose.sample(range(events.reloads), events.upgrades))
    resizing = set(choose.sample(range(events.reloads), events.resizes))
    for number in range(events.reloads):
        if number in upgrading:
            await loop.run_in_executor(None, proxy.upgrade)
            load.tally.count("upgrade")
        if number in resizing:
            await resize(proxy, choose.randint(1, 5))
            load.tally.count("other number of workers")
        if choose.random() < 0.2:
            proxy.configuration.write_text(files.bad())
            stats = await loop.run_in_executor(None, proxy.reload)
            if not stats["last_reload_failed"]:
                load.tally.wrong.append(f"reload {number}: a bad file is served: {proxy.configuration.read_text()!r}")
            continue
        what = files.change()
        stats = await loop.run_in_executor(None, proxy.reload, files.written())
        if stats["last_reload_failed"]:
            load.tally.wrong.append(f"reload {number} ({what}): {stats['last_reload']}")
        load.tally.count("reload")
        await asyncio.sleep(choose.random() * 0.1)
        if load.tally.wrong:
            load.tally.wrong.append(f"that was after reload {number}: {what}")
            return


def run(events: Events, scale: int, seed: int, workers: int = 1) -> Tally:
    """Run a load with these events; returns the tally. ``workers``: how many there are at first."""
    choose = random.Random(seed)
    with ExitStack() as held:
        redis = held.enter_context(RedisServer("--bind", "127.0.0.1", "127.0.0.2", "127.0.0.3", "--maxclients", "9000"))
        memcached = held.enter_context(MemcachedServer("-c", "9000", host="0.0.0.0"))
        apart = [held.enter_context(RedisServer()) for _ in range(3)]
        files = Files(
            choose,
            [f"127.0.0.{host}:{redis.port}" for host in (1, 2, 3)] + [redis.path],
            [f"127.0.0.{host}:{memcached.port}" for host in (1, 2, 3)],
            [server.address for server in apart],
        )
        for name in (*files.file, "another"):
            files.ports[name] = [free_port(), free_port()]
        for name, pool in files.file.items():
            pool["listen"] = f"127.0.0.1:{files.ports[name][0]}"
        proxy = held.enter_context(Proxy(files.written(), "-w", str(workers)))

        async def whole() -> Tally:
            load = Load(proxy, scale)
            await load.begin(subscribers=not events.hand_over)
            await asyncio.sleep(1)
            before = usage(proxy)
            started = time.monotonic()
            try:
                await take_place(events, proxy, files, load, choose)
            finally:
                await load.end()
            load.tally.count("seconds", int(time.monotonic() - started))
            closed = sum(int(pool["client_err"]) for pool in proxy.stats().values() if isinstance(pool, dict))
            if closed:
                load.tally.wrong.append(f"{closed} clients were closed by the proxy")
            print(f"before: {before}, after: {usage(proxy)}")
            return load.tally

        return asyncio.run(whole())


def usage(proxy: Proxy) -> dict[str, Any]:
    """Memory in kB and open descriptors of each process."""
    pids = proxy.processes()
    return {"kB": [anonymous_memory(pid) // 1024 for pid in pids], "files": [len(descriptors(pid)) for pid in pids]}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--upgrades", type=int, default=0, help="number of upgrades among the reloads")
    parser.add_argument("--resizes", type=int, default=0, help="number of changes of the number of workers among them")
    parser.add_argument("--workers", type=int, default=1, help="number of workers at first")
    parser.add_argument("--scale", type=int, default=5, help="number of clients, in units of about 66")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    events = Events(options.reloads, options.upgrades, options.resizes)
    tally = run(events, options.scale, options.seed, options.workers)
    for name, count in sorted(tally.counts.items()):
        print(f"{count:9} {name}")
    for wrong in tally.wrong:
        print(f"WRONG: {wrong}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
