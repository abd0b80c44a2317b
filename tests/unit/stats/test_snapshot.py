"""The document has the same bytes as nutcracker's, and the sums over workers are correct."""

import json
import re
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import pytest

from twemproxy.stats.catalogue import (
    POOL_FACTS,
    POOL_HISTOGRAMS,
    POOL_METRICS,
    PROCESS_FACTS,
    PROCESS_METRICS,
    SERVER_FACTS,
    SERVER_FIGURES,
    SERVER_HISTOGRAMS,
    SERVER_METRICS,
)
from twemproxy.stats.document import ConfigFacts, render
from twemproxy.stats.histograms import WORDS, bucket_of
from twemproxy.stats.slots import OF_SERVER, VERDICTS, CounterSlots, SlotsFull
from twemproxy.stats.snapshot import SERVER, PoolNames, find, take, take_latency, take_rows


class Words(list[int]):
    """A table that is not in the memory of a worker."""

    compiled: Final = None

    def words(self, position: int, count: int) -> bytes:
        return array("Q", self[position : position + count]).tobytes()


NAMES = [PoolNames("be", ("127.0.0.1:29379",)), PoolNames("alpha", ("first", "127.0.0.1:29380"))]
SLOTS = CounterSlots(NAMES)
NO_VERDICTS = Words([0] * SLOTS.used)
"""The table that workers share: no server has been ejected."""

# Taken from nutcracker 0.5.0 with two pools, before any traffic.
NUTCRACKER = (
    '{"service":"nutcracker", "source":"vm", "version":"0.5.0", "uptime":1, "timestamp":1795366841, '
    '"total_connections":2, "curr_connections":2, '
    '"be": {"client_eof":0, "client_err":0, "client_connections":0, "server_ejects":0, "forward_error":0, '
    '"fragments":0, "127.0.0.1:29379": {"server_eof":0, "server_err":0, "server_timedout":0, '
    '"server_connections":0, "server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, '
    '"response_bytes":0, "in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0}},'
    '"alpha": {"client_eof":0, "client_err":0, "client_connections":0, "server_ejects":0, "forward_error":0, '
    '"fragments":0, "first": {"server_eof":0, "server_err":0, "server_timedout":0, "server_connections":0, '
    '"server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, "response_bytes":0, '
    '"in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0},'
    '"127.0.0.1:29380": {"server_eof":0, "server_err":0, "server_timedout":0, "server_connections":0, '
    '"server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, "response_bytes":0, '
    '"in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0}}}\n'
)


def table(**values: int) -> Words:
    """A worker's table in which the named counters have these values in every scope; all others are 0."""
    words = Words([0] * SLOTS.used)
    scopes = [(0, PROCESS_METRICS), *((SLOTS.of_pool(pool.pool), POOL_METRICS) for pool in NAMES)]
    scopes += [(SLOTS.of_server(pool.pool, server), SERVER_METRICS) for pool in NAMES for server in pool.servers]
    for position, metrics in scopes:
        for offset, metric in enumerate(metrics, position):
            words[offset] = values.get(metric.name, 0)
    return words


def document(
    *tables: Words,
    full: bool = False,
    slots: CounterSlots = SLOTS,
    names: Sequence[PoolNames] = NAMES,
    shared: Words = NO_VERDICTS,
) -> bytes:
    """The document of the statistics port."""
    facts = ConfigFacts(
        dict.fromkeys((fact.name for fact in PROCESS_FACTS), 0),
        {pool.pool: dict.fromkeys((fact.name for fact in POOL_FACTS), 0) for pool in names},
    )
    pieces = render(
        *(lambda: tables, shared, find(slots, names)),
        source="vm",
        version="0.5.0",
        uptime=1,
        timestamp=1795366841,
        facts=facts if full else None,
    )
    return b"".join(pieces)


def test_the_document_is_nutcrackers_byte_for_byte() -> None:
    words = table(total_connections=2, curr_connections=2)
    assert document(words) == NUTCRACKER.encode()


