"""Quiet meta commands on three servers: which replies are suppressed, and ``mn`` after them as a barrier."""

import pytest

from harness.connection import Connection
from harness.memcache import EN, HD, MN, NF, NS, client_error, meta_set, meta_value, server_error
from harness.proxy import keys_of
from harness.servers import MemcachedServer
from harness.stage import Stage

NAMES = [f"k{number}" for number in range(200)]
BARRIER = b"mn\r\n"


def fill(client: Connection, names: list[str]) -> None:
    """Store each name under itself as the key."""
    client.send(b"".join(meta_set(name, name) for name in names))
    client.expect(HD * len(names))


def test_quiet_misses_are_muted_and_hits_come_in_order(memcached_client: Connection) -> None:
    fill(memcached_client, NAMES[::3])
    memcached_client.send(b"".join(f"mg {name} v q k O{name}\r\n".encode() for name in NAMES) + BARRIER)
    memcached_client.expect(b"".join(meta_value(name, f"k{name}", f"O{name}") for name in NAMES[::3]) + MN)


def test_quiet_hits_without_a_value_are_not_muted(memcached_client: Connection) -> None:
    fill(memcached_client, NAMES[::2])
    memcached_client.send(b"".join(f"mg {name} q s\r\n".encode() for name in NAMES) + BARRIER)
    memcached_client.expect(b"".join(b"HD s%d\r\n" % len(name) for name in NAMES[::2]) + MN)


def test_quiet_stores_are_muted_and_failures_are_not(
    memcached_client: Connection, memcached_servers: list[MemcachedServer]
) -> None:
    fill(memcached_client, NAMES[::4])
    memcached_client.send(b"".join(meta_set(name, "new", "ME", "q", f"O{name}") for name in NAMES) + BARRIER)
    memcached_client.expect(b"".join(f"NS O{name}\r\n".encode() for name in NAMES[::4]) + MN)
    assert sum(len(server.present(NAMES)) for server in memcached_servers) == len(NAMES)


def test_quiet_deletes_are_muted_and_misses_are_not(
    memcached_client: Connection, memcached_servers: list[MemcachedServer]
) -> None:
    fill(memcached_client, NAMES[::2])
    memcached_client.send(b"".join(f"md {name} q k\r\n".encode() for name in NAMES) + BARRIER)
    memcached_client.expect(b"".join(f"NF k{name}\r\n".encode() for name in NAMES[1::2]) + MN)
    assert [server.present(NAMES) for server in memcached_servers] == [[], [], []]


@pytest.mark.parametrize("flags", ["q", "v q", "q D5"])
def test_quiet_arithmetic_is_muted_and_misses_are_not(memcached_client: Connection, flags: str) -> None:
    memcached_client.send(b"".join(meta_set(name, "10", "q") for name in NAMES[::2]) + BARRIER)
    memcached_client.expect(MN)
    memcached_client.send(b"".join(f"ma {name} {flags}\r\n".encode() for name in NAMES) + BARRIER)
    memcached_client.expect(NF * len(NAMES[1::2]) + MN)
    memcached_client.send(b"".join(f"mg {name} v q\r\n".encode() for name in NAMES) + BARRIER)
    memcached_client.expect(meta_value("15" if "D5" in flags else "11") * len(NAMES[::2]) + MN)


def test_errors_are_never_muted(memcached_client: Connection) -> None:
    fill(memcached_client, ["text"])
    memcached_client.send(
        b"ma text q\r\n"
        + b"mg text q q\r\n"
        + b"md text q Z\r\n"
        + meta_set("text", "x", "q", "Z")
        + meta_set("large", b"x" * 1_048_577, "q")
        + b"mg text v q\r\n"
        + BARRIER
    )
    memcached_client.expect(
        client_error("cannot increment or decrement non-numeric value")
        + client_error("duplicate flag")
        + client_error("invalid or duplicate flag")
        + client_error("invalid flag")
        + server_error("object too large for cache")
        + meta_value("text")
        + MN
    )


def test_failing_server_is_not_muted(memcached_stage: Stage) -> None:
    [on_live], [on_dead] = keys_of(0, 2), keys_of(1, 2)
    memcached_stage.second.refuse()
    memcached_stage.client.send(f"mg {on_live} v q\r\nmg {on_dead} v q\r\nmd {on_dead} q\r\n".encode() + BARRIER)
    memcached_stage.first.answer(EN)
    memcached_stage.client.expect(server_error("Connection refused") * 2 + MN)


def test_quiet_and_other_requests_interleave(memcached_client: Connection) -> None:
    requests, expected = [], []
    for number in range(300):
        key, absent = f"k{number}", f"absent{number}"
        requests += [
            meta_set(key, "v", "q"),
            f"mg {absent} v q\r\n".encode(),
            f"mg {absent} v\r\n".encode(),
            f"mg {key} v q\r\n".encode(),
            f"get {absent} {key}\r\n".encode(),
            f"md {key} q\r\n".encode(),
            f"mg {key} v\r\n".encode(),
            BARRIER,
        ]
        expected += [EN, meta_value("v"), f"VALUE {key} 0 1\r\nv\r\nEND\r\n".encode(), EN, MN]
    memcached_client.send(b"".join(requests))
    memcached_client.expect(b"".join(expected))


@pytest.mark.parametrize(
    ("request_bytes", "reply", "passed_on"),
    [
        (b"mg k v q\r\n", EN, b""),
        (b"mg k v q\r\n", meta_value("x"), meta_value("x")),
        (b"mg k q\r\n", HD, HD),
        (b"ms k 1 q\r\nx\r\n", HD, b""),
        (b"ms k 1 q c\r\nx\r\n", b"HD c7\r\n", b""),
        (b"ms k 1 q\r\nx\r\n", NS, NS),
        (b"ms k 1 q\r\nx\r\n", b"EX\r\n", b"EX\r\n"),
        (b"ms k 1 q\r\nx\r\n", NF, NF),
        (b"md k q\r\n", HD, b""),
        (b"md k q\r\n", NF, NF),
        (b"md k q\r\n", b"EX\r\n", b"EX\r\n"),
        (b"ma k q\r\n", HD, b""),
        (b"ma k q v\r\n", meta_value("12"), b""),
        (b"ma k q\r\n", NF, NF),
        (b"ma k q\r\n", server_error("out of memory"), server_error("out of memory")),
    ],
)
def test_reply_of_a_server_to_a_quiet_request(
    memcached_stage: Stage, request_bytes: bytes, reply: bytes, passed_on: bytes
) -> None:
    key = keys_of(0, 2)[0].encode()
    memcached_stage.client.send(request_bytes.replace(b" k ", b" %s " % key) + BARRIER)
    memcached_stage.first.answer(reply)
    memcached_stage.client.expect(passed_on + MN)


def test_barrier_is_answered_by_the_proxy_and_waits_for_every_server(memcached_stage: Stage) -> None:
    [first_key], [second_key] = keys_of(0, 2), keys_of(1, 2)
    client = memcached_stage.client
    client.send(f"mg {first_key} v q\r\nmg {second_key} v q\r\n".encode() + BARRIER)
    behind_first, behind_second = memcached_stage.first.accept(), memcached_stage.second.accept()
    assert behind_first.text_request() == f"mg {first_key} v\r\n".encode()
    assert behind_second.text_request() == f"mg {second_key} v\r\n".encode()
    behind_second.send(EN)
    behind_second.wait_consumed()
    assert client.collect() == b""
    behind_first.send(EN)
    client.expect(MN)
    assert behind_first.collect() == behind_second.collect() == b""
