"""What plain Python says about compiled classes, compared with these classes: their names, and those of the fakes.

The type checker does not see compiled classes. A ``Protocol`` describes the part of one that plain Python uses, and a
fake (``fakes.py``) takes its place in a test. A method must have the same parameters in all three.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit import fakes

CLIENT, CONNECTION = (
    "twemproxy.downstream.client:ClientConnection",
    "twemproxy.upstream.server_connection:ServerConnection",
)
POOL, SUBSCRIPTIONS = "twemproxy.upstream.server_pool:ServerPool", "twemproxy.upstream.pubsub:Subscriptions"
RESERVATIONS = "twemproxy.upstream.private_connections:Reservations"
SERVER = "twemproxy.upstream.server:Server"

PROTOCOLS = [
    ("twemproxy.protocol.other_workers:OtherWorkers", "twemproxy.protocol.other_workers:NoOtherWorkers"),
    ("twemproxy.protocol.other_workers:OtherWorkers", "twemproxy.worker.questions:PoolElsewhere"),
    ("twemproxy.protocol.redis.session:Client", CLIENT),
    ("twemproxy.protocol.redis.session:Pool", POOL),
    ("twemproxy.protocol.redis.session:Reservations", RESERVATIONS),
    ("twemproxy.protocol.redis.session:Subscriptions", SUBSCRIPTIONS),
    ("twemproxy.protocol.redis.session:TopicRequest", "twemproxy.upstream.topics:TopicRequest"),
    ("twemproxy.protocol.redis.session:UnsubscribeRequest", "twemproxy.upstream.topics:UnsubscribeRequest"),
    ("twemproxy.protocol.memcache.builtin_commands:Pool", POOL),
    ("twemproxy.upstream.addresses:Pool", POOL),
    ("twemproxy.upstream.health_checks:Connection", CONNECTION),
    ("twemproxy.upstream.health_checks:Server", SERVER),
    ("twemproxy.upstream.private_connections:Client", CLIENT),
    ("twemproxy.upstream.private_connections:Connection", CONNECTION),
    ("twemproxy.upstream.profiles:Client", CLIENT),
    ("twemproxy.upstream.profiles:Connection", CONNECTION),
    ("twemproxy.upstream.profiles:Server", SERVER),
    ("twemproxy.upstream.server_poll:Waiting", CLIENT),
    ("twemproxy.upstream.endpoint:Codec", "twemproxy.protocol.codec:Codec"),
]

HERE = Path(__file__).parent
DERIVING = re.compile(r"^class \w+\(Fake\w+\)", re.MULTILINE)
DERIVED = [path for path in sorted(HERE.rglob("*.py")) if path.name != "fakes.py" and DERIVING.search(path.read_text())]
"""The files with classes that tests derive from fakes."""

ONLY_IN_DERIVED: dict[type, set[str]] = {
    fakes.FakeClient: {"ask", "go_on", "has", "leave", "turn", "unsubscribe", "begin_unsubscribe"},
    fakes.FakeConnection: {"answer", "fail", "publish", "say", "settle", "shut"},
    fakes.FakeServer: set(),
    fakes.FakePool: {
        *("answer", "connection", "former", "link", "links", "resolve", "use", "work"),
        *("until_probe", "until_question"),
    },
}
"""Methods with which tests drive classes derived from a fake; its class may have another method of the same name."""


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


FAKES = [fake for fake in vars(fakes).values() if isinstance(fake, type) and fake.__module__ == fakes.__name__]


@pytest.mark.parametrize("fake", [fake for fake in FAKES if fake is not fakes.Fake], ids=lambda fake: fake.__name__)
def test_a_fake_has_only_methods_of_its_class(fake: Any) -> None:
    actual = class_of(fake.of)
    assert issubclass(fake, fakes.Fake)
    for name, method in methods(fake):
        assert hasattr(actual, name), f"{fake.of} has no {name}"
        assert differences(method, getattr(actual, name)) == [], name


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: path.name)
def test_a_class_derived_from_a_fake_has_methods_of_the_fakes_class(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(path.parent)
    found = vars(importlib.import_module(path.stem)).values()
    derived = [value for value in found if isinstance(value, type) and issubclass(value, fakes.Fake)]
    derived = [value for value in derived if value not in FAKES]
    assert derived
    for value in derived:
        fake = next(base for base in value.__mro__ if base in FAKES)
        for name, method in methods(value):
            if name not in ONLY_IN_DERIVED[fake]:
                assert hasattr(class_of(value.of), name), f"{value.of} has no {name}"
                assert differences(method, getattr(class_of(value.of), name)) == [], f"{value.__name__}.{name}"
