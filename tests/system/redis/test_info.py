"""INFO, HELLO and CONFIG GET with real servers: they have the fields that tools read, with the servers' values."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure
from twemproxy.protocol.redis.errors import NOT_ALLOWED

READ_BY = {
    "redis-py's own tests": "redis_version arch_bits redis_mode",
    "nchan": "run_id loading role maxmemory used_memory",
    "Symfony's tagged caches": "redis_version maxmemory_policy",
    "sidekiq": "redis_version maxmemory_policy used_memory_human used_memory_peak_human connected_clients"
    " uptime_in_days",
    "BullMQ": "redis_version maxmemory_policy",
    "RedisInsight": "redis_version role used_memory connected_clients uptime_in_seconds uptime_in_days keyspace_hits"
    " keyspace_misses number_of_cached_scripts instantaneous_ops_per_sec instantaneous_input_kbps"
    " instantaneous_output_kbps maxmemory_policy db0",
    "collectd": "uptime_in_seconds connected_clients blocked_clients used_memory used_memory_lua"
    " total_connections_received total_commands_processed instantaneous_ops_per_sec expired_keys evicted_keys"
    " pubsub_channels pubsub_patterns connected_slaves keyspace_hits keyspace_misses total_net_input_bytes"
    " total_net_output_bytes db0",
    "redis_exporter": "role redis_version redis_mode os maxmemory_policy tcp_port run_id process_id"
    " uptime_in_seconds connected_clients blocked_clients used_memory used_memory_rss used_memory_peak used_memory_lua"
    " maxmemory mem_fragmentation_ratio rdb_changes_since_last_save rdb_last_bgsave_time_sec aof_enabled loading"
    " keyspace_hits latest_fork_usec used_cpu_sys used_cpu_user cluster_enabled db0",
    "Datadog": "active_defrag_running aof_rewrite_in_progress connected_clients connected_slaves rejected_connections"
    " blocked_clients evicted_keys expired_keys latest_fork_usec pubsub_channels rdb_bgsave_in_progress"
    " rdb_changes_since_last_save mem_fragmentation_ratio used_memory_startup used_memory_overhead maxmemory"
    " used_cpu_sys_children total_commands_processed db0",
    "telegraf": "uptime_in_seconds connected_clients used_memory used_memory_rss used_memory_peak used_memory_lua"
    " mem_fragmentation_ratio rdb_changes_since_last_save total_connections_received total_commands_processed"
    " instantaneous_ops_per_sec keyspace_hits evicted_keys expired_keys connected_slaves role",
    "Laravel and WordPress dashboards": "used_memory_human used_memory_peak_human maxmemory_human keyspace_hits"
    " keyspace_misses uptime_in_days",
}
"""The fields of INFO that each tool reads."""


def keys_told(reply: bytes) -> int:
    """The number of keys of database 0 in a reply to INFO keyspace."""
    return int(reply.partition(b"db0:keys=")[2].partition(b",")[0] or b"0")


def fields(reply: bytes) -> dict[str, str]:
    """Names and values of a reply to INFO."""
    lines = reply.decode().split("\r\n")[1:-1]
    return dict(line.split(":", 1) for line in lines if ":" in line)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def mixed_proxy(
    configured: Configure, running_servers: list[RedisServer], valkey: ValkeyServer
) -> Iterator[ServedPools]:
    """A proxy with a pool of redis and valkey, and a pool of valkey only."""
    pools = {"mixed": redis_pool(running_servers[0], valkey), "valkeys": redis_pool(valkey, valkey)}
    with configured(pools) as proxy:
        yield proxy


@pytest.mark.parametrize("reader", READ_BY)
def test_what_tools_read_is_there(anybody: Connection, reader: str) -> None:
    for index in range(3):
        assert anybody.ask("SET", keys_of(index, 3)[0], "v") == OK
    assert set(READ_BY[reader].split()) <= fields(anybody.ask("INFO")).keys()


def test_figures_are_the_servers_added_up(client: Connection, servers: list[RedisServer]) -> None:
    for index in range(3):
        for key in keys_of(index, 3, index + 1):
            assert client.ask("SET", key, "v", "EX", 1000) == OK
    told = fields(client.ask("INFO", "everything"))
    by_server = [fields(server.ask("INFO", "everything")) for server in servers]
    for name in ("keyspace_hits", "keyspace_misses", "expired_keys", "connected_slaves", "pubsub_channels"):
        assert int(told[name]) == sum(int(server[name]) for server in by_server), name
    assert re.fullmatch(r"keys=6,expires=6,avg_ttl=\d+", told["db0"])
    assert int(told["used_memory"]) > 2 * max(int(server["used_memory"]) for server in by_server)
    calls = [re.match(r"calls=(\d+)", server["cmdstat_set"]) for server in by_server]
    assert told["cmdstat_set"].startswith(f"calls={sum(int(found[1]) for found in calls if found)},")
    assert told["redis_version"] == by_server[0]["redis_version"]
    assert int(told["uptime_in_seconds"]) <= min(int(server["uptime_in_seconds"]) for server in by_server)


def test_figures_of_one_server_are_its_own(
    configured: Configure, running_servers: list[RedisServer], any_proxy: ServedPools
) -> None:
    with configured(redis_pool(running_servers[0])) as proxy:
        told = fields(proxy.client().ask("INFO", "everything"))
    theirs = fields(running_servers[0].ask("INFO", "everything"))
    assert theirs.keys() <= told.keys() | {"redis_build_id"}
    for name in ("os", "arch_bits", "mem_allocator", "maxmemory_policy", "master_replid", "redis_build_id"):
        assert told[name] == theirs[name]
    assert told["run_id"] != theirs["run_id"]
    assert re.fullmatch("[0-9a-f]{40}", told["run_id"])


def test_the_executable_is_that_of_the_process(client: Connection) -> None:
    told = fields(client.ask("INFO", "server"))
    assert told["executable"] == str(Path(f"/proc/{told['process_id']}/exe").readlink())


def test_the_run_id_stays(proxy: ServedPools, client: Connection) -> None:
    found = {fields(connection.ask("INFO", "server"))["run_id"] for connection in (client, proxy.client(), client)}
    assert len(found) == 1


def test_figures_are_no_older_than_the_request(client: Connection) -> None:
    for count in range(1, 20):
        client.send(command("SET", f"k{count}", "v") + command("INFO", "keyspace"))
        client.expect(OK)
        assert f"keys={count}," in fields(client.reply())["db0"]


def test_many_at_once_ask_the_servers_a_few_times(client: Connection, servers: list[RedisServer]) -> None:
    """A request between two of them has run when the servers are asked again."""
    servers[0].ask("CONFIG", "RESETSTAT")
    client.send(command("INFO", "keyspace") * 500 + command("SET", "new", 1) + command("INFO", "keyspace") * 500)
    replies = client.replies(1001)
    assert {keys_told(reply) for reply in replies[:500]} == {0}
    assert {keys_told(reply) for reply in replies[501:]} == {1}
    asked = servers[0].ask("INFO", "commandstats").partition(b"cmdstat_info:calls=")[2]
    assert int(asked.partition(b",")[0]) < 20


def test_errors_are_counted(client: Connection) -> None:
    before = fields(client.ask("INFO", "errorstats")).get("errorstat_WRONGTYPE", "count=0")
    client.send(command("SET", "k", "v") + command("LPUSH", "k", "v") + command("INFO", "errorstats"))
    assert client.replies(2)[1].startswith(b"-WRONGTYPE")
    after = fields(client.reply())["errorstat_WRONGTYPE"]
    assert int(after.removeprefix("count=")) == int(before.removeprefix("count=")) + 1


def test_sections(client: Connection) -> None:
    def headings(*names: str) -> list[str]:
        return re.findall("# (.*)\r\n", client.ask("INFO", *names).decode())

    assert headings("server") == ["Server"]
    assert headings("Stats", "CLIENTS") == ["Clients", "Stats"]
    assert headings("keyspace", "proxy", "nosuch") == ["Keyspace", "Proxy"]
    assert headings("proxy") == ["Proxy"]
    assert headings("nosuch") == headings("nosuch", "none") == []
    assert {"Server", "Memory", "Errorstats", "Proxy"} <= set(headings()) == set(headings("default"))
    assert "Commandstats" not in headings()
    assert {"Commandstats", "Latencystats"} <= set(headings("all"))


def test_the_version_is_the_oldest(
    mixed_proxy: ServedPools, running_servers: list[RedisServer], valkey: ValkeyServer
) -> None:
    ours, theirs = fields(running_servers[0].ask("INFO", "server")), fields(valkey.ask("INFO", "server"))
    mixed, valkeys = mixed_proxy.client("mixed"), mixed_proxy.client("valkeys")
    told = fields(mixed.ask("INFO", "server"))
    assert told["redis_version"] == ours["redis_version"]
    assert "valkey_version" not in told
    told = fields(valkeys.ask("INFO", "server"))
    assert [told[name] for name in ("redis_version", "valkey_version", "server_name")] == [
        *(theirs[name] for name in ("redis_version", "valkey_version", "server_name"))
    ]
    for client, name, version in (
        (mixed, "redis", ours["redis_version"]),
        (valkeys, "valkey", theirs["valkey_version"]),
    ):
        reply = client.ask("HELLO", 3)
        assert bulk("server") + bulk(name) in reply
        assert bulk("version") + bulk(version) in reply
        assert f"\n{name.capitalize()} ver. {version}\n".encode() in client.ask("LOLWUT")


def test_a_server_that_is_down_leaves_a_mark(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as down, configured(redis_pool(servers[0], down)) as proxy:
        client = proxy.client()
        told = fields(client.ask("INFO"))
        assert told["servers_failed"] == "1"
        assert told["server0"].startswith("name=s00,state=ok,version=")
        assert told["server1"] == "name=s01,state=failed,error=ERR Connection refused"
        assert told["redis_version"] == fields(servers[0].ask("INFO"))["redis_version"]
        assert bulk("version") + bulk(told["redis_version"]) in client.ask("HELLO")


def test_a_server_that_says_nothing_is_not_waited_for(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer() as silent, configured(redis_pool(servers[0], silent)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("INFO"))
        assert other.ask("SET", keys_of(0, 2)[0], "v") == OK
        told = fields(client.reply())
        assert told["servers_failed"] == "1"
        assert told["server1"].startswith("name=s01,state=silent")


def test_no_server_at_all(configured: Configure) -> None:
    with ScriptedServer(listening=False) as down, configured(redis_pool(down)) as proxy:
        client = proxy.client()
        told = fields(client.ask("INFO"))
        assert (told["redis_version"], told["role"], told["servers_failed"]) == ("7.0.0", "master", "1")
        assert bulk("version") + bulk("7.0.0") in client.ask("HELLO")


def test_in_a_transaction_of_one_server(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        client.send(command("MULTI") + command("SET", "k", "v") + command("INFO", "keyspace") + command("EXEC"))
        client.expect(OK + b"+QUEUED\r\n" * 2)
        assert client.reply().startswith(b"*2\r\n" + OK + b"$44\r\n# Keyspace\r\ndb0:keys=1,")


# --- with permission -------------------------------------------------------------------------------------------------


def test_parameters_are_those_that_servers_agree_on(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, allow_commands="config|get")) as proxy:
        client = proxy.client()
        assert client.ask("CONFIG", "GET", "hz") == servers[0].ask("CONFIG", "GET", "hz")
        assert client.ask("CONFIG", "GET", "port") == array(), "the servers' ports differ"
        assert client.ask("HELLO", 3).startswith(b"%")
        assert client.ask("CONFIG", "GET", "maxmemory", "port") == b"%1\r\n" + bulk("maxmemory") + bulk("0")
    with configured(redis_pool(servers[0], allow_commands="config|get")) as proxy:
        assert proxy.client().ask("CONFIG", "GET", "*") == servers[0].ask("CONFIG", "GET", "*")


def test_many_patterns(client: Connection) -> None:
    patterns = [f"{number}" + "*a?" * 40 for number in range(20_000)]
    client.send(command("CONFIG", "GET", *patterns, "TCP-*", "port") + command("PING"))
    client.expect(array(*client_port(client), bulk("tcp-backlog"), bulk("512")) + b"+PONG\r\n")


def client_port(client: Connection) -> tuple[bytes, bytes]:
    return bulk("port"), bulk(str(client.sock.getpeername()[1]))


def test_killing_others_needs_permission(any_proxy: ServedPools) -> None:
    client, other = any_proxy.client(), any_proxy.client()
    number = int(other.ask("CLIENT", "ID")[1:-2])
    refused = error(NOT_ALLOWED.format(name="client|kill"))
    for words in (["ID", number], ["TYPE", "normal"], ["ADDR", "{}:{}".format(*other.sock.getsockname())]):
        assert client.ask("CLIENT", "KILL", *words) == refused
    assert other.ask("PING") == b"+PONG\r\n"
    assert client.ask("CLIENT", "KILL", *["TYPE", "normal"] * 100_000, "ADDR", "1.1.1.1:1") == refused


def test_many_filters(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], allow_commands="client|kill")) as proxy:
        client, other = proxy.client(), proxy.client()
        assert other.ask("PING") == b"+PONG\r\n"
        assert client.ask("CLIENT", "KILL", *["TYPE", "normal"] * 100_000, "ADDR", "1.1.1.1:1") == integer(0)
        assert client.ask("CLIENT", "KILL", *["TYPE", "pubsub"] * 1000, "TYPE", "normal") == integer(1)
        other.expect_closed()
