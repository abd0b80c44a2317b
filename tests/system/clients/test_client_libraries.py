"""redis clients and libraries that use them, with default settings: the jobs of ``tests/clients`` through the proxy.

``make clients`` installs each library in an environment of its own. A job is a program: with one server all of it must
work, with three servers some of it must be refused with an error that names the remedy.
"""

from collections.abc import Iterator

import pytest

from harness.jobs import Job, run
from harness.proxy import ServedPools, redis_pool
from harness.servers import RedisServer
from harness.shared_proxy import Configure

ALL = [
    Job("redis-py 5", "redis_py.py", ["redis-5"], says="redis 5."),
    Job("redis-py 6", "redis_py.py", ["redis-6"], says="redis 6."),
    Job("hiredis", "redis_py.py", ["hiredis", "redis-8"], says="_HiredisParser"),
    Job("redis-py 8", "redis_py.py", ["redis-8"], says="redis 8."),
    Job("valkey-py", "redis_py.py", ["redis-8"], ["valkey"], says="valkey 6."),
    Job("walrus", "walrus_containers.py", ["redis-8"]),
    Job("rq", "rq_jobs.py", ["redis-8"]),
    Job("celery", "celery_worker.py", ["redis-8"]),
    Job("django-redis", "django_cache.py", ["redis-8"]),
    Job("limits", "limits_strategies.py", ["redis-8"]),
    Job("ioredis", "ioredis.js"),
    Job("node-redis", "node_redis.js"),
]
PREFIXES = {"rq": {"RQ_KEY_PREFIX": "{rq}"}, "celery": {"PREFIX": "{celery}"}}
"""Settings that give every key of a library one hash tag; the library's job reads them from the environment."""


@pytest.fixture(scope="module")
def one_server(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(running_servers[0], hash_tag='"{}"', allow_commands="flushdb keys")) as proxy:
        yield proxy


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_with_tagging_proxy(job: Job, tagging_proxy: ServedPools, servers: list[RedisServer]) -> None:
    run(job, tagging_proxy, 3)


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_with_one_server(job: Job, one_server: ServedPools, servers: list[RedisServer]) -> None:
    run(job, one_server, 1)


@pytest.mark.parametrize("job", [job for job in ALL if job.name in PREFIXES], ids=lambda job: job.name)
def test_with_tagging_proxy_and_one_hash_tag(job: Job, tagging_proxy: ServedPools, servers: list[RedisServer]) -> None:
    run(job, tagging_proxy, 3, PREFIXES[job.name])
    in_use = [server for server in servers if server.ask("DBSIZE") != b":0\r\n"]
    assert len(in_use) == 1
