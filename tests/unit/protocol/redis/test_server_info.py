"""INFO: merged sections of servers, the proxy's own figures, and the versions that clients are told."""

from typing import Any

import pytest
from redis_peers import Client, Pool, finished, new_session

from harness.resp import bulk, command, error
from twemproxy.protocol.plan import Answer, Steps
from twemproxy.protocol.redis import builtin_commands
from twemproxy.protocol.redis.sections import sections_of
from twemproxy.protocol.redis.server_info import human, merge_section
from twemproxy.protocol.redis.versions import ASK_AGAIN_AFTER, FALLBACK, Versions
from twemproxy.upstream.server_poll import Reply


def section(text: str) -> dict[str, str]:
    """A text such as ``a:1 b:2`` as a section."""
    return dict(field.split(":", 1) for field in text.split())


@pytest.mark.parametrize(
    ("heading", "told", "merged"),
    [
        ("Server", ("redis_version:7.0.15", "redis_version:7.0.9"), "redis_version:7.0.9"),
        ("Server", ("uptime_in_seconds:100", "uptime_in_seconds:9"), "uptime_in_seconds:9"),
        ("Server", ("arch_bits:64 os:Linux", "arch_bits:64 os:BSD"), "arch_bits:64"),
        ("Server", ("redis_git_sha1:1 listener0:x", "redis_git_sha1:2"), ""),
        ("Server", ("listener0:x",), "listener0:x"),
        ("Memory", ("used_memory:1000 used_memory_human:1000B", "used_memory:1048 used_memory_human:1.02K"),
         "used_memory:2048 used_memory_human:2.00K"),
        ("Memory", ("maxmemory:5 maxmemory_human:5B", "maxmemory:0 maxmemory_human:0B"),
         "maxmemory:0 maxmemory_human:0B"),
        ("Memory", ("maxmemory:5", "maxmemory:6"), "maxmemory:11"),
        ("Memory", ("maxmemory_policy:noeviction", "maxmemory_policy:noeviction"), "maxmemory_policy:noeviction"),
        ("Memory", ("maxmemory_policy:noeviction", "maxmemory_policy:volatile-lru"), "maxmemory_policy:volatile-lru"),
        ("Memory", ("maxmemory_policy:allkeys-lru", "maxmemory_policy:volatile-lru"), "maxmemory_policy:allkeys-lru"),
        ("Memory", ("used_memory:10 used_memory_rss:30 mem_fragmentation_ratio:3.00",
                    "used_memory:10 used_memory_rss:20 mem_fragmentation_ratio:2.00"),
         "used_memory:20 used_memory_rss:50 mem_fragmentation_ratio:2.50"),
        ("Persistence", ("loading:0", "loading:1"), "loading:1"),
        ("Persistence", ("aof_enabled:0", "aof_enabled:1"), "aof_enabled:0"),
        ("Persistence", ("rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err"), "rdb_last_bgsave_status:err"),
        ("Persistence", ("rdb_last_save_time:200", "rdb_last_save_time:100"), "rdb_last_save_time:100"),
        ("Persistence", ("rdb_changes_since_last_save:2", "rdb_changes_since_last_save:3"),
         "rdb_changes_since_last_save:5"),
        ("Stats", ("instantaneous_input_kbps:0.04", "instantaneous_input_kbps:1.5"), "instantaneous_input_kbps:1.54"),
        ("Stats", ("latest_fork_usec:5", "latest_fork_usec:50"), "latest_fork_usec:50"),
        ("Stats", ("keyspace_hits:5", "keyspace_hits:7"), "keyspace_hits:12"),
        ("Stats", ("odd:word", "odd:7"), ""),
        ("Replication", ("master_replid:a slave0:x connected_slaves:1", "master_replid:b connected_slaves:2"),
         "connected_slaves:3"),
        ("CPU", ("used_cpu_sys:0.250000", "used_cpu_sys:1.000000"), "used_cpu_sys:1.250000"),
        ("Commandstats", ("cmdstat_get:calls=2,usec=6,usec_per_call=3.00,rejected_calls=1,failed_calls=0",
                          "cmdstat_get:calls=1,usec=3,usec_per_call=3.00,rejected_calls=1,failed_calls=2"),
         "cmdstat_get:calls=3,usec=9,usec_per_call=3.00,rejected_calls=2,failed_calls=2"),
        ("Errorstats", ("errorstat_ERR:count=2", "errorstat_ERR:count=5 errorstat_OOM:count=1"),
         "errorstat_ERR:count=7 errorstat_OOM:count=1"),
        ("Latencystats", ("latency_percentiles_usec_get:p50=1.003,p99=9.001",
                          "latency_percentiles_usec_get:p50=2.003,p99=4.0"),
         "latency_percentiles_usec_get:p50=2.003,p99=9.001"),
        ("Keyspace", ("db0:keys=3,expires=1,avg_ttl=1000",
                      "db0:keys=2,expires=3,avg_ttl=2000 db1:keys=1,expires=0,avg_ttl=0"),
         "db0:keys=5,expires=4,avg_ttl=1750 db1:keys=1,expires=0,avg_ttl=0"),
        ("Keyspace", ("db0:nonsense", "db0:keys=2"), "db0:keys=2"),
    ],
)  # fmt: skip
def test_sections_become_those_of_one_server(heading: str, told: tuple[str, ...], merged: str) -> None:
    assert merge_section(heading, [section(text) for text in told]) == section(merged)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (965744, "943.11K"), (3 << 30, "3.00G"), (1 << 60, "1024.00P")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human(size) == text


