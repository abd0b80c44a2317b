"""redis-py with default settings; a fourth argument ``valkey`` selects valkey-py, which has the same names."""

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor

import redis_asyncio
from job import HOST, PORT, refused_by_several

library = importlib.import_module(sys.argv[4] if len(sys.argv) > 4 else "redis")


def data(client) -> None:
    """Strings, hashes and streams, on all servers."""
    assert client.ping()
    assert client.set("greeting", "hello", ex=100)
    assert client.get("greeting") == b"hello"
    users = {f"user:{number}": str(number) for number in range(50)}
    assert client.mset(users)
    assert client.mget([*users, "absent"]) == [*(value.encode() for value in users.values()), None]
    assert client.hset("profile", mapping={"name": "Ann", "visits": "1"}) == 2
    assert client.hincrby("profile", "visits", 4) == 5
    assert client.hgetall("profile") == {b"name": b"Ann", b"visits": b"5"}
    first = client.xadd("events", {"kind": "login"})
    client.xadd("events", {"kind": "logout"})
    assert client.xrange("events")[0] == (first, {b"kind": b"login"})
    assert client.xgroup_create("events", "readers", id="0")
    assert len(client.xreadgroup("readers", "me", {"events": ">"}, block=5000)) == 1
    assert client.xack("events", "readers", first) == 1


def all_keys(client) -> None:
    """Commands that ask every server."""
    keys = set(client.scan_iter(count=20))
    assert {b"user:%d" % number for number in range(50)} <= keys
    assert len(keys) == client.dbsize()
    assert set(client.scan_iter(match="user:1*")) == {b"user:1", *(b"user:1%d" % digit for digit in range(10))}
    assert client.delete(*keys) == len(keys)
    assert client.dbsize() == 0
    with refused_by_several("allow_commands"):
        assert client.keys("*") == []
    with refused_by_several("allow_commands"):
        assert client.flushdb()


def transactions(client) -> None:
    """MULTI and EXEC, with which a pipeline is sent, and WATCH."""
    with client.pipeline() as pipeline:
        pipeline.set("{order:1}:state", "paid").incr("{order:1}:count").lpush("{order:1}:log", "paid")
        assert pipeline.execute() == [True, 1, 1]
    with client.pipeline() as pipeline:
        pipeline.set("{order:1}:state", "sent").incr("{order:1}:log")
        try:
            pipeline.execute()
        except library.ResponseError as error:
            assert "WRONGTYPE" in str(error)
        else:
            raise AssertionError("INCR of a list went well")
    assert client.get("{order:1}:state") == b"sent"
    with refused_by_several("hash tag"), client.pipeline() as pipeline:
        for number in range(20):
            pipeline.set(f"order:{number}", number)
        assert pipeline.execute() == [True] * 20

    attempts = 0

    def add_one(pipeline) -> None:
        nonlocal attempts
        attempts += 1
        count = int(pipeline.get("{order:1}:count"))
        if attempts == 1:
            client.incr("{order:1}:count")
        pipeline.multi()
        pipeline.set("{order:1}:count", count + 1)

    assert client.transaction(add_one, "{order:1}:count") == [True]
    assert attempts == 2
    assert client.get("{order:1}:count") == b"3"


def messages(client) -> None:
    """SUBSCRIBE and PSUBSCRIBE, with another connection publishing."""

    def next_message(pubsub) -> dict[str, object]:
        message = pubsub.get_message(timeout=10)
        assert message is not None, "no message came"
        return message

    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        assert next_message(pubsub)["type"] == "subscribe"
        pubsub.psubscribe("new*")
        assert next_message(pubsub)["type"] == "psubscribe"
        assert client.publish("news", "it rains") == 2
        received = [next_message(pubsub) for _ in range(2)]
        assert {message["type"] for message in received} == {"message", "pmessage"}
        assert all(message["channel"] == b"news" and message["data"] == b"it rains" for message in received)
        pubsub.ping()
        assert next_message(pubsub)["type"] == "pong"
        pubsub.unsubscribe()
        pubsub.punsubscribe()
        assert {next_message(pubsub)["type"], next_message(pubsub)["type"]} == {"unsubscribe", "punsubscribe"}
    assert client.publish("news", "nobody hears") == 0


def queues(client) -> None:
    """Blocking commands, while other connections continue."""
    with ThreadPoolExecutor(2) as threads:
        left = threads.submit(client.blpop, ["{queue}:urgent", "{queue}:later"], 10)
        right = threads.submit(client.brpop, "results", 10)
        assert client.rpush("results", "done") == 1
        assert client.rpush("{queue}:later", "work") == 1
        assert tuple(left.result()) == (b"{queue}:later", b"work")
        assert tuple(right.result()) == (b"results", b"done")
    assert client.blpop("results", timeout=0.1) is None
    with refused_by_several("hash tag"):
        assert client.blpop([f"queue:{number}" for number in range(20)], timeout=0.1) is None


def scripts(client) -> None:
    """A script that no server knows at first, and the lock, which uses scripts."""
    script = client.register_script("return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}")
    for number in range(10):
        assert script(keys=[f"counter:{number}"], args=[number]) == [b"counter:%d" % number, number]
    with client.lock("lock:report", timeout=10) as lock:
        assert lock.owned()
        assert lock.extend(10)
        assert not client.lock("lock:report", blocking=False).acquire()
    assert client.lock("lock:report", timeout=10).acquire(blocking_timeout=1)


def administration(client) -> None:
    """Commands with which clients ask about the server and the connection."""
    assert client.info()["redis_version"]
    assert client.client_setname("job")
    assert client.client_getname() is not None
    assert str(client.client_id()) in {row["id"] for row in client.client_list()}
    assert client.execute_command("SELECT", 0) in (True, b"OK")


def main() -> None:
    asyncio.run(redis_asyncio.run(library.asyncio))
    with library.Redis(host=HOST, port=PORT) as client:
        for task in (data, all_keys, transactions, messages, queues, scripts, administration):
            task(client)
    parser = importlib.import_module(f"{library.__name__}.connection").DefaultParser.__name__
    print(f"{library.__name__} {library.__version__} with {parser} has done its job")


main()
