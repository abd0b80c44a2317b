"""Which replies the clients accept and which they report as wrong: a check that finds nothing proves nothing."""

import random

import pytest

from faults.client import Client, Keys
from faults.dialects import MEMCACHED, REDIS, Dialect
from faults.ledger import Counter, Log, Register, Shard, Violation
from faults.tally import Tally

EPOCH = 0


def kind(found: Violation | None) -> str | None:
    return found and found.kind


@pytest.fixture
def shard() -> Shard:
    return Shard(0)


@pytest.fixture
def register(shard: Shard) -> Register:
    """A register with two acknowledged writes."""
    register = Register(b"key", shard)
    for _ in range(2):
        register.acknowledge(register.send(), EPOCH)
    return register


def in_trouble(shard: Shard, *, may_lose: bool = False, may_move: bool = False) -> None:
    shard.begin_trouble(may_lose=may_lose, may_move=may_move)


def test_the_last_acknowledged_value_is_right(register: Register) -> None:
    assert register.check(register.value(2)) is None


def test_an_older_value_is_stale(register: Register) -> None:
    assert kind(register.check(register.value(1))) == "stale"


def test_nothing_is_stale(register: Register) -> None:
    assert kind(register.check(None)) == "stale"


def test_a_value_of_another_key_is_shifted(register: Register) -> None:
    assert kind(register.check(Register(b"other", register.shard).value(2))) == "shifted"


@pytest.mark.parametrize("damage", [b"<key 2>", b"<key 9>", b"", b"junk"])
def test_a_value_that_was_never_written_is_wrong(register: Register, damage: bytes) -> None:
    assert kind(register.check(damage)) in ("wrong", "shifted")


def test_one_wrong_byte_is_found(register: Register) -> None:
    value = bytearray(register.value(2))
    value[-1] ^= 1
    assert kind(register.check(bytes(value))) == "wrong"


def test_a_failed_write_may_have_happened(register: Register) -> None:
    register.fail(register.send())
    assert register.check(register.value(3)) is None
    assert register.check(register.value(2)) is None
    assert kind(register.check(register.value(1))) == "stale"


def test_a_failed_deletion_may_have_happened(register: Register) -> None:
    register.fail(register.send_deletion())
    assert register.check(None) is None
    assert register.check(register.value(2)) is None


def test_a_deleted_key_is_gone(register: Register) -> None:
    register.acknowledge(register.send_deletion(), EPOCH)
    assert register.check(None) is None
    assert kind(register.check(register.value(2))) == "stale"


def test_a_reply_that_knows_a_later_write_is_excused_only_if_that_fails(register: Register) -> None:
    third = register.send()
    assert register.check(register.value(third)) is None
    register.fail(third)
    fourth = register.send()
    assert register.check(register.value(fourth)) is None
    assert kind(register.acknowledge(fourth, EPOCH)) == "shifted"


def test_a_server_that_loses_data_excuses_misses_but_no_old_values(register: Register) -> None:
    in_trouble(register.shard, may_lose=True)
    assert register.check(None) is None
    assert kind(register.check(register.value(1))) == "stale"


def test_keys_that_move_excuse_old_values(register: Register) -> None:
    in_trouble(register.shard, may_move=True)
    assert register.check(register.value(1)) is None
    assert kind(register.check(b"<key 9>")) == "wrong"


def test_excuses_end_with_the_first_write_after_the_trouble(register: Register) -> None:
    shard = register.shard
    in_trouble(shard, may_lose=True, may_move=True)
    register.fail(register.send())
    meanwhile = shard.epoch
    register.acknowledge(register.send(), meanwhile)
    assert register.check(None) is None
    shard.end_trouble()
    assert register.check(register.value(3)) is None
    # Sent before the end of the trouble, answered after it.
    register.acknowledge(register.send(), meanwhile)
    assert register.check(None) is None
    register.acknowledge(register.send(), shard.epoch)
    assert kind(register.check(None)) == "stale"
    assert kind(register.check(register.value(3))) == "stale"


def counted(counter: Counter, number: int) -> str | None:
    return kind(counter.check(counter.send(), number, counter.shard.epoch))


def test_an_increment_executed_twice_is_found(shard: Shard) -> None:
    counter = Counter(b"key", shard)
    assert counted(counter, 1) is None
    assert counted(counter, 3) == "duplicated"


def test_an_increment_that_was_lost_is_found(shard: Shard) -> None:
    counter = Counter(b"key", shard)
    assert [counted(counter, 1), counted(counter, 2), counted(counter, 2)] == [None, None, "stale"]


def test_failed_increments_may_have_happened_once(shard: Shard) -> None:
    counter = Counter(b"key", shard)
    in_trouble(shard)
    for _ in range(2):
        counter.fail(counter.send())
    assert counted(counter, 2) is None
    assert counted(counter, 4) is None
    assert counted(counter, 6) == "duplicated"


def test_servers_may_not_count_more_than_was_sent(shard: Shard) -> None:
    counter = Counter(b"key", shard)
    counted(counter, 1)
    counter.fail(counter.send())
    assert counter.audit([1, 1, 0]) is None
    assert kind(counter.audit([1, 1, 1])) == "duplicated"


@pytest.fixture
def log(shard: Shard) -> Log:
    """A log with the acknowledged entries 2 and 3."""
    log = Log(b"key", shard)
    log.emptied(log.send(), EPOCH)
    for _ in range(2):
        log.appended(log.send(), True, EPOCH)
    return log


def holding(log: Log, *numbers: int) -> str | None:
    return kind(log.check(b"".join(log.entry(number) for number in numbers)))


def test_entries_of_a_log(log: Log) -> None:
    assert holding(log, 2, 3) is None
    assert holding(log, 2) == "stale"
    assert holding(log, 3, 2) == "stale"
    assert holding(log, 2, 3, 3) == "duplicated"
    assert holding(log, 2, 3, 9) == "wrong" or holding(log, 2, 3, 9) == "shifted"
    assert kind(log.check(None)) == "stale"
    assert kind(log.check(b"<other 1>")) == "shifted"


def test_a_failed_append_may_have_happened(log: Log) -> None:
    log.fail(log.send())
    assert holding(log, 2, 3, 4) is None
    assert holding(log, 2, 3) is None


def client_of(dialect: Dialect) -> Client:
    shard = Shard(0)
    keys = Keys([Register(b"a", shard), Register(b"b", shard)], [Counter(b"c", shard)], [Log(b"l", shard)])
    return Client(dialect, keys, Tally(), random.Random(1))


def test_a_reply_that_nobody_asked_for_is_found() -> None:
    for dialect, reply in ((REDIS, b"$-1\r\n"), (MEMCACHED, b"END\r\n")):
        client = client_of(dialect)
        assert not client.take(reply)
        assert client.tally.violations == {"duplicated": 1}


def test_replies_in_the_wrong_order_are_found() -> None:
    for dialect, reply in ((REDIS, b"*2\r\n$-1\r\n$-1\r\n"), (MEMCACHED, b"TOUCHED\r\n")):
        client = client_of(dialect)
        client.pipeline()
        while client.take(reply):
            assert client.pending, "the replies were taken for right"
        assert client.tally.violations.total() > 0


def test_garbage_is_found() -> None:
    client = client_of(REDIS)
    client.pipeline()
    assert not client.take(b"hello\r\n")
    assert client.tally.violations == {"wrong": 1}
