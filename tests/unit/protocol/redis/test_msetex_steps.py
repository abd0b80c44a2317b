"""MSETEX with many keys, which is split in several steps."""

import pytest
from redis_peers import Pool

from harness.resp import command
from twemproxy.protocol.plan import Ask, Steps
from twemproxy.protocol.redis.msetex import plan
from unit.fakes import fake_servers


def test_keys_that_move_meanwhile_go_to_their_new_servers() -> None:
    keys = [f"{number % 7}:{number}" for number in range(200)]
    pool = Pool(servers=3)
    planned = plan(command("MSETEX", len(keys), *(word for key in keys for word in (key, "v"))), pool, lambda _: b"")
    assert isinstance(planned, Steps)
    assert next(planned.work) == b""
    pool.servers = fake_servers(5)[3:]
    with pytest.raises(StopIteration) as end:
        while True:
            next(planned.work)
    asked = end.value.value
    assert isinstance(asked, Ask)
    assert {server for server, _ in asked.requests} == set(pool.servers)
    for server, request in asked.requests:
        sent = [key for key in keys if f"\r\n{key}\r\n".encode() in request]
        assert sent == [key for key in keys if pool.server_of(key.encode()) == server]
