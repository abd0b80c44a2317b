"""The contender that only receives and sends: a reply for each request, however the requests arrive."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import wire
from benchmarks.cases import CASES, Case, key_name
from benchmarks.contenders import FLOOR, Contender, floor, serves
from benchmarks.dialects import dialect_of, exchange_of
from benchmarks.machine import Programs

from twemproxy.demo.processes import StartError

LARGE = next(case for case in CASES if case.operation == "GET" and case.value_size == 16384)
SMALL = next(case for case in CASES if case.unix_socket)


@pytest.fixture(scope="module")
def programs() -> Programs:
    compiler = shutil.which("cc")
    assert compiler
    return Programs([], {"cc": compiler})


@pytest.fixture
def of_case(programs: Programs, tmp_path: Path, case: Case) -> Iterator[Contender]:
    with floor(programs, case, tmp_path) as contender:
        yield contender


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_floor_takes_part_where_all_replies_are_the_same(case: Case) -> None:
    keys = [[key_name(case.value_size, number, case.kind)] * case.keys for number in (1, 2)]
    replies = {dialect_of(case).reply(case, each) for each in keys}
    assert serves(FLOOR, case) == (len(replies) == 1)


@pytest.mark.parametrize("case", [SMALL, LARGE], ids=["small", "large"])
def test_each_request_gets_a_reply(of_case: Contender, case: Case) -> None:
    request, reply = exchange_of(case)
    for address in (of_case.port, of_case.path):
        with wire.connect(address) as client:
            for count in (1, 3, 100):
                wire.ask(client, request * count, reply * count)
            client.sendall(request[:5])
            client.sendall(request[5:] + request[:7])
            assert wire.receive(client, len(reply)) == reply
            wire.ask(client, request[7:], reply)


@pytest.mark.parametrize("case", [LARGE], ids=["large"])
def test_a_client_that_reads_late_gets_all(of_case: Contender, case: Case) -> None:
    request, reply = exchange_of(case)
    with wire.connect(of_case.port) as late, wire.connect(of_case.port) as other:
        late.sendall(request * 1000)
        wire.ask(other, request, reply)
        assert wire.receive(late, 1000 * len(reply)) == 1000 * reply


@pytest.mark.parametrize("case", [SMALL], ids=["small"])
def test_the_configuration_that_redis_benchmark_asks_for_is_an_error(of_case: Contender, case: Case) -> None:
    with wire.connect(of_case.port) as client:
        wire.ask(client, wire.encode([b"CONFIG", b"GET", b"save"]) * 2, b"-ERR\r\n" * 2)
        wire.ask(client, *exchange_of(case))


def test_a_compiler_that_fails_is_an_error_of_the_case(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be compiled"), floor(Programs([], {"cc": "false"}), SMALL, tmp_path):
        raise AssertionError("the floor runs")
