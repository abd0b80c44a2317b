"""Clients that need hundreds of megabytes, or whose installation starts a web server: ``make languages``.

In all other respects as ``test_client_languages.py``.
"""

import pytest

from harness.jobs import Job, run
from harness.proxy import ServedPools
from harness.servers import MemcachedServer, RedisServer

REDIS = [
    Job("Go: go-redis, redigo", "go_redis.go"),
    Job("Haskell: hedis", "hedis.hs"),
    Job("nginx: lua-resty-redis", "nginx_modules.py", arguments=["redis"]),
]
MEMCACHED = [
    Job("Go: gomemcache", "gomemcache.go"),
    Job("Java: spymemcached", "Spymemcached.java"),
    Job("nginx: memcached", "nginx_modules.py", arguments=["memcached"]),
]


@pytest.mark.parametrize("job", REDIS, ids=lambda job: job.name)
def test_redis(job: Job, tagging_proxy: ServedPools, servers: list[RedisServer]) -> None:
    run(job, tagging_proxy, 3)
    assert all(server.ask("DBSIZE") != b":0\r\n" for server in servers)


@pytest.mark.parametrize("job", MEMCACHED, ids=lambda job: job.name)
def test_memcached(job: Job, memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer]) -> None:
    run(job, memcached_proxy, 3)
