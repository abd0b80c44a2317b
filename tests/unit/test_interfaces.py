"""What plain Python says about compiled classes, compared with these classes: their names, and those of the fakes.

The type checker does not see compiled classes. A ``Protocol`` describes the part of one that plain Python uses, and a
fake takes its place in a test. A method must have the same parameters in all three.
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLIENT, CONNECTION = "twemproxy.proxy.client:ClientConnection", "twemproxy.proxy.server_connection:ServerConnection"
POOL, SUBSCRIPTIONS = "twemproxy.proxy.server_pool:ServerPool", "twemproxy.proxy.pubsub:Subscriptions"
RESERVATIONS = "twemproxy.proxy.pinned_connections:Reservations"
SERVER = "twemproxy.proxy.server:Server"

PROTOCOLS = [
    ("twemproxy.protocol.redis.session:Client", CLIENT),
    ("twemproxy.protocol.redis.session:Pool", POOL),
    ("twemproxy.protocol.redis.session:Reservations", RESERVATIONS),
    ("twemproxy.protocol.redis.session:Subscriptions", SUBSCRIPTIONS),
    ("twemproxy.protocol.redis.session:TopicRequest", "twemproxy.proxy.topics:TopicRequest"),
    ("twemproxy.protocol.redis.session:UnsubscribeRequest", "twemproxy.proxy.topics:UnsubscribeRequest"),
    ("twemproxy.protocol.memcache.builtin_commands:Pool", POOL),
    ("twemproxy.proxy.addresses:Pool", POOL),
    ("twemproxy.proxy.health_checks:Connection", CONNECTION),
    ("twemproxy.proxy.health_checks:Server", SERVER),
    ("twemproxy.proxy.pinned_connections:Client", CLIENT),
    ("twemproxy.proxy.pinned_connections:Connection", CONNECTION),
    ("twemproxy.proxy.profiles:Client", CLIENT),
    ("twemproxy.proxy.profiles:Connection", CONNECTION),
    ("twemproxy.proxy.profiles:Server", SERVER),
    ("twemproxy.proxy.server_poll:Waiting", CLIENT),
    ("twemproxy.proxy.upstream:Handshake", "twemproxy.protocol.codec:Codec"),
]

FAKES = [
    ("protocol/redis/redis_peers.py:FakeClient", CLIENT),
    ("protocol/redis/redis_peers.py:FakePool", POOL),
    ("protocol/redis/redis_peers.py:FakePoll", "twemproxy.proxy.server_poll:ServerPoll"),
    ("protocol/redis/redis_peers.py:FakeReservations", RESERVATIONS),
    ("protocol/redis/redis_peers.py:FakeSubscriptions", SUBSCRIPTIONS),
    ("protocol/redis/redis_peers.py:FakeTopicRequest", "twemproxy.proxy.topics:TopicRequest"),
    ("protocol/redis/redis_peers.py:FakeUnsubscribeRequest", "twemproxy.proxy.topics:UnsubscribeRequest"),
    ("protocol/memcache/test_memcache_codec.py:FakePool", POOL),
    ("proxy/subscription_peers.py:FakeClient", CLIENT),
    ("proxy/subscription_peers.py:FakeConnection", CONNECTION),
    ("proxy/subscription_peers.py:FakePool", POOL),
    ("proxy/test_addresses.py:FakePool", POOL),
    ("proxy/test_health_checks.py:FakeConnection", CONNECTION),
    ("proxy/test_health_checks.py:FakePool", POOL),
    ("proxy/test_private_connections.py:FakeClient", CLIENT),
    ("proxy/test_private_connections.py:FakeConnection", CONNECTION),
    ("proxy/test_private_connections.py:FakePool", POOL),
    ("proxy/test_profiles.py:FakeClient", CLIENT),
    ("proxy/test_profiles.py:FakeConnection", CONNECTION),
    ("proxy/test_profiles.py:FakePool", POOL),
    ("proxy/test_upstream.py:FakePool", POOL),
]

ONLY_IN_FAKES = {
    CLIENT: {"ask", "go_on", "has", "leave", "turn", "unsubscribe", "begin_unsubscribe"},
    CONNECTION: {"answer", "fail", "publish", "say", "shut"},
    POOL: {"answer", "link", "links", "work"},
}
"""Methods with which tests drive a fake; the class may have another method of the same name."""


def class_of(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def methods(described: Any) -> Iterator[tuple[str, Any]]:
    """(name, method) of the public methods that a class defines itself."""
    for name, value in vars(described).items():
        if not name.startswith("_") and callable(value):
            yield name, value


def differences(described: Any, actual: Any) -> list[str]:
    """Why a call of ``described`` is no call of ``actual``, which may have more parameters with defaults."""
    wanted, given = (list(inspect.signature(method).parameters.values()) for method in (described, actual))
    none = inspect.Parameter.empty
    pairs = list(zip(wanted, given, strict=False))
    found = [f"{a} is {b}" for a, b in pairs if (a.name, a.kind) != (b.name, b.kind)]
    found += [f"{a.name} has no default" for a, b in pairs if b.default is none is not a.default]
    found += [f"{parameter} is missing" for parameter in given[len(wanted) :] if parameter.default is none]
    return found + [f"{parameter} is too much" for parameter in wanted[len(given) :]]


@pytest.mark.parametrize(("protocol", "described"), PROTOCOLS)
def test_a_protocol_describes_its_class(protocol: str, described: str) -> None:
    compiled = class_of(described)
    found = dict(methods(class_of(protocol)))
    assert found
    for name, method in found.items():
        assert hasattr(compiled, name), f"{described} has no {name}"
        assert differences(method, getattr(compiled, name)) == [], name


@pytest.mark.parametrize(("fake", "replaced"), FAKES)
def test_a_fake_has_the_methods_of_its_class(fake: str, replaced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _, class_name = fake.partition(":")
    monkeypatch.syspath_prepend(Path(__file__).parent / Path(file).parent)
    compiled = class_of(replaced)
    found = dict(methods(class_of(f"{Path(file).stem}:{class_name}")))
    for name in found.keys() - ONLY_IN_FAKES.get(replaced, set()):
        if hasattr(compiled, name):
            assert differences(found[name], getattr(compiled, name)) == [], name
