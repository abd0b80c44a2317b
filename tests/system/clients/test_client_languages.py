"""Clients in other languages from Debian's packages, with default settings, in front of three servers.

``make clients`` installs them. ``heavy_languages.py`` has the languages that need hundreds of megabytes.
"""

import pytest

from harness.jobs import Job, run
from harness.proxy import ServedPools, redis_pool
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure

REDIS = [
    Job("C: hiredis", "hiredis.c"),
    Job("C++: Poco", "poco_redis.cpp"),
    Job("Erlang: eredis", "eredis.erl"),
    Job("Lua: lua-redis", "lua_redis.lua"),
    Job("Perl: Redis.pm", "redis_perl.pl"),
    Job("Perl: Redis::Fast", "redis_perl.pl", arguments=["Redis::Fast"]),
    Job("PHP: phpredis", "phpredis.php"),
    Job("PHP: Predis", "predis.php"),
    Job("PHP: sessions in redis", "php_sessions.php", arguments=["redis"]),
    Job("Ruby: redis-rb", "redis_rb.rb"),
    Job("Ruby: Rails' cache store", "rails_cache.rb"),
]
MEMCACHED = [
    Job("C: libmemcached", "libmemcached.c"),
    Job("Perl: Cache::Memcached", "memcached_perl.pl"),
    Job("Perl: Cache::Memcached::Fast", "memcached_perl.pl", arguments=["Cache::Memcached::Fast"]),
    Job("PHP: memcached", "php_memcached.php"),
    Job("PHP: sessions in memcached", "php_sessions.php", arguments=["memcached"]),
    Job("Python: pylibmc", "pylibmc_values.py", ["memcached"]),
]


@pytest.mark.parametrize("job", REDIS, ids=lambda job: job.name)
def test_redis(job: Job, tagging_proxy: ServedPools, servers: list[RedisServer]) -> None:
    run(job, tagging_proxy, 3)
    assert all(server.ask("DBSIZE") != b":0\r\n" for server in servers)


@pytest.mark.parametrize("job", MEMCACHED, ids=lambda job: job.name)
def test_memcached(job: Job, memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer]) -> None:
    run(job, memcached_proxy, 3)


def test_sidekiq(configured: Configure, servers: list[RedisServer]) -> None:
    """The keys of Sidekiq have no hash tag, so it needs a pool of one server."""
    with configured(redis_pool(servers[0])) as proxy:
        run(Job("Ruby: Sidekiq", "sidekiq.rb"), proxy, 1)