def test_added_metrics_are_the_last_members_of_their_object() -> None:
    made = document(table(total_connections=2, curr_connections=2), full=True).decode()
    for metrics in (PROCESS_METRICS, POOL_METRICS, SERVER_METRICS):
        for metric in metrics:
            if metric.added:
                assert f', "{metric.name}":0' in made
                made = re.sub(rf', "{metric.name}":0(?=[,}}])', "", made)
    for fact in (*PROCESS_FACTS, *POOL_FACTS, *SERVER_FACTS):
        assert f', "{fact.name}":0' in made
        made = re.sub(rf', "{fact.name}":0(?=[,}}])', "", made)
    assert made == NUTCRACKER


def objects(document: dict[str, object]) -> dict[str, dict[str, object]]:
    """Members that are objects: agents of Datadog and Telegraf take them for pools, and within pools for servers."""
    return {name: value for name, value in document.items() if isinstance(value, dict)}


@pytest.mark.parametrize("full", [False, True])
def test_every_object_is_a_pool_or_a_server(full: bool) -> None:
    made = json.loads(document(table(), full=full))
    assert {pool: list(objects(members)) for pool, members in objects(made).items()} == {
        pool.pool: list(pool.servers) for pool in NAMES
    }
    assert not any(objects(server) for pool in objects(made).values() for server in objects(pool).values())


def test_every_word_of_the_table_is_shown_in_its_place() -> None:
    words = Words([0] * SLOTS.used)
    metrics = [position for position, _ in SLOTS.kinds()]
    for number, position in enumerate(sorted(metrics), 1000):
        words[position] = number
    made = document(words, full=True)
    shown = sorted(int(number) for number in re.findall(rb":(1\d\d\d)\b", made))
    assert shown == list(range(1000, 1000 + len(metrics)))
    first = json.loads(made)["alpha"]["first"]
    assert list(first) == [each.name for each in SERVER_FIGURES]
    assert (
        list(first.values())[: len(SERVER_METRICS)] == words[SLOTS.of_server("alpha", "first") :][: len(SERVER_METRICS)]
    )


def test_counters_and_gauges_of_all_workers_are_summed() -> None:
    one = table(total_connections=3, client_eof=10, requests=100, out_queue=4)
    two = table(total_connections=5, client_eof=1, requests=1, out_queue=2)
    snapshot = take([one, two], SLOTS, NAMES, NO_VERDICTS)
    assert snapshot.values["total_connections"] == 8
    assert [pool.values["client_eof"] for pool in snapshot.pools] == [11, 11]
    assert [server.values["requests"] for pool in snapshot.pools for server in pool.servers] == [101] * 3
    assert snapshot.pools[1].servers[0].values["out_queue"] == 6


