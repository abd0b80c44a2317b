"""Tests that do not count, with the reasons: they test something that a proxy does not do."""

from collections.abc import Mapping, Sequence

from suites.comparison import LeftOut

_ADMINISTRATION = "it administers the memory of one server, which is refused"
_BINARY = "it speaks the binary protocol, which pools refuse"
_BUFFERS = "it looks at the connections that a server has and at their buffers"
_MONITOR = "it uses MONITOR, which is refused: it would show the requests of all clients"
_PAUSE = "it uses CLIENT PAUSE, which is refused: it would stop all clients of a server"
_PROCESS = "it tests memcached's process: its start, its options, its limits, its end"
_REPLICA = "it listens as a replica does, which one cannot do through a proxy"
_SOURCES = "it looks at source files"
_TRACKING = "it uses CLIENT TRACKING, which is refused: it needs a connection of its own to every server"
_WATCH = "it reads a server's log, to which watch turns the connection"

_REDIS = (
    LeftOut("unit/tracking", "*", _TRACKING),
    LeftOut("unit/other", "RESET clears client state", _TRACKING),
    LeftOut("unit/pause", "*", _PAUSE),
    LeftOut("unit/introspection", "MONITOR *", _MONITOR),
    LeftOut("unit/other", "RESET clears MONITOR state", _MONITOR),
    LeftOut("unit/querybuf", "*", _BUFFERS),
    LeftOut("unit/replybufsize", "*", _BUFFERS),
    # The suite marks tests of replicas with the tag needs:repl, which these tests lack.
    LeftOut("unit/expire", "*Lazy-expire should not be wrapped in MULTI/EXEC", _REPLICA),
    LeftOut("unit/type/list", "SWAPDB wants to wake blocked client, but the key already expired", _REPLICA),
    LeftOut("unit/type/list", "MULTI + LPUSH + EXPIRE + DEBUG SLEEP on blocked client, key already expired", _REPLICA),
)

_MEMCACHED = (
    LeftOut("binary*.t", "*", _BINARY),
    LeftOut("issue_50.t", "*", _BINARY),
    LeftOut("ascii-auth.t", "*", "it logs in to memcached, which pools do not"),
    LeftOut("udp.t", "*", "it speaks UDP"),
    LeftOut("proxy.t", "*", "it tests memcached's own proxy"),
    LeftOut("whitespace.t", "*", _SOURCES),
    LeftOut("line-lengths.t", "*", _SOURCES),
    LeftOut("00-startup.t", "*", _PROCESS),
    LeftOut("conn-limits.t", "*", _PROCESS),
    LeftOut("daemonize.t", "*", _PROCESS),
    LeftOut("idle-timeout.t", "*", _PROCESS),
    LeftOut("issue_67.t", "*", _PROCESS),
    LeftOut("maxconns.t", "*", _PROCESS),
    LeftOut("misbehave.t", "*", _PROCESS),
    LeftOut("restart.t", "*", _PROCESS),
    LeftOut("shutdown.t", "*", _PROCESS),
    LeftOut("watcher*.t", "*", _WATCH),
    LeftOut("dyn-maxbytes.t", "*", _ADMINISTRATION),
    LeftOut("lru-crawler.t", "*", _ADMINISTRATION),
    LeftOut("slabs*.t", "*", _ADMINISTRATION),
    LeftOut("stats-conns.t", "*", _BUFFERS),
)

_PASSWORD = "it gives the server a password, which every later test would need; that of a pool is redis_auth"

_REDIS_PY = (
    LeftOut("tests/test_commands.py", "TestRedisCommands::test_auth", _PASSWORD),
    LeftOut("tests/test_asyncio/test_commands.py", "TestRedisCommands::test_auth", _PASSWORD),
)

LEFT_OUT: Mapping[str, Sequence[LeftOut]] = {"redis": _REDIS, "memcached": _MEMCACHED, "redis-py": _REDIS_PY}
"""The tests that do not count, by suite."""
