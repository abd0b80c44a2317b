"""Random configuration files: each is the last one with one to three changes; some are bad."""

import random
from collections.abc import Callable
from typing import Any

HASHES = ("fnv1a_64", "md5", "murmur", "jenkins", "crc32a", "one_at_a_time")
NAMES = ("one", "two", "three", "four", "five", "six")

File = dict[str, dict[str, Any]]


class Files:
    """The configuration of a load, and its random changes.

    ``servers``: for each pool, the addresses at which its only server can be reached; a pool named ``messages`` has a
    server of its own behind each address.
    """

    def __init__(self, choose: random.Random, redis: list[str], memcached: list[str], messages: list[str]) -> None:
        self.choose = choose
        self.addresses = {"values": redis, "cache": memcached, "messages": messages}
        self.file: File = {name: self._pool(name, name != "cache") for name in self.addresses}
        self.ports: dict[str, list[int]] = {}

    def _pool(self, name: str, redis: bool) -> dict[str, Any]:
        addresses = self.addresses[name]
        return {
            "redis": redis,
            "timeout": 20000,
            "servers": {each: (addresses[i], 1) for i, each in enumerate(NAMES[:3])},
        }

    def written(self) -> File:
        """The file as it is written."""
        pools = {}
        for name, pool in self.file.items():
            servers = [f"{address}:{weight} {server}" for server, (address, weight) in pool["servers"].items()]
            pools[name] = {**{key: value for key, value in pool.items() if key != "servers"}, "servers": servers}
        return pools

    def change(self) -> list[str]:
        """Change the file; returns what was changed."""
        return [self._change_one() for _ in range(self.choose.randint(1, 3))]

    def _change_one(self) -> str:
        name = self.choose.choice(list(self.file))
        pool = self.file[name]
        change = self.choose.choice(CHANGES)
        return f"{name}: {change(self, name, pool)}"

    def other_address(self, name: str) -> str:
        """An address of a pool's servers."""
        return self.choose.choice(self.addresses[name])

    def bad(self) -> str:
        """The text of a file that cannot be served."""
        return self.choose.choice(BAD)


def add_server(files: Files, name: str, pool: dict[str, Any]) -> str:
    absent = [each for each in NAMES if each not in pool["servers"]]
    if not absent or name == "messages":
        return move_or_weigh(files, name, pool)
    pool["servers"][files.choose.choice(absent)] = (files.other_address(name), files.choose.randint(1, 3))
    return "a server is added"


def remove_server(files: Files, name: str, pool: dict[str, Any]) -> str:
    if len(pool["servers"]) == 1 or name == "messages":
        return add_server(files, name, pool)
    del pool["servers"][files.choose.choice(list(pool["servers"]))]
    return "a server is removed"


def move_or_weigh(files: Files, name: str, pool: dict[str, Any]) -> str:
    server = files.choose.choice(list(pool["servers"]))
    address, weight = pool["servers"][server]
    if name != "messages" and files.choose.random() < 0.6:
        address = files.other_address(name)
    else:
        weight = files.choose.randint(1, 5)
    pool["servers"][server] = (address, weight)
    return f"{server} is at {address}, weight {weight}"


def shard(files: Files, name: str, pool: dict[str, Any]) -> str:
    pool["hash"] = files.choose.choice(HASHES)
    pool["distribution"] = files.choose.choice(["ketama", "modula"])
    return f"{pool['hash']}, {pool['distribution']}"


def setting(directive: str, *values: Any, redis: bool | None = None) -> Callable[..., str]:
    """A change of one directive; ``redis``: only in pools of this protocol."""

    def change(files: Files, name: str, pool: dict[str, Any]) -> str:
        if redis is not None and redis != pool["redis"]:
            return shard(files, name, pool)
        pool[directive] = files.choose.choice(values)
        return f"{directive} {pool[directive]}"

    return change


def eject(files: Files, name: str, pool: dict[str, Any]) -> str:
    if pool.pop("auto_eject_hosts", False):
        pool.pop("on_server_down", None)
    else:
        pool["auto_eject_hosts"] = True
        pool["on_server_down"] = files.choose.choice(["rehash", "error", "miss"])
    return f"auto_eject_hosts {pool.get('auto_eject_hosts', False)}"


def listen(files: Files, name: str, pool: dict[str, Any]) -> str:
    host = files.choose.choice(["127.0.0.1", "0.0.0.0"])
    pool["listen"] = f"{host}:{files.choose.choice(files.ports[name])}"
    return f"listen {pool['listen']}"


def other_pool(files: Files, name: str, pool: dict[str, Any]) -> str:
    if "another" in files.file:
        del files.file["another"]
        return "the pool another is removed"
    files.file["another"] = files._pool("values", True) | {"listen": f"127.0.0.1:{files.ports['another'][0]}"}
    files.addresses["another"] = files.addresses["values"]
    return "the pool another is added"


CHANGES: tuple[Callable[..., str], ...] = (
    *(add_server, remove_server, move_or_weigh, shard, eject, listen, other_pool),
    setting("server_connections", 1, 2, 3, 5),
    setting("max_backend_connections", 1000, 0),
    setting("timeout", 15000, 20000, 30000),
    setting("max_pipeline", 16, 256, 1024),
    setting("hash_tag", '"{}"', '"[]"'),
    setting("preconnect", True, False),
    setting("backlog", 128, 1024),
    setting("retry_reads", True, False),
    setting("tcpkeepalive", True, False),
    setting("client_connections", 0, 5000),
    setting("client_idle_timeout", 0, 600000),
    setting("partial_reads", "error", "miss"),
    setting("databases", 1, 4, 16, redis=True),
    setting("blocking_connections", 500, 1000, redis=True),
    setting("allow_commands", "flushall", "config|get", redis=True),
    setting("deny_commands", "keys", "eval", redis=True),
)

BAD = (
    "values:\n  listen: 127.0.0.1:1\n  hush: md5\n",
    "values: [flow]\n",
    "\tvalues:\n",
    "",
    "values:\n  listen: 127.0.0.1:1\n  redis: true\n  timeout: soon\n  servers:\n    - 127.0.0.1:1:1\n",
    "values:\n  listen: 203.0.113.7:9\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n",
    "a:\n  listen: 127.0.0.1:1\n  servers:\n    - 127.0.0.1:1:1 x\n    - 127.0.0.1:2:1 x\n",
)
