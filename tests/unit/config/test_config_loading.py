"""Loading a configuration: values, the places in error messages, order, and suggestions."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.config.capacity import shortage_in
from twemproxy.config.loading import ConfigError, load, loads
from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig

SAMPLE = Path(__file__).parents[3] / "conf" / "nutcracker.yml"

FULL = b"""\
alpha:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: "{}"
  distribution: modula
  timeout: 400
  connect_timeout: 250
  retry_reads: true
  backlog: 1024
  client_connections: 100
  redis: true
  tcpkeepalive: true
  tcpkeepalive_idle: 60
  tcpkeepalive_interval: 10
  tcpkeepalive_count: 3
  client_idle_timeout: 600000
  max_request_bytes: 1000000
  max_pipeline: 100
  client_input_limit: 3000000
  client_output_limit: 2000000
  access_log_sample: 0.05
  slowlog_ms: 20
  reuseport: true
  redis_auth: secret
  redis_db: 3
  preconnect: true
  dns_refresh: 30000
  auto_eject_hosts: true
  server_connections: 4
  max_backend_connections: 30
  server_retry_timeout: 2000
  server_failure_limit: 5
  probe_successes: 2
  health_check_interval: 1000
  on_server_down: error
  partial_reads: miss
  allow_commands: keys config|set
  deny_commands: eval client|kill
  databases: 8
  blocking_connections: 50
  servers:
    - 127.0.0.1:6379:2 one
