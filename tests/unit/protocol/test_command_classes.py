"""Each command has a class, by which its latency is measured."""

from twemproxy.protocol.command_classes import CommandClass
from twemproxy.protocol.memcache import commands as memcache
from twemproxy.protocol.redis import commands as redis
from twemproxy.stats.catalogue import COMMAND_CLASSES


def test_the_classes_are_those_of_the_statistics() -> None:
    assert tuple(each.name.lower() for each in CommandClass) == COMMAND_CLASSES


def test_redis_commands() -> None:
    found = {command.name: redis.class_of(command) for command in redis.COMMANDS}
    expected = {
        CommandClass.READ: "get mget hgetall lrange zrange scan exists ttl strlen touch",
        CommandClass.WRITE: "set mset del incr lpush zadd expire getdel rename",
        CommandClass.SCRIPT: "eval evalsha eval_ro fcall",
        CommandClass.BLOCKING: "blpop brpop bzpopmin blmove",
        CommandClass.OTHER: "ping hello multi exec subscribe client info auth",
    }
    for each, names in expected.items():
        assert {found[name] for name in names.split()} == {each}, names


def test_memcached_commands() -> None:
    found = {command.name: memcache.class_of(command) for command in memcache.COMMANDS}
    expected = {
        CommandClass.READ: "get gets mg me",
        CommandClass.WRITE: "set add replace append prepend cas delete incr decr touch gat ms md ma",
        CommandClass.OTHER: "mn version flush_all stats quit",
    }
    for each, names in expected.items():
        assert {found[name] for name in names.split()} == {each}, names
