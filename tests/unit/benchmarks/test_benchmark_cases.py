"""The table of cases contains everything that is promised, each case once."""

from itertools import groupby

import pytest
from benchmarks.cases import CASES, KEY_SPACES, NOT_BEHIND, Case, Kind, Target, key_name, select
from benchmarks.dialects import DIALECTS, SAME_KEY_TWICE, Dialect, dialect_of, exchange_of
from benchmarks.dialects import REDIS as REDIS_DIALECT

REDIS = [case for case in CASES if case.topology.protocol == "redis"]
MEMCACHED = [case for case in CASES if case.topology.protocol == "memcached"]

PROMISED = {
    "3 B, pipeline 1, 50 clients": Target(0.85, 1.0),
    "3 B, pipeline 1, 500 clients": Target(0.75, 1.0),
    "3 B, pipeline 16, 50 clients": Target(0.28, 1.5),
    "3 B, pipeline 100, 50 clients": Target(0.10, 2.5),
    "3 B, pipeline 100, 500 clients": Target(0.10, 2.5),
    "16 KB, pipeline 16, 50 clients": Target(0.60, 1.0),
}


def test_names_are_unique_and_the_table_is_complete() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert len(REDIS) == 2 * 3 * 3 * 3 + 3 + 1 + 3 + 2 * 3 + 2 * 2 * 6
    assert len(MEMCACHED) == 4 * 3 * 2 + 2
    assert all(case.name.startswith("memcached ") for case in MEMCACHED)


@pytest.mark.parametrize(("shape", "target"), PROMISED.items())
def test_a_promise_holds_for_get_and_set(shape: str, target: Target) -> None:
    found = {case.name: case.target for case in REDIS if case.name.endswith(shape)}
    assert {name: found[name] for name in found if not name.startswith("EVALSHA ")} == {
        f"GET {shape}": target,
        f"SET {shape}": target,
    }


def test_only_promised_redis_cases_have_a_target_of_their_own() -> None:
    own = {case.name for case in REDIS if case.target != NOT_BEHIND}
    singles = {f"{operation} {shape}" for operation in ("GET", "SET") for shape in PROMISED}
    reconnecting = "GET 3 B, pipeline 1, 50 clients, a connection per request"
    assert own == singles | {"MGET 100 keys, pipeline 1, 50 clients", reconnecting}


@pytest.mark.parametrize(("pipeline", "cpu"), [(1, 0.85), (16, 0.30), (100, 0.15)])
def test_the_promise_of_a_memcached_case_depends_on_its_pipeline(pipeline: int, cpu: float) -> None:
    cases = [case for case in MEMCACHED if case.pipeline == pipeline]
    assert {case.target for case in cases} == {Target(cpu, throughput=1.0)}
    assert {(case.operation, case.keys) for case in cases} == {("get", 1), ("set", 1), ("get", 10), ("get", 100)}


def test_the_default_run_has_the_promised_cases_and_is_a_part_of_the_full_one() -> None:
    chosen = select(full=False, substrings=[])
    assert {case for case in REDIS if case.target != NOT_BEHIND} <= set(chosen)
    assert {case for case in MEMCACHED if case.clients == 50} <= set(chosen)
    assert len(chosen) < len(select(full=True, substrings=[])) == len(CASES)


def test_cases_on_the_same_servers_stand_together() -> None:
    assert len(list(groupby(CASES, key=lambda case: case.topology))) == len({case.topology for case in CASES})


def test_substrings_choose_from_the_whole_table_in_its_order() -> None:
    chosen = select(full=False, substrings=["mset 10 ", "get 1 kb, pipeline 16, 1 "])
    assert [case.name for case in chosen] == [
        "GET 1 KB, pipeline 16, 1 client",
        "MSET 10 keys, pipeline 1, 50 clients",
    ]
    assert select(full=True, substrings=["no such case"]) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_has_the_keys_and_values_that_its_reply_belongs_to(case: Case) -> None:
    last = KEY_SPACES[case.value_size] - 1
    keys = [key_name(case.value_size, last - number, case.kind) for number in range(case.keys)]
    request, reply = dialect_of(case).request(case, keys), dialect_of(case).reply(case, keys)
    assert case.operation.encode() in request.split()
    assert all(request.count(key) == (2 if case.operation in SAME_KEY_TWICE else 1) for key in keys)
    assert [*map(len, exchange_of(case))] == [len(request), len(reply)]
    if case.operation == "RENAME":
        return
    with_values, without = (request, reply) if case.stores else (reply, request)
    assert with_values.count(b"\r\n" + case.value + b"\r\n") == case.keys
    assert b"xx" not in without


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_server_is_filled_with_what_the_cases_ask_for(dialect: Dialect) -> None:
    request, _ = dialect.storing([b"one", b"two"], b"xxx")
    assert request.count(b"\r\nxxx\r\n") == request.count(b"one") + request.count(b"two") == 2


@pytest.mark.parametrize(("kind", "command"), [("set", b"SADD"), ("list", b"RPUSH")])
def test_sets_and_lists_have_one_element(kind: Kind, command: bytes) -> None:
    request, reply = REDIS_DIALECT.storing([b"one", b"two"], b"xxx", kind)
    assert request.count(command) == request.count(b"\r\nxxx\r\n") == 2
    assert reply == b":1\r\n:1\r\n"
