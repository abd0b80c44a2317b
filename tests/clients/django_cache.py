"""django-redis with default settings as the cache of Django."""

import time

import django
from django.conf import settings
from django.core.cache import cache
from job import URL, refused_by_several


def main() -> None:
    settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}})
    django.setup()
    cache.set("user", {"name": "Ann"}, timeout=100)
    assert cache.get("user") == {"name": "Ann"}
    assert 0 < cache.ttl("user") <= 100
    assert cache.touch("user", 200)
    assert 100 < cache.ttl("user") <= 200
    assert not cache.add("user", "another")
    assert cache.get_or_set("made", lambda: 7) == 7
    assert "made" in cache
    for number in range(20):
        cache.set(f"page:{number}", number)
    assert cache.get_many(["page:3", "page:4", "absent"]) == {"page:3": 3, "page:4": 4}
    assert cache.delete_many(["page:3", "page:4", "absent"]) == 2
    cache.set_many({"{box}:a": 1, "{box}:b": 2})
    assert cache.get_many(["{box}:a", "{box}:b"]) == {"{box}:a": 1, "{box}:b": 2}
    with refused_by_several("hash tag"):
        cache.set_many({f"box:{number}": number for number in range(20)})
    cache.set("visits", 1)
    assert cache.incr("visits", 4) == 5
    assert cache.decr("visits") == 4
    try:
        cache.incr("absent")
    except ValueError:
        pass
    else:
        raise AssertionError("counted what is not there")
    with cache.lock("lock", timeout=10):
        assert not cache.lock("lock", timeout=10, blocking=False).acquire()
    assert cache.set("once", 1, nx=True)
    assert not cache.set("once", 1, nx=True)
    assert cache.expire_at("once", int(time.time()) + 100)
    assert cache.persist("once") and cache.ttl("once") is None
    assert sorted(cache.iter_keys("page:1*")) == sorted(["page:1", *(f"page:1{digit}" for digit in range(10))])
    assert cache.delete_pattern("{box}:*") == 2
    # delete_pattern deletes keys in transactions; delete_many with the keys of iter_keys uses no transaction.
    with refused_by_several("hash tag"):
        assert cache.delete_pattern("page:1*", itersize=5) == 11
    cache.delete_many(cache.iter_keys("page:*"))
    assert list(cache.iter_keys("page:*")) == []
    assert cache.hset("profile", "name", "Ann") == 1
    assert cache.sadd("set", "a", "b") == 2
    with refused_by_several("allow_commands"):
        assert "user" in cache.keys("*")
    with refused_by_several("allow_commands"):
        cache.clear()
        assert cache.get("user") is None
    cache.close()


main()
