"""walrus with default settings: containers, cache, locks, rate limits, transactions, a message queue."""

from concurrent.futures import ThreadPoolExecutor

from job import HOST, PORT, refused_by_several
from walrus import Database, RateLimitException


def containers(db: Database) -> None:
    """Each container has one key."""
    profile = db.Hash("profile")
    profile.update({"name": "Ann", "visits": 1})
    profile.incr("visits")
    assert profile.as_dict(decode=True) == {"name": "Ann", "visits": "2"}
    words = db.List("words")
    words.extend(["a", "b", "c"])
    assert list(words) == [b"a", b"b", b"c"]
    scores = db.ZSet("scores")
    scores.add({"Ann": 3, "Bob": 5})
    assert scores.rank("Bob") == 1
    assert db.counter("visits").incr(3) == 3
    assert "profile" in db
    assert set(db) >= {b"profile", b"words", b"scores"}
    assert len(db) == 4
    stream = db.Stream("events")
    stream.add({"kind": "login"})
    group = db.consumer_group("readers", ["events"])
    group.create()
    assert [fields for _, fields in group.events.read(block=5000)] == [{b"kind": b"login"}]
    first, second = db.Set("{team}:first"), db.Set("{team}:second")
    first.add("Ann", "Bob")
    second.add("Bob", "Cid")
    assert first & second == {b"Bob"}
    with refused_by_several("hash tag"):
        assert [db.sinter("{team}:first", f"other:{number}") for number in range(20)] == [set()] * 20


def cache(db: Database) -> None:
    """Each value has a key of its own; all values together can only be found with KEYS."""
    memory = db.cache("cache", default_timeout=100)
    assert memory.set("page", {"title": "Hello"})
    assert memory.get("page") == {"title": "Hello"}
    with refused_by_several("hash tag"):
        assert memory.set_many({f"page:{number}": number for number in range(20)})
        assert memory.get_many(["page:3", "page:4"]) == {"page:3": 3, "page:4": 4}
    assert memory.delete("page") == 1
    with refused_by_several("allow_commands"):
        memory.flush()
    calls: list[int] = []

    @memory.cached(timeout=60)
    def double(number: int) -> int:
        calls.append(number)
        return number * 2

    assert [double(4), double(4)] == [8, 8]
    assert calls == [4]


def locks(db: Database) -> None:
    """A lock has two keys, which its name must keep together; a client that waits for the lock uses BLPOP."""
    lock = db.lock("{report}", ttl=10000)
    assert lock.acquire()
    other = db.lock("{report}", ttl=10000)
    assert not other.acquire(block=False)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(other.acquire)
        assert lock.release()
        assert waiting.result(timeout=20)
    assert other.release()
    with refused_by_several("hash tag"):
        for number in range(20):
            with db.lock(f"report:{number}", ttl=1000):
                pass


def rate_limits(db: Database) -> None:
    """Both kinds of rate limits: with list commands, and with a script."""
    for limit in (db.rate_limit("plain", limit=3, per=60), db.rate_limit_lua("script", limit=3, per=60)):
        assert [limit.limit("Ann") for _ in range(4)] == [False, False, False, True]

        @limit.rate_limited(lambda: "Bob")
        def work() -> str:
            return "done"

        assert [work() for _ in range(3)] == ["done"] * 3
        try:
            work()
        except RateLimitException:
            continue
        raise AssertionError("the fourth call went through")


def transactions(db: Database) -> None:
    """A transaction, and a script that compares and sets."""
    with db.atomic() as transaction:
        transaction.pipe.set("{order:1}:state", "paid")
        transaction.pipe.incr("{order:1}:count")
    assert db["{order:1}:state"] == b"paid"
    assert db.cas("{order:1}:state", "paid", "sent")


def main() -> None:
    with Database(host=HOST, port=PORT) as db:
        for task in (containers, cache, locks, rate_limits, transactions):
            task(db)


main()