"""


def error_of(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        loads(text.encode(), "my.yml")
    return error.value


def pool(*lines: str) -> str:
    """A file with one valid pool and these lines; the first of them is line 5."""
    text = "alpha:\n  listen: 127.0.0.1:22121\n  servers:\n    - 127.0.0.1:6379:1\n"
    return text + "".join(f"  {line}\n" for line in lines)


def test_every_directive_reaches_its_field() -> None:
    config = loads(FULL, "my.yml")
    assert config.pools == (
        PoolConfig(
            name="alpha",
            listen=ListenConfig(text="127.0.0.1:22121", address=Address(host="127.0.0.1", port=22121)),
            servers=(
                ServerConfig(
                    name="one",
                    pname="127.0.0.1:6379:2",
                    address=Address(host="127.0.0.1", port=6379),
                    weight=2,
                ),
            ),
            hash="murmur",
            hash_tag="{}",
            distribution="modula",
            timeout=400,
            connect_timeout=250,
            retry_reads=True,
            backlog=1024,
            client_connections=100,
            redis=True,
            tcpkeepalive=True,
            tcpkeepalive_idle=60,
            tcpkeepalive_interval=10,
            tcpkeepalive_count=3,
            client_idle_timeout=600000,
            max_request_bytes=1000000,
            max_pipeline=100,
            client_input_limit=3000000,
            client_output_limit=2000000,
            access_log_sample=0.05,
            slowlog_ms=20,
            reuseport=True,
            redis_auth="secret",
            redis_db=3,
            preconnect=True,
            dns_refresh=30000,
            auto_eject_hosts=True,
            server_connections=4,
            max_backend_connections=30,
            server_retry_timeout=2000,
            server_failure_limit=5,
            probe_successes=2,
            health_check_interval=1000,
            on_server_down="error",
            partial_reads="miss",
            allow_commands=("keys", "config|set"),
            deny_commands=("eval", "client|kill"),
            databases=8,
            blocking_connections=50,
        ),
    )


@pytest.mark.parametrize("most", [0, 6, 7])
def test_connections_that_are_enough_for_all_workers(most: int) -> None:
    text = pool(f"max_backend_connections: {most}", "server_connections: 2").encode()
    [config] = loads(text, "my.yml", workers=3).pools
    assert config.max_backend_connections == most


def test_connections_that_are_too_few_for_all_workers() -> None:
    text = pool("max_backend_connections: 5", "server_connections: 2").encode()
    with pytest.raises(ConfigError) as error:
        loads(text, "my.yml", workers=3)
    assert error.value.lines() == [
        'my.yml:5:28: pool "alpha": directive "max_backend_connections" is 5, but 3 workers need 6:'
        ' "server_connections" is 2'
    ]
    config = loads(text, "my.yml", workers=2)
    assert shortage_in(config, 2) == ""
    assert shortage_in(config, 3) == error.value.message


def test_permissions_reach_their_field_each_once() -> None:
    text = pool("allow_commands: flush_all  flush_all")
    assert loads(text.encode(), "my.yml").pools[0].allow_commands == ("flush_all",)


def test_full_sample_says_every_directive() -> None:
    assert set(PoolConfig.__struct_fields__) - {"name"} == {
        line.split(b":")[0].strip().decode()
        for line in FULL.splitlines()
        if line.startswith(b"  ") and b"-" not in line
    }


def test_pools_and_servers_are_sorted_by_length_then_bytes() -> None:
    names = ["server10", "b", "server2", "é", "zz", "Z"]
    servers = "".join(f"    - 127.0.0.1:1:1 {name}\n" for name in names)
    text = "".join(f"{name}:\n  listen: 127.0.0.1:{port}\n  servers:\n{servers}" for port, name in enumerate(names, 1))
    config = loads(text.encode(), "my.yml")
    ordered = ["Z", "b", "zz", "é", "server2", "server10"]
    assert [pool.name for pool in config.pools] == ordered
    assert [server.name for server in config.pools[0].servers] == ordered


def test_sample_configuration_has_its_five_kinds_of_pools() -> None:
    pools = load(str(SAMPLE)).pools
    assert len(pools) == 5
    assert any(pool.redis and pool.listen.address.host for pool in pools)
    assert any(not pool.redis and pool.distribution == "ketama" for pool in pools)
    assert any(not pool.redis and pool.distribution == "modula" for pool in pools)
    assert any(pool.listen.address.path and pool.servers[0].address.path for pool in pools)
    assert any(pool.auto_eject_hosts for pool in pools)
    assert any(
        {server.weight for server in pool.servers} == {1, 2} and " " not in pool.servers[0].name for pool in pools
    )


@pytest.mark.parametrize(
    ("lines", "place", "text"),
    [
        (["hahs: md5"], (5, 3), 'pool "alpha": directive "hahs" is unknown, did you mean "hash"?'),
        (
            ["server-connections: 2"],
            (5, 3),
            'pool "alpha": directive "server-connections" is unknown, did you mean "server_connections"?',
        ),
        (
            ["access_log_sample: 1.5"],
            (5, 22),
            'pool "alpha": directive "access_log_sample" is not a number from 0 to 1, such as 0.01: "1.5"',
        ),
        (
            ["access_log_sample: 1%"],
            (5, 22),
            'pool "alpha": directive "access_log_sample" is not a number from 0 to 1, such as 0.01: "1%"',
        ),
        (
            ["access_log_sample: -0.1"],
            (5, 22),
            'pool "alpha": directive "access_log_sample" is not a number from 0 to 1, such as 0.01: "-0.1"',
        ),
        (
            ["access_log_sample: .5"],
            (5, 22),
            'pool "alpha": directive "access_log_sample" is not a number from 0 to 1, such as 0.01: ".5"',
        ),
        (
            ["access_log_sample: 1e-3"],
            (5, 22),
            'pool "alpha": directive "access_log_sample" is not a number from 0 to 1, such as 0.01: "1e-3"',
        ),
        (["weight: 1"], (5, 3), 'pool "alpha": directive "weight" is unknown'),
        (
            ["hash: fnv1a64"],
            (5, 9),
            'pool "alpha": directive "hash" is not a valid hash: "fnv1a64", did you mean "fnv1a_64"?',
        ),
        (["hash:", "  sub: md5"], (6, 5), "has a depth greater than 2"),
        (["timeout: 5s"], (5, 12), 'pool "alpha": directive "timeout" is not a number: "5s"'),
        (
            ["timeout: 4294967297"],
            (5, 12),
            'pool "alpha": directive "timeout" is not a number up to 2147483647: "4294967297"',
        ),
        (["timeout:"], (5, 11), 'pool "alpha": directive "timeout" is empty'),
        (["timeout: 1", "redis: yes"], (6, 10), 'pool "alpha": directive "redis" is not "true" or "false": "yes"'),
        (["timeout: 1", "timeout: 2"], (6, 12), 'pool "alpha": directive "timeout" is a duplicate, first on line 5'),
        (["server_connections: 0"], (5, 23), 'pool "alpha": directive "server_connections" cannot be 0'),
        (["redis_auth: x"], (5, 15), 'pool "alpha": directive "redis_auth" is only valid for a redis pool'),
        (
            ["redis: true", "allow_commands: flush_all"],
            (6, 19),
            'pool "alpha": directive "allow_commands" names "flush_all", which needs no permission or does not exist; '
            'docs/commands.md marks the commands that need it, did you mean "flushall"?',
        ),
        (
            ["redis: true", "deny_commands: keys configset"],
            (6, 18),
            'pool "alpha": directive "deny_commands" names "configset", which does not exist, did you mean '
            '"config|set"?',
        ),
        (
            ["deny_commands: get"],
            (5, 18),
            'pool "alpha": directive "deny_commands" is only valid for a redis pool',
        ),
        (
            ["tcpkeepalive_idle: 5"],
            (5, 22),
            'pool "alpha": directive "tcpkeepalive_idle" needs "tcpkeepalive: true"',
        ),
        (
            ["on_server_down: error"],
            (5, 19),
            'pool "alpha": directive "on_server_down" needs "auto_eject_hosts: true"',
        ),
        (
            ["auto_eject_hosts: false", "health_check_interval: 5"],
            (6, 26),
            'pool "alpha": directive "health_check_interval" needs "auto_eject_hosts: true"',
        ),
        (
            ["redis: true", "databases: 0"],
            (6, 14),
            'pool "alpha": directive "databases" cannot be 0',
        ),
        (
            ["redis: true", "databases: 3", "redis_db: 3"],
            (7, 13),
            'pool "alpha": directive "redis_db" is 3, but "databases" is 3: databases are counted from 0',
        ),
        (
            ["max_backend_connections: 3", "server_connections: 4"],
            (5, 28),
            'pool "alpha": directive "max_backend_connections" is 3, but the worker needs 4: "server_connections" is 4',
        ),
        (
            ["allow_commands: flush_al"],
            (5, 19),
            'pool "alpha": directive "allow_commands" names "flush_al", which needs no permission or does not exist; '
            "the commands that need it are: flush_all, stats|cachedump, stats|detail, stats|reset, verbosity, "
            'did you mean "flush_all"?',
        ),
        (
            ["partial_reads: misses"],
            (5, 18),
            'pool "alpha": directive "partial_reads" is not a valid policy: "misses", did you mean "miss"?',
        ),
        (
            ["servers: 127.0.0.1:6379:5"],
            (5, 12),
            'pool "alpha": has servers with same name "127.0.0.1:6379", first on line 4',
        ),
        (
            ["timeout: [1]"],
            (5, 12),
            "flow sequence start token (10) is disallowed: begin each item's line with -, or quote the [",
        ),
        (
            ["timeout: 'x"],
            (6, 1),
            "failed (err 3) to get the next yaml document: "
            "found unexpected end of stream while scanning a quoted scalar",
        ),
    ],
)
def test_error_names_the_place_and_the_reason(lines: list[str], place: tuple[int, int], text: str) -> None:
    error = error_of(pool(*lines))
    assert (error.line, error.column) == place
    assert error.message == text
    assert error.file == "my.yml"
    assert str(error) == f"my.yml:{place[0]}:{place[1]}: {text}"


def test_all_errors_are_in_the_order_of_the_file() -> None:
    text = pool("hahs: md5", "timeout: 5s", "redis_auth: x") + (
        "beta:\n  servers:\n    - 127.0.0.1:1:1\n    - 127.0.0.1:2\n    - 127.0.0.1:1:1\n    - 127.0.0.1:3:0\n"
        "gamma:\n  listen: 127.0.0.1:22121\n  redis: true\n  tcpkeepalive_idle: 5\n  deny_commands: none no\n"
        "  servers:\n    - 127.0.0.1:1:1\n"
    )
    error = error_of(text)
    places = [(5, 3), (6, 12), (7, 15), (8, 1), (11, 7), (12, 7), (13, 7), (15, 11), (17, 22), (18, 18), (18, 18)]
    assert [(problem.line, problem.column) for problem in error.problems] == places
    assert str(error).split("\n") == [
        f"my.yml:{problem.line}:{problem.column}: {problem.message}" for problem in error.problems
    ]
    assert [problem.message for problem in error.problems][3:8] == [
        'pool "beta": directive "listen" is missing',
        'pool "beta": directive "servers" has an invalid "hostname:port:weight [name]"or "/path/unix_socket:weight '
        '[name]" format string: "127.0.0.1:2"',
        'pool "beta": has servers with same name "127.0.0.1:1", first on line 10',
        'pool "beta": directive "servers" has a zero weight in "hostname:port:weight [name]" format string: '
        '"127.0.0.1:3:0"',
        'pools "alpha" and "gamma" have the same listen address "127.0.0.1:22121", first on line 2',
    ]
    # nutcracker reports what it finds first, which is not what comes first in the file.
    assert error.message == 'pool "alpha": directive "hahs" is unknown, did you mean "hash"?'
    error = error_of(pool("tcpkeepalive_idle: 5") + pool("timeout: x").replace("alpha", "beta"))
    assert (error.line, error.column) == (10, 12)


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (["lisen: 127.0.0.1:1", "servers:", "  - h:1:1"], 1),
        (["listen: nowhere", "servers:", "  - h:1:1"], 1),
        (["listen: 127.0.0.1:1", "server:", "  - h:1:1"], 1),
        (["listen: 127.0.0.1:1", "servers:", "  - h:1"], 1),
        (["listen: 127.0.0.1:1", "rediss: true", "redis_auth: x", "servers:", "  - h:1:1"], 1),
        (["listen: 127.0.0.1:1", "redis: yes", "allow_commands: keys", "servers:", "  - h:1:1"], 1),
        (["listen: 127.0.0.1:1", "tcpkeepalive: 1", "tcpkeepalive_idle: 5", "servers:", "  - h:1:1"], 1),
        (["lisen: 127.0.0.1:1", "timeout: x", "tcpkeepalive_idle: 5", "servers:", "  - h:1:1"], 3),
    ],
)
def test_nothing_is_said_about_what_follows_from_an_error(lines: list[str], count: int) -> None:
    assert len(error_of("alpha:\n" + "".join(f"  {line}\n" for line in lines)).problems) == count


def test_pools_without_names_have_no_name_in_common() -> None:
    unnamed = pool().replace("alpha", '""')
    problems = error_of(unnamed + unnamed.replace("22121", "22122")).problems
    assert [problem.message for problem in problems] == ["pool name is empty"] * 2


def test_an_error_of_the_document_is_the_only_one() -> None:
    assert len(error_of(pool("hahs: md5", "timeout: [1]")).problems) == 1


def test_a_host_is_not_resolved_on_demand() -> None:
    text = pool().replace("127.0.0.1:22121", "no.such.host.invalid:1").encode()
    config = loads(text, "my.yml", resolve=False)
    assert config.pools[0].listen.address == Address(host="no.such.host.invalid", port=1)


def test_host_that_does_not_resolve_is_an_error_with_the_resolvers_reason() -> None:
    error = error_of(pool().replace("127.0.0.1:22121", "no.such.host.invalid:1"))
    assert (error.line, error.column) == (2, 11)
    beginning = 'pool "alpha": directive "listen" has an invalid value: address resolution of node '
    assert error.message.startswith(f'{beginning}"no.such.host.invalid" service "1" failed: ')


def test_same_listen_is_found_before_same_name() -> None:
    assert "have the same listen address" in error_of(pool() + pool()).message
    error = error_of(pool() + pool().replace("22121", "22122"))
    assert str(error) == 'my.yml:5:1: has pools with same name "alpha", first on line 1'


def test_long_and_strange_values_stay_on_one_short_line() -> None:
    message = error_of(pool('timeout: "' + "x" * 1000 + '"')).message
    assert message.endswith('"' + "x" * 60 + '..."')
    assert error_of(pool('timeout: "a\\nb"')).message.endswith('"a\\nb"')


def test_password_is_never_in_an_error() -> None:
    assert "hunter2" not in str(error_of(pool("redis_auth: hunter2")))
    assert "hunter2" not in str(error_of(pool("redis: true", "redis_auth: hunter2", "redis_auth: hunter2")))


@pytest.mark.parametrize(
    ("written", "shown"),
    [("4\ufeff0", "4\\ufeff0"), ('"4\u20280"', "4\\u20280"), ('"4\\N0"', "4\\u00850"), ("é日", "é日")],
    ids=["byte-order-mark", "line-separator", "next-line", "letters"],
)
def test_errors_show_what_is_invisible(written: str, shown: str) -> None:
    error = error_of(pool(f"timeout: {written}"))
    assert str(error) == f'my.yml:5:12: pool "alpha": directive "timeout" is not a number: "{shown}"'


@pytest.mark.parametrize(("path", "reason"), [("", os.strerror(2)), ("nothing/here.yml", os.strerror(2))])
def test_file_that_cannot_be_opened(path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"failed to open configuration '{path}': {reason}"
    assert (error.value.line, error.value.column) == (0, 0)


def test_folder_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=os.strerror(21)):
        load(str(tmp_path))


def test_deep_nesting_is_refused_and_not_followed() -> None:
    assert "flow sequence start token" in error_of("[" * 500 + "]" * 500).message
    nested = "".join(" " * depth + f"k{depth}:\n" for depth in range(500))
    assert "has a depth greater than 2" in error_of(nested + " " * 500 + "x: y\n").message


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_place(data: bytes) -> None:
    with pytest.raises(ConfigError) as error:
        loads(data, "my.yml")
    assert error.value.line >= 1
    assert error.value.column >= 1


@given(st.integers(0, len(FULL)), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_file_loads_or_is_refused(position: int, inserted: bytes, removed: int) -> None:
    damaged = FULL[:position] + inserted + FULL[position + removed :]
    try:
        config = loads(damaged, "my.yml")
    except ConfigError as error:
        assert f"my.yml:{error.line}:{error.column}: {error.message}" in str(error).split("\n")
        assert 1 <= error.line <= damaged.count(b"\n") + damaged.count(b"\r") + 3
    else:
        assert config.pools[0].servers


@pytest.mark.parametrize(("text", "share"), [("0", 0.0), ("0.0", 0.0), ("0.001", 0.001), ("1", 1.0), ("1.00", 1.0)])
def test_a_share(text: str, share: float) -> None:
    assert loads(pool(f"access_log_sample: {text}").encode(), "my.yml").pools[0].access_log_sample == share
