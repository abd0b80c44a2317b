"""The document's bytes are nutcracker's, and the sums over workers are right."""

import json
import re

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS
from twemproxy.stats.layout import CounterLayout
from twemproxy.stats.snapshot import PoolNames, Snapshot, render, take

NAMES = [PoolNames("be", ("127.0.0.1:29379",)), PoolNames("alpha", ("first", "127.0.0.1:29380"))]
LAYOUT = CounterLayout([len(pool.servers) for pool in NAMES])

# Taken from nutcracker 0.5.0 in front of two pools, one after the other: nothing had happened to it yet. The figures of
# memory and "requests_resent" are ours.
NUTCRACKER = (
    '{"service":"nutcracker", "source":"vm", "version":"0.5.0", "uptime":1, "timestamp":1795366841, '
    '"total_connections":2, "curr_connections":2, "memory_held":0, "memory_waiting":0, "memory_waits":0, '
    '"be": {"client_eof":0, "client_err":0, "client_connections":0, "server_ejects":0, "forward_error":0, '
    '"fragments":0, "127.0.0.1:29379": {"server_eof":0, "server_err":0, "server_timedout":0, '
    '"server_connections":0, "server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, '
    '"response_bytes":0, "in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0, "requests_resent":0}},'
    '"alpha": {"client_eof":0, "client_err":0, "client_connections":0, "server_ejects":0, "forward_error":0, '
    '"fragments":0, "first": {"server_eof":0, "server_err":0, "server_timedout":0, "server_connections":0, '
    '"server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, "response_bytes":0, '
    '"in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0, "requests_resent":0},'
    '"127.0.0.1:29380": {"server_eof":0, "server_err":0, "server_timedout":0, "server_connections":0, '
    '"server_ejected_at":0, "requests":0, "request_bytes":0, "responses":0, "response_bytes":0, '
    '"in_queue":0, "in_queue_bytes":0, "out_queue":0, "out_queue_bytes":0, "requests_resent":0}}}\n'
)


def table(**values: int) -> list[int]:
    """A worker's table in which the named counters of every scope have these values and all others are 0."""
    words = [0] * LAYOUT.length
    scopes = [(0, PROCESS_METRICS), *((position, POOL_METRICS) for position in LAYOUT.pools)]
    scopes += [(position, SERVER_METRICS) for positions in LAYOUT.servers for position in positions]
    for position, metrics in scopes:
        for offset, metric in enumerate(metrics, position):
            words[offset] = values.get(metric.name, 0)
    return words


def document(snapshot: Snapshot) -> bytes:
    return render(snapshot, source="vm", version="0.5.0", uptime=1, timestamp=1795366841)


def test_the_document_is_nutcrackers_byte_for_byte_with_our_figures() -> None:
    words = table(total_connections=2, curr_connections=2)
    assert document(take([words], LAYOUT, NAMES)) == NUTCRACKER.encode()


def test_every_word_of_the_table_is_shown_in_its_place() -> None:
    words = list(range(1000, 1000 + LAYOUT.length))
    shown = [int(number) for number in re.findall(rb":(1\d\d\d)\b", document(take([words], LAYOUT, NAMES)))]
    assert shown == words


def test_counters_and_gauges_of_all_workers_are_summed() -> None:
    one = table(total_connections=3, client_eof=10, requests=100, out_queue=4)
    two = table(total_connections=5, client_eof=1, requests=1, out_queue=2)
    snapshot = take([one, two], LAYOUT, NAMES)
    assert snapshot.values["total_connections"] == 8
    assert [pool.values["client_eof"] for pool in snapshot.pools] == [11, 11]
    assert [server.values["requests"] for pool in snapshot.pools for server in pool.servers] == [101] * 3
    assert snapshot.pools[1].servers[0].values["out_queue"] == 6


def test_the_latest_ejection_counts() -> None:
    snapshot = take([table(server_ejected_at=5), table(server_ejected_at=9)], LAYOUT, NAMES)
    assert snapshot.pools[0].servers[0].values["server_ejected_at"] == 9


def test_no_gauge_is_negative() -> None:
    below_zero = table(client_connections=2**64 - 1, curr_connections=2**64 - 3)
    snapshot = take([below_zero, table(client_connections=7)], LAYOUT, NAMES)
    assert snapshot.values["curr_connections"] == 0
    assert snapshot.pools[0].values["client_connections"] == 7


def test_without_workers_everything_is_zero() -> None:
    snapshot = take([], LAYOUT, NAMES)
    assert set(snapshot.pools[1].servers[1].values.values()) == {0}
    assert len(snapshot.pools[1].servers[1].values) == len(SERVER_METRICS)


def test_names_are_escaped_and_nothing_else_is() -> None:
    names = [PoolNames('a"b\\', ("tab\there", "dé/日"))]
    layout = CounterLayout([2])
    made = document(take([[0] * layout.length], layout, names))
    assert list(json.loads(made)['a"b\\'])[-2:] == ["tab\there", "dé/日"]
    assert '"dé/日": {'.encode() in made


def test_without_pools_the_document_is_still_json() -> None:
    layout = CounterLayout([])
    assert json.loads(document(take([[1, 2, 3, 4, 5]], layout, [])))["curr_connections"] == 2


def test_gauges_are_all_positions_of_gauges() -> None:
    ones = table(**{m.name: 1 for m in (*PROCESS_METRICS, *POOL_METRICS, *SERVER_METRICS) if m.kind == "gauge"})
    assert sorted(LAYOUT.gauges()) == [position for position, value in enumerate(ones) if value]
