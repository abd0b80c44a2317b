"""pylibmc with default settings: values, counters, multi-gets, cas."""

import pylibmc
from job import HOST, PORT

cache = pylibmc.Client([f"{HOST}:{PORT}"])
assert cache.set("greeting", {"text": ["hello"]}, time=100)
assert cache.get("greeting") == {"text": ["hello"]}
assert cache.get("absent") is None
assert not cache.add("greeting", 1)
assert cache.touch("greeting", 100)
assert cache.delete("greeting")
assert not cache.delete("greeting")

assert cache.set("counter", 40)
assert (cache.incr("counter", 5), cache.decr("counter", 3)) == (45, 42)

users = {f"user:{number}": number for number in range(50)}
assert cache.set_multi(users) == []
assert cache.get_multi([*users, "absent"]) == users
assert cache.delete_multi(list(users))

cache.behaviors["cas"] = True
assert cache.set("balance", 10)
value, unique = cache.gets("balance")
assert cache.cas("balance", value + 1, unique)
assert not cache.cas("balance", value + 2, unique)
assert cache.get("balance") == 11

large = bytes(range(256)) * 3500
assert cache.set("large", large)
assert cache.get("large") == large
print(f"pylibmc {pylibmc.__version__} has done its job")