def test_histograms_of_all_workers_are_summed() -> None:
    places = dict(OF_SERVER.places(SLOTS.of_server("alpha", "first")))
    one, two = table(responses_read=3), table(responses_read=2)
    for words, values in ((one, (100, 100, 7)), (two, (100, 5000))):
        for value in values:
            words[places["read", "server"] + bucket_of(value)] += 1
            words[places["read", "server"] + WORDS - 1] += value
    slot = SLOTS.of_server("alpha", "first")
    latency = take_latency([one, two], slot, OF_SERVER, take_rows([one, two], (slot,), SERVER))
    assert set(latency) == {("read", "waiting"), ("read", "server")}
    assert latency["read", "server"].number == 5
    assert latency["read", "server"].total == 5307
    assert latency["read", "server"].counts[bucket_of(100)] == 3
    assert latency["read", "waiting"].number == 0
    shown = json.loads(document(one, two, full=True))["alpha"]["first"]
    assert (shown["latency_server_p50_us"] // 16, shown["latency_server_p99_us"] // 1024) == (6, 4)


def test_the_latest_ejection_counts() -> None:
    snapshot = take([table(server_ejected_at=5), table(server_ejected_at=9)], SLOTS, NAMES, NO_VERDICTS)
    assert snapshot.pools[0].servers[0].values["server_ejected_at"] == 9


def test_a_server_is_ejected_while_the_number_of_verdicts_is_odd() -> None:
    shared = Words(NO_VERDICTS)
    for verdicts, ejected in ((1, 1), (2, 0), (3, 1)):
        shared[SLOTS.of_server("alpha", "first") + VERDICTS] = verdicts
        made = json.loads(document(table(), table(), full=True, shared=shared))
        assert made["alpha"]["first"]["ejected"] == ejected
        assert made["alpha"]["127.0.0.1:29380"]["ejected"] == 0


def test_no_gauge_is_negative() -> None:
    below_zero = table(client_connections=2**64 - 1, curr_connections=2**64 - 3)
    snapshot = take([below_zero, table(client_connections=7)], SLOTS, NAMES, NO_VERDICTS)
    assert snapshot.values["curr_connections"] == 0
    assert snapshot.pools[0].values["client_connections"] == 7


def test_without_workers_everything_is_zero() -> None:
    snapshot = take([], SLOTS, NAMES, NO_VERDICTS)
    assert set(snapshot.pools[1].servers[1].values.values()) == {0}
    assert len(snapshot.pools[1].servers[1].values) == len(SERVER_METRICS)


def test_names_are_escaped_and_nothing_else_is() -> None:
    names = [PoolNames('a"b\\', ("tab\there", "dé/日"))]
    slots = CounterSlots(names)
    zeros = Words([0] * slots.used)
    made = document(zeros, slots=slots, names=names, shared=zeros)
    assert list(json.loads(made)['a"b\\'])[-2:] == ["tab\there", "dé/日"]
    assert '"dé/日": {'.encode() in made


def test_without_pools_the_document_is_still_json() -> None:
    words = Words(range(1, 100))
    slots = CounterSlots([])
    made = [json.loads(document(words, full=full, slots=slots, names=[], shared=Words())) for full in (False, True)]
    assert [shown["curr_connections"] for shown in made] == [2, 2]


def test_gauges_are_all_positions_of_gauges() -> None:
    ones = table(**{m.name: 1 for m in (*PROCESS_METRICS, *POOL_METRICS, *SERVER_METRICS) if m.kind == "gauge"})
    gauges = [position for position, kind in SLOTS.kinds() if kind == "gauge"]
    assert sorted(gauges) == [position for position, value in enumerate(ones) if value]


def test_a_slot_belongs_to_its_name_for_good() -> None:
    slots = CounterSlots([("alpha", ["one", "two"])])
    one, two = slots.of_server("alpha", "one"), slots.of_server("alpha", "two")
    later = slots.of_server("alpha", "three"), slots.of_pool("beta"), slots.of_server("beta", "one")
    taken = (0, slots.of_pool("alpha"), one, two, *later, slots.used)
    sizes = [
        len(PROCESS_METRICS),
        len(POOL_METRICS) + len(POOL_HISTOGRAMS) * WORDS,
        *[len(SERVER_METRICS) + len(SERVER_HISTOGRAMS) * WORDS] * 3,
        len(POOL_METRICS) + len(POOL_HISTOGRAMS) * WORDS,
        len(SERVER_METRICS) + len(SERVER_HISTOGRAMS) * WORDS,
    ]
    assert [end - start for start, end in pairwise(taken)] == sizes
    assert (one, two) == (slots.of_server("alpha", "one"), slots.of_server("alpha", "two"))


def test_there_is_an_error_when_all_slots_are_taken() -> None:
    slots = CounterSlots([])
    with pytest.raises(SlotsFull, match=r"'p/s[0-9]+'.*restart"):
        for number in range(slots.capacity):
            slots.of_server("p", f"s{number}")
    assert slots.used <= slots.capacity
    assert slots.of_server("p", "s0") < slots.used


def test_a_pool_with_the_name_of_a_removed_one_keeps_its_own_counters() -> None:
    slots = CounterSlots([("alpha", ["one"])])
    alpha, one = slots.of_pool("alpha"), slots.of_server("alpha", "one")
    removed = slots.of_pool("beta")
    slots.of_server("beta", "two")
    slots.rename({"beta": "alpha"})
    assert (slots.of_pool("beta"), slots.of_server("beta", "one")) == (alpha, one)
    assert slots.of_server("beta", "two") > removed
    assert slots.of_pool("alpha") != alpha


def test_another_catalogue_has_room_for_all_slots_that_there_were() -> None:
    before = CounterSlots([("p", [f"s{number}" for number in range(10_000)])])
    # The former version lacks a counter that this one has.
    layout = msgspec.structs.replace(before.layout(), server=before.layout().server[:-1])
    slots = CounterSlots([("alpha", ["one"])])
    places = slots.take_over(layout)
    assert places is not None
    assert slots.used <= slots.capacity
    assert places.counters[slots.of_server("p", "s0")] == before.of_server("p", "s0")
    slots.of_pool("another")
