"""What differs between two configurations, and the effect of each difference."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.config.changes import HIDDEN, Changes, DirectiveChange, PoolChanges, ServerChange, changes
from twemproxy.config.directives import DIRECTIVES, EFFECTS
from twemproxy.config.loading import loads
from twemproxy.config.pools import Config


def config(*pools: str) -> Config:
    """The configuration of a file with these pools."""
    return loads("".join(pools).encode(), "my.yml")


def pool(
    *lines: str,
    name: str = "alpha",
    listen: str = "127.0.0.1:22121",
    servers: tuple[str, ...] = ("127.0.0.1:6379:1 a", "127.0.0.1:6380:1 b"),
) -> str:
    """A pool of a file, with these lines added."""
    entries = "".join(f"    - {server}\n" for server in servers)
    return f"{name}:\n  listen: {listen}\n" + "".join(f"  {line}\n" for line in lines) + f"  servers:\n{entries}"


def only(found: Changes) -> PoolChanges:
    assert not found.added
    assert not found.removed
    assert len(found.pools) == 1
    return found.pools[0]


def test_every_effect_is_used_and_explained() -> None:
    assert {directive.effect for directive in DIRECTIVES} == set(EFFECTS)


def test_effects_of_directives() -> None:
    effects = {directive.name: directive.effect for directive in DIRECTIVES if directive.effect != "at once"}
    assert effects == {
        "listen": "listen",
        "redis": "new clients",
        "redis_db": "new clients",
        "databases": "new clients",
        "redis_auth": "new connections",
        "tcpkeepalive": "new connections",
        "tcpkeepalive_idle": "new connections",
        "tcpkeepalive_interval": "new connections",
        "tcpkeepalive_count": "new connections",
    }


def test_no_difference() -> None:
    found = changes(config(pool()), config(pool()))
    assert not found
    assert found.lines() == []


def test_directives_that_differ_are_in_the_order_of_the_table() -> None:
    old = config(pool("timeout: 400", "hash: md5"))
    new = config(pool("timeout: 500", "preconnect: true", 'hash_tag: "{}"'))
    found = only(changes(old, new))
    assert found.directives == (
        DirectiveChange("hash", "md5", "fnv1a_64", "at once"),
        DirectiveChange("hash_tag", "", "{}", "at once"),
        DirectiveChange("timeout", "400", "500", "at once"),
        DirectiveChange("preconnect", "false", "true", "at once"),
    )
    assert found.servers == ()
    assert found.moves_keys
    assert changes(old, new).lines() == [
        'pool "alpha": directive "hash" changes from md5 to fnv1a_64 (at once)',
        'pool "alpha": directive "hash_tag" changes from unset to "{}" (at once)',
        'pool "alpha": directive "timeout" changes from 400 to 500 (at once)',
        'pool "alpha": directive "preconnect" changes from false to true (at once)',
    ]


def test_long_values_are_shown_whole() -> None:
    old = "keys flushall flushdb config|set config|get function|flush script|flush"
    first = config(pool("redis: true", f"allow_commands: {old}"))
    second = config(pool("redis: true", f"allow_commands: {old} client|kill"))
    assert changes(first, second).lines() == [
        f'pool "alpha": directive "allow_commands" changes from "{old}" to "{old} client|kill" (at once)'
    ]


@pytest.mark.parametrize(("old", "new"), [("redis_auth: hunter2", "redis_auth: hunter3"), ("", "redis_auth: hunter3")])
def test_a_secret_is_not_shown(old: str, new: str) -> None:
    found = changes(config(pool("redis: true", old)), config(pool("redis: true", new)))
    assert only(found).directives == (DirectiveChange("redis_auth", HIDDEN, HIDDEN, "new connections"),)
    assert found.lines() == ['pool "alpha": directive "redis_auth" changes (new connections)']
    assert b"hunter" not in msgspec.json.encode(found)
    assert not only(found).moves_keys


def test_servers_that_come_go_move_and_change_weight() -> None:
    old = config(pool(servers=("h1:1:1 a", "h2:1:1 b", "h3:1:1 c", "h4:1:1 d")))
    new = config(pool(servers=("h1:1:1 a", "h5:1:1 b", "h6:2:3 c", "/run/e:1 e")))
    found = only(changes(old, new))
    assert found.servers == (
        ServerChange("d", "removed", "h4:1", ""),
        ServerChange("b", "moved", "h2:1", "h5:1"),
        ServerChange("c", "moved", "h3:1", "h6:2"),
        ServerChange("c", "re-weighted", "1", "3"),
        ServerChange("e", "added", "", "/run/e"),
    )
    assert found.moves_keys
    assert found.effects == {"at once"}
    assert changes(old, new).lines() == [
        'pool "alpha": server "d" at h4:1 is removed (at once)',
        'pool "alpha": server "b" moves from h2:1 to h5:1 (at once)',
        'pool "alpha": server "c" moves from h3:1 to h6:2 (at once)',
        'pool "alpha": server "c" changes its weight from 1 to 3 (at once)',
        'pool "alpha": server "e" at /run/e is added (at once)',
    ]


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        (pool(servers=("h1:1:1 a", "h2:1:1 b")), pool(servers=("h2:1:1 a", "h3:1:1 b")), False),
        (pool(servers=("h1:1:1", "h2:1:1")), pool(servers=("h1:1:1", "h3:1:1")), True),
        (pool(servers=("h1:1:1 a", "h2:1:1 b")), pool(servers=("h1:1:1 a", "h2:1:2 b")), True),
        (pool("distribution: modula"), pool(), True),
        (pool("hash: md5"), pool(), True),
        (pool('hash_tag: "{}"'), pool(), True),
        (pool(servers=("h1:1:1 a",)), pool("hash: md5", "distribution: modula", servers=("h1:1:5 a",)), False),
        (pool(servers=("h1:1:1 a",)), pool(servers=("h1:1:1 b",)), True),
        (pool("distribution: random"), pool("distribution: random", servers=("h1:1:1 a", "h2:1:1 c")), False),
        (pool("distribution: random"), pool(), True),
        (pool(), pool("timeout: 5", "redis: true", "backlog: 5"), False),
    ],
)
def test_keys_move_if_what_places_them_differs(old: str, new: str, moves: bool) -> None:
    assert only(changes(config(old), config(new))).moves_keys == moves


def test_pools_that_come_and_go() -> None:
    old = config(pool(name="a", listen="127.0.0.1:1"), pool(name="b", listen="127.0.0.1:2"))
    new = config(pool(name="a", listen="127.0.0.1:1"), pool(name="c", listen="127.0.0.1:3"))
    found = changes(old, new)
    assert found == Changes(added=("c",), removed=("b",), pools=())
    assert found.lines() == [
        'pool "b" is removed (its address is closed)',
        'pool "c" is added (its address is opened)',
    ]


def test_a_new_name_at_the_same_address_is_a_renamed_pool() -> None:
    old = config(pool(name="a"))
    new = config(pool("timeout: 5", name="b"))
    found = changes(old, new)
    assert found.renamed == {"b": "a"}
    assert found.lines() == [
        'pool "b": is renamed, it was "a" (at once)',
        'pool "b": directive "timeout" changes from 0 to 5 (at once)',
    ]


def test_pools_at_one_address_are_renamed_one_to_one() -> None:
    places = ("127.0.0.1:1", "127.0.0.1:01")
    old, new = (
        config(*(pool(name=name, listen=place) for name, place in zip(names, places, strict=True)))
        for names in (("a", "b"), ("c", "d"))
    )
    assert changes(old, new).renamed == {"c": "a", "d": "b"}


def test_pools_that_swap_their_addresses_keep_their_names() -> None:
    old = config(pool(name="a", listen="127.0.0.1:1"), pool(name="b", listen="127.0.0.1:2"))
    new = config(pool(name="a", listen="127.0.0.1:2"), pool(name="b", listen="127.0.0.1:1"))
    found = changes(old, new)
    assert not found.renamed
    assert [pool.directives for pool in found.pools] == [
        (DirectiveChange("listen", "127.0.0.1:1", "127.0.0.1:2", "listen"),),
        (DirectiveChange("listen", "127.0.0.1:2", "127.0.0.1:1", "listen"),),
    ]


def test_another_mode_of_the_same_unix_socket_opens_no_address() -> None:
    found = changes(config(pool(listen="/run/a 0660")), config(pool(listen="/run/a 0600")))
    assert only(found).directives == (DirectiveChange("listen", "/run/a 0660", "/run/a 0600", "at once"),)


LINES: tuple[tuple[str, ...], ...] = (
    *((), ("timeout: 5",), ("hash: md5",), ("distribution: modula",), ("redis: true", "redis_auth: x")),
    *(("redis: true", "databases: 4"), ("tcpkeepalive: true",)),
)
pools = st.builds(
    pool,
    name=st.sampled_from(["a", "b", "c"]),
    listen=st.sampled_from(["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:03"]),
    servers=st.lists(
        st.sampled_from(["h:1:1 a", "h:2:1 a", "h:1:2 a", "h:01:1 a", "h:1:01 a", "h:1:1 b", "h:3:1", "/s:1 d"]),
        min_size=1,
        max_size=3,
        unique_by=lambda text: text.split()[-1],
    ).map(tuple),
)


@st.composite
def configs(draw: Any) -> Config:
    chosen = draw(
        st.lists(pools, min_size=1, max_size=3, unique_by=(lambda text: text[0], lambda text: text.split("\n")[1]))
    )
    added = ["".join(f"  {line}\n" for line in draw(st.sampled_from(LINES))) for _ in chosen]
    return config(*(text + more for text, more in zip(chosen, added, strict=True)))


@given(configs(), configs())
def test_exactly_equal_configurations_have_no_difference(old: Config, new: Config) -> None:
    found = changes(old, new)
    assert bool(found) == (old != new)
    assert not changes(new, new)
    former = {pool.name for pool in old.pools} - set(found.removed)
    present = {pool.name for pool in new.pools} - set(found.added)
    assert {found.renamed.get(name, name) for name in present} == former
    assert all(line.isprintable() for line in found.lines())
    back = changes(new, old)
    assert (len(back.pools), back.added, back.removed) == (len(found.pools), found.removed, found.added)
