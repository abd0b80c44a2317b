"""How descriptors are divided: at least as many clients as nutcracker, less one reserve for the whole process."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.proxy import environment
from twemproxy.config.pools import Address, Config, ListenConfig, PoolConfig, ServerConfig
from twemproxy.supervisor.descriptors import PROCESS_FILES, RESERVE_SHARE, Division, divide

SERVER = ServerConfig("s", "s", Address("h", 1), 1)
LISTEN = ListenConfig("l", Address("l", 1))


def pool(servers: int, **directives: object) -> PoolConfig:
    return PoolConfig("p", LISTEN, (SERVER,) * servers, **directives)  # type: ignore[arg-type]


def nutcrackers(config: Config, open_files: int) -> int:
    """The number of clients that nutcracker 0.5.0 serves at a time; its arithmetic may go below 0."""
    return open_files - sum(1 + len(pool.servers) * pool.server_connections for pool in config.pools) - 32


POOLS = st.builds(
    pool,
    st.integers(1, 300),
    redis=st.booleans(),
    server_connections=st.integers(1, 50),
    auto_eject_hosts=st.booleans(),
    blocking_connections=st.integers(1, 2**31 - 1),
    databases=st.integers(1, 10000),
    client_connections=st.integers(0, 2**31 - 1),
    health_check_interval=st.integers(0, 1000),
    preconnect=st.booleans(),
)


@given(st.builds(Config, st.lists(POOLS, min_size=1, max_size=40).map(tuple)), st.integers(1, 2**31 - 1))
def test_clients_are_nutcrackers_less_one_reserve(config: Config, open_files: int) -> None:
    division = divide(config, open_files)
    assert division.clients >= 1
    assert division.clients >= nutcrackers(config, open_files) - open_files // RESERVE_SHARE
    if division.clients > 1:
        # The parts add up to all open files.
        assert division.clients + division.pools + division.reserve + PROCESS_FILES == open_files


@pytest.mark.parametrize(
    ("open_files", "pools", "clients"),
    [
        (40, [pool(1)], 6),  # the number that nutcracker shows with ulimit -n 40
        (1024, [pool(10), pool(2, server_connections=3)], 1024 - 11 - 7 - 32),
        (1024, [pool(10, redis=True)] * 8, 904 - 51),
        (20000, [pool(5, redis=True)] * 24, 20000 - 144 - 32 - 1000),
        (20000, [pool(2, redis=True, blocking_connections=7, auto_eject_hosts=True)], 20000 - 3 - 32 - (2 * 5 + 7)),
        (20000, [pool(2, redis=True, databases=10000, blocking_connections=7)], 20000 - 3 - 32 - (2 * 4 + 7)),
        (40, [pool(8)], 1),
        (10, [pool(1)], 1),
        (0, [pool(1)], 0),
    ],
)
def test_clients_of_a_configuration(open_files: int, pools: list[PoolConfig], clients: int) -> None:
    assert divide(Config(tuple(pools)), open_files).clients == clients


@pytest.mark.parametrize(
    ("division", "is_small"),
    [
        (Division(0, 0, 0, 0), False),
        (Division(1024, 88, 51, 853), False),
        (Division(1024, 600, 51, 341), True),
        (Division(400, 10, 20, 338), True),
        (Division(20000, 12000, 1000, 6968), True),
        (Division(20000, 8000, 1000, 10968), False),
    ],
)
def test_what_is_worth_a_warning(division: Division, is_small: bool) -> None:
    assert division.is_small() == is_small


def test_the_figures_are_named() -> None:
    assert str(Division(1024, 600, 51, 341)) == (
        "at most 341 clients: of 1024 open files (ulimit -n), 600 are reserved for listeners and server connections, "
        "51 for more server connections, 32 for the process"
    )
    assert str(Division(0, 0, 0, 0)) == "no limit on open files"


RAISE = """
import resource
from twemproxy.supervisor.open_files import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    said = subprocess.run([sys.executable, "-c", RAISE], env=environment(), capture_output=True, text=True, check=True)
    assert said.stdout == "300 300 300\n"