def test_lines_are_read() -> None:
    reply = bulk("# A\r\na:1:2\r\n\r\n# B C\r\nmodule:name=x\r\nmodule:name=y\r\nnothing\r\n")
    assert sections_of(reply) == {"A": {"a": "1:2"}, "B C": {"module:name=x": "", "module:name=y": ""}}
    with pytest.raises(ValueError, match="no text"):
        sections_of(b":1\r\n")


# --- the request ------------------------------------------------------------------------------------------------------

SERVER = "# Server\r\nredis_version:7.0.15\r\narch_bits:64\r\nrun_id:x\r\ntcp_port:1\r\n"
EVERYTHING = f"{SERVER}\r\n# Stats\r\nkeyspace_hits:5\r\n\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=2\r\n"


def info(pool: Pool, *words: str, **state: Any) -> dict[str, dict[str, str]]:
    """The sections of INFO for a new client; ``state``: attributes of its session."""
    session = new_session(pool=pool)
    for name, value in state.items():
        setattr(session, name, value)
    planned = finished(builtin_commands.plan(command("INFO", *words), session))
    assert isinstance(planned, Answer)
    return sections_of(planned.reply)


def pool_of(*texts: str | None, **options: Any) -> Pool:
    """A pool whose servers reply to INFO with these texts; None is a server that fails."""
    pool = Pool(servers=len(texts), **options)
    pool.poll.replies = [
        Reply(server, "failed", error("ERR Connection refused, or so"))
        if text is None
        else Reply(server, "ok", bulk(text))
        for server, text in zip(pool.servers, texts, strict=True)
    ]
    return pool


@pytest.mark.parametrize(
    ("words", "question", "sections"),
    [
        ((), "default", ["Server", "Stats", "Commandstats", "Clients", "Replication", "Proxy"]),
        (("ALL",), "all", ["Server", "Stats", "Commandstats", "Clients", "Replication", "Proxy"]),
        (("server",), "server", ["Server", "Stats", "Commandstats"]),
        (("Stats", "SERVER", "nosuch"), "everything", ["Server", "Stats"]),
        (("commandstats", "proxy"), "commandstats", ["Commandstats", "Proxy"]),
        (
            ("default", "commandstats"),
            "everything",
            ["Server", "Stats", "Commandstats", "Clients", "Replication", "Proxy"],
        ),
        (("default", "stats"), "everything", ["Server", "Stats", "Clients", "Replication", "Proxy"]),
        (("proxy",), "server", ["Proxy"]),
        (("search",), "search", ["Server", "Stats", "Commandstats"]),
        (("no such",), None, []),
        (("nosuch", "none"), None, []),
    ],
)
def test_sections_that_are_asked_for(words: tuple[str, ...], question: str | None, sections: list[str]) -> None:
    pool = pool_of(EVERYTHING)
    assert list(info(pool, *words)) == sections
    assert pool.poll.asked == ([] if question is None else [command("INFO", question)])


def test_what_is_about_the_connection_is_the_proxys() -> None:
    pool = pool_of(EVERYTHING, EVERYTHING)
    Client(pool)
    told = info(pool)
    assert (
        told["Server"].items()
        >= section("redis_version:7.0.15 redis_mode:standalone process_id:123 tcp_port:22121").items()
    )
    assert told["Server"]["run_id"] == "0123456789" * 4
    assert told["Server"]["arch_bits"] == "64"
    assert told["Clients"] == section(
        "connected_clients:2 blocked_clients:0 pubsub_clients:0 watching_clients:0 maxclients:1000"
    )
    assert told["Replication"] == section("role:master connected_slaves:0")
    assert told["Stats"] == {"keyspace_hits": "10"}
    assert (
        told["Proxy"].items()
        >= section("proxy:twemproxy proxy_version:9.8.7 pool_name:alpha pool_fragments:99").items()
    )


def test_a_server_that_fails_leaves_a_mark() -> None:
    told = info(pool_of(EVERYTHING, None))
    assert told["Stats"] == {"keyspace_hits": "5"}
    assert told["Proxy"]["servers_failed"] == "1"
    assert told["Proxy"]["server0"] == "name=s00,state=ok,version=7.0.15"
    assert told["Proxy"]["server1"] == "name=s01,state=failed,error=ERR Connection refused; or so"


