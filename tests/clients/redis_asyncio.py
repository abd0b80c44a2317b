"""The part of ``redis_py.py`` for the asyncio client; no key exists when it begins."""

import asyncio

from job import HOST, PORT, refused_by_several


async def data(client) -> None:
    """Strings and hashes in many concurrent tasks, a stream, and all keys."""
    assert await client.ping()
    assert await asyncio.gather(*(client.set(f"user:{number}", number) for number in range(50))) == [True] * 50
    assert await client.mget("user:1", "user:2", "absent") == [b"1", b"2", None]
    assert sorted(await asyncio.gather(*(client.incr("visits") for _ in range(50)))) == list(range(1, 51))
    assert await client.hset("profile", mapping={"name": "Ann", "visits": "1"}) == 2
    assert await client.hgetall("profile") == {b"name": b"Ann", b"visits": b"1"}
    first = await client.xadd("events", {"kind": "login"})
    assert await client.xrange("events") == [(first, {b"kind": b"login"})]
    assert len(await client.xread({"events": "0"}, block=5000)) == 1
    keys = {key async for key in client.scan_iter(count=20)}
    assert len(keys) == await client.dbsize() == 53
    assert await client.delete(*keys) == 53


async def transactions(client) -> None:
    """MULTI and EXEC, with which a pipeline is sent, and WATCH."""
    async with client.pipeline() as pipeline:
        pipeline.set("{order:1}:state", "paid").incr("{order:1}:count")
        assert await pipeline.execute() == [True, 1]
    with refused_by_several("hash tag"):
        async with client.pipeline() as pipeline:
            for number in range(20):
                pipeline.set(f"order:{number}", number)
            assert await pipeline.execute() == [True] * 20

    async def add_one() -> None:
        async def change(pipeline) -> None:
            count = int(await pipeline.get("{order:1}:count"))
            pipeline.multi()
            pipeline.set("{order:1}:count", count + 1)

        assert await client.transaction(change, "{order:1}:count") == [True]

    # The tasks conflict with each other, and each task retries until it succeeds.
    await asyncio.gather(*(add_one() for _ in range(8)))
    assert await client.get("{order:1}:count") == b"9"


async def messages(client) -> None:
    """SUBSCRIBE and PSUBSCRIBE, with another connection publishing."""

    async def next_message(pubsub) -> dict[str, object]:
        message = await pubsub.get_message(timeout=10)
        assert message is not None, "no message came"
        return message

    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        await pubsub.psubscribe("new*")
        assert [(await next_message(pubsub))["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        assert await client.publish("news", "it rains") == 2
        received = [await next_message(pubsub) for _ in range(2)]
        assert {message["type"] for message in received} == {"message", "pmessage"}
        assert all(message["data"] == b"it rains" for message in received)


async def queues(client) -> None:
    """Blocking commands, while other connections continue."""
    async with asyncio.TaskGroup() as group:
        left = group.create_task(client.blpop(["{queue}:urgent", "{queue}:later"], timeout=10))
        right = group.create_task(client.brpop("results", timeout=10))
        assert await client.rpush("{queue}:later", "work") == 1
        assert await client.rpush("results", "done") == 1
    assert tuple(left.result()) == (b"{queue}:later", b"work")
    assert tuple(right.result()) == (b"results", b"done")
    assert await client.blpop("results", timeout=0.1) is None


async def scripts(client) -> None:
    """A script that no server knows at first, and the lock, which uses scripts."""
    script = client.register_script("return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}")
    for number in range(10):
        assert await script(keys=[f"counter:{number}"], args=[number]) == [b"counter:%d" % number, number]
    async with client.lock("lock:report", timeout=10) as lock:
        assert await lock.owned()
        assert not await client.lock("lock:report", blocking=False).acquire()


async def administration(client) -> None:
    """Commands with which clients ask about the server and the connection."""
    assert (await client.info())["redis_version"]
    number = str(await client.client_id())
    assert number in {row["id"] for row in await client.client_list()}


async def run(library) -> None:
    """Run every part with the asyncio module of the library."""
    async with library.Redis(host=HOST, port=PORT) as client:
        for task in (data, transactions, messages, queues, scripts, administration):
            await task(client)
