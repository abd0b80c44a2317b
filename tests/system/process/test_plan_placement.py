"""What ``nutcracker plan`` says about keys is what happens to them, counted through a proxy over a reload."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.proxy import Proxy, run, to_yaml
from harness.resp import command
from harness.servers import RedisServer

KEYS = [f"user:{number}" for number in range(100_000)]
PIECE = 2000
HASHES = ("fnv1a_64", "md5", "murmur", "jenkins", "crc32a", "one_at_a_time", "fnv1_32")


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with ExitStack() as made:
        yield [made.enter_context(RedisServer()) for _ in range(5)]


def random_pool(choose: random.Random, servers: list[RedisServer]) -> dict[str, object]:
    """A pool of some of the servers, with random weights."""
    some = choose.sample(range(len(servers)), choose.randint(2, len(servers)))
    return {
        "redis": True,
        "hash": choose.choice(HASHES),
        "distribution": choose.choice(["ketama", "modula"]),
        "servers": [f"{servers[i].address}:{choose.randint(1, 4)} s{i}" for i in sorted(some)],
    }


def changed(choose: random.Random, pool: dict[str, object], servers: list[RedisServer]) -> dict[str, object]:
    """The pool with other servers and weights, and with another distribution in a third of the cases."""
    other = {**random_pool(choose, servers), "hash": pool["hash"]}
    if choose.random() < 0.7:
        other["distribution"] = pool["distribution"]
    return other


def places(proxy: Proxy, servers: list[RedisServer]) -> dict[str, str]:
    """Write all keys through the proxy; returns the name of the server that has each one."""
    for server in servers:
        server.ask("FLUSHALL")
    client = proxy.client()
    for first in range(0, len(KEYS), PIECE):
        words = [word for key in KEYS[first : first + PIECE] for word in (key, "")]
        client.send(command("MSET", *words))
        client.expect(b"+OK\r\n")
    found = {}
    for number, server in enumerate(servers):
        for line in server.ask("KEYS", "*").split(b"\r\n")[2::2]:
            found[line.decode()] = f"s{number}"
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_share_of_a_plan_is_what_moves(servers: list[RedisServer], tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    old = random_pool(choose, servers)
    new = changed(choose, old, servers)
    with Proxy(old) as proxy:
        before_file, after_file, keys_file = (tmp_path / name for name in ("old.yml", "new.yml", "keys"))
        before_file.write_text(proxy.configuration.read_text())
        after_file.write_text(to_yaml({"alpha": {"listen": proxy.listens["alpha"], **new}}))
        keys_file.write_text("\n".join(KEYS))
        before = places(proxy, servers)
        assert not proxy.reload(new)["last_reload_failed"]
        after = places(proxy, servers)
    assert sorted(before) == sorted(after) == sorted(KEYS)
    moves = Counter((before[key], after[key]) for key in KEYS if before[key] != after[key])

    done = run("plan", str(after_file), "--from", str(before_file), "--keys", str(keys_file), "--json")
    [pool] = json.loads(done.stdout)["pools"]
    assert pool["keys"]["total"] == len(KEYS)
    assert {(move["from"], move["to"]): move["keys"] for move in pool["keys"]["moves"]} == moves
    for move in pool["moves"]:
        share = move["share"]
        deviation = math.sqrt(share * (1 - share) * len(KEYS))
        assert abs(moves[move["from"], move["to"]] - share * len(KEYS)) <= 5 * deviation + 1