def test_no_server_answers() -> None:
    told = info(pool_of(None))
    assert told["Server"]["redis_version"] == FALLBACK
    assert told["Replication"]["role"] == "master"
    assert told["Proxy"]["servers_failed"] == "1"


def test_a_reply_that_is_no_text_is_left_out() -> None:
    pool = pool_of(EVERYTHING, EVERYTHING)
    pool.poll.replies[1] = pool.poll.replies[1]._replace(text=b"*0\r\n")
    assert info(pool)["Stats"] == {"keyspace_hits": "5"}


def test_databases_are_those_that_clients_know() -> None:
    keyspace = "# Keyspace\r\ndb0:keys=1,expires=0\r\ndb7:keys=5,expires=0\r\n"
    assert info(pool_of(keyspace), "keyspace")["Keyspace"] == section("db0:keys=1,expires=0 db7:keys=5,expires=0")
    assert info(pool_of(keyspace, database=7), "keyspace")["Keyspace"] == section("db0:keys=5,expires=0")


def test_servers_are_asked_once_earlier_replies_are_there() -> None:
    pool = pool_of(EVERYTHING)
    session = new_session(pool=pool)
    pool.connected[0].waiting = True
    planned = builtin_commands.plan(command("INFO"), session)
    assert isinstance(planned, Steps)
    assert next(planned.work) is None
    assert pool.poll.asked == []
    pool.connected[0].waiting = False
    assert b"keyspace_hits:5" in finished(planned).reply


# --- versions ---------------------------------------------------------------------------------------------------------

VALKEY = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:{}\r\n"


@pytest.mark.parametrize(
    ("texts", "greeting"),
    [
        (("# Server\r\nredis_version:7.0.15\r\n", "# Server\r\nredis_version:7.0.9\r\n"), ("redis", "7.0.9")),
        ((VALKEY.format("9.1.2"), VALKEY.format("9.0.10")), ("valkey", "9.0.10")),
        ((VALKEY.format("9.1.2"), "# Server\r\nredis_version:7.4.0\r\n"), ("redis", "7.2.4")),
        ((None, "# Server\r\nredis_version:7.4.0\r\n"), ("redis", "7.4.0")),
        (("# Server\r\nredis_version:odd\r\n",), ("redis", FALLBACK)),
        ((None,), ("redis", FALLBACK)),
    ],
)
def test_the_oldest_version_is_told(texts: tuple[str | None, ...], greeting: tuple[str, str]) -> None:
    versions = Versions()
    assert versions.are_known(new_session(pool=pool_of(*texts)))
    assert versions.greeting() == greeting


def test_servers_are_asked_again_when_connections_are_opened() -> None:
    pool, versions = pool_of(SERVER), Versions()
    session = new_session(pool=pool)
    assert versions.are_known(session)
    assert versions.are_known(session)
    assert len(pool.poll.asked) == 1
    pool.opened_connections += 1
    pool.time += ASK_AGAIN_AFTER
    pool.poll.replies = [Reply(pool.servers[0], "ok", bulk("# Server\r\nredis_version:8.2.0\r\n"))]
    assert versions.are_known(session)
    assert len(pool.poll.asked) == 2
    assert versions.greeting() == ("redis", "8.2.0")


def test_removed_servers_are_forgotten() -> None:
    pool, versions = pool_of("# Server\r\nredis_version:5.0.0\r\n", SERVER), Versions()
    session = new_session(pool=pool)
    assert versions.are_known(session)
    assert versions.greeting() == ("redis", "5.0.0")
    pool.servers = pool.servers[1:]
    pool.poll.replies = pool.poll.replies[1:]
    pool.opened_connections += 1
    pool.time += ASK_AGAIN_AFTER
    assert versions.are_known(session)
    assert versions.greeting() == ("redis", "7.0.15")


def test_nobody_waits_for_a_second_question() -> None:
    pool, versions = pool_of(SERVER), Versions()
    session = new_session(pool=pool)
    assert versions.are_known(session)
    pool.opened_connections += 1
    pool.time += ASK_AGAIN_AFTER
    pool.poll.replies = None
    assert versions.are_known(session)
    assert versions.greeting() == ("redis", "7.0.15")


def test_clients_wait_for_the_first_answer() -> None:
    pool, versions = pool_of(SERVER), Versions()
    replies, pool.poll.replies = pool.poll.replies, None
    first, second = new_session(pool=pool), new_session(pool=pool)
    assert not versions.are_known(first)
    assert not versions.are_known(second)
    assert len(pool.poll.asked) == 1
    pool.poll.open[0].replies = replies
    pool.poll.open[0].finish()
    assert [client.woken for client in pool.connected] == [1, 1]
    assert versions.are_known(second)
