"""Warnings about valid configurations: each is given where it belongs, and nowhere else."""

from pathlib import Path

import pytest

from twemproxy.config.loading import load, loads
from twemproxy.config.pools import Config
from twemproxy.config.warnings import KINDS, warnings

SAMPLE = Path(__file__).parents[3] / "conf" / "nutcracker.yml"
THREE = ("h1:1:1 a", "h2:1:1 b", "h3:1:1 c")


def config(*lines: str, servers: tuple[str, ...] = THREE, timeout: str = "timeout: 400") -> Config:
    entries = "".join(f'    - "{server}"\n' for server in servers)
    directives = "".join(f"  {line}\n" for line in (timeout, *lines) if line)
    return loads(f"alpha:\n  listen: 127.0.0.1:1\n{directives}  servers:\n{entries}".encode(), "my.yml")


CASES = [
    (
        "uneven-shares",
        config("hash: crc32"),
        '"crc32" has only 15 bits, and ketama needs 32: use "crc32a" or another hash',
    ),
    ("uneven-shares", config(servers=("h1:1:100000 a", "h2:1:1 b")), 'server "b" gets no keys'),
    (
        "uneven-shares",
        config("distribution: modula", servers=tuple(f"h{i}:1:2147483647 s{i}" for i in range(3))),
        'server "s2" gets less than half of the share by weight',
    ),
    (
        "uneven-shares",
        config("hash: md5", servers=("h1:1:40 a", "h2:1:1 b")),
        'server "b" gets less than half of the share by weight',
    ),
    ("same-address", config(servers=("h1:1:1 a", "h1:01:1 b")), 'servers "a" and "b" have the same address h1:01'),
    ("hash-tag", config('hash_tag: "}{"'), 'hash_tag "}{" cuts no key such as a{b}c, as "{}" would'),
    ("hash-tag", config('hash_tag: "[["'), 'hash_tag "[[" cuts no key such as a[b]c, as "[]" would'),
    ("hash-tag", config('hash_tag: "{]"'), 'hash_tag "{]" cuts no key such as a{b}c, as "{}" would'),
    ("hash-tag", config('hash_tag: "a:"'), 'hash_tag "a:" has a letter or digit'),
    ("modula-ejection", config("distribution: modula", "auto_eject_hosts: true"), "moves keys of the other servers"),
    (
        "short-retry",
        config("auto_eject_hosts: true", "server_retry_timeout: 399"),
        '"server_retry_timeout" 399 is shorter than "timeout" 400',
    ),
    ("connect-timeout", config("connect_timeout: 401"), '"connect_timeout" 401 is longer than "timeout" 400'),
    ("ignored-weights", config("distribution: random", servers=("h1:1:1 a", "h2:1:2 b")), "ignores the weights"),
    ("no-timeout", config(timeout=""), 'without "timeout" a request waits for ever for a server that is silent'),
    ("no-timeout", config("auto_eject_hosts: true", timeout=""), "that is silent, and is never ejected"),
    (
        "unnamed-servers",
        config(servers=("h1:1:1", "h2:11211:3 h2", "h3:1:1 c")),
        "2 servers have no name, so another address moves keys to other servers; to keep them, add the present name "
        'before an address changes, as in "h2:11211:3 h2"',
    ),
    ("unnamed-servers", config(servers=("/run/a:2", "h1:1:1 a")), 'as in "/run/a:2 /run/a:"'),
]


@pytest.mark.parametrize(("kind", "written", "message"), CASES)
def test_warning(kind: str, written: Config, message: str) -> None:
    found = [warning for warning in warnings(written) if warning.kind == kind]
    assert found
    assert message in found[-1].message
    assert {warning.pool for warning in found} == {"alpha"}
    assert str(found[0]).startswith('pool "alpha": ')
    assert str(found[0]).isprintable()


def test_every_kind_has_a_case() -> None:
    assert {kind for kind, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize(
    "written",
    [
        config(),
        config("hash: crc32", "distribution: modula"),
        config("hash: crc32", servers=("h1:1:1",)),
        config("distribution: random", servers=("h1:1:1", "h2:1:1")),
        config(servers=("h1:1:1 a", "h1:2:9 b")),
        config("hash_tag: '{}'"),
        config("hash_tag: '<>'"),
        config("hash_tag: '::'"),
        config("hash_tag: '{:'"),
        config("distribution: modula", "auto_eject_hosts: true", "on_server_down: error"),
        config("distribution: modula", "auto_eject_hosts: true", servers=("h1:1:1 a", "h2:1:1 b")),
        config("distribution: modula"),
        config("server_retry_timeout: 1"),
        config("auto_eject_hosts: true", "server_retry_timeout: 400"),
        config("connect_timeout: 400"),
        config(servers=tuple(f"h:{port}:1 s{port}" for port in range(1, 26))),
    ],
)
def test_no_warning(written: Config) -> None:
    assert warnings(written) == []


def test_crc32_with_ketama_names_the_server_that_has_everything() -> None:
    found = warnings(config("hash: crc32", servers=tuple(f"h:{port}:1 s{port}" for port in range(1, 5))))
    assert [warning.kind for warning in found] == ["uneven-shares"] * 2
    assert found[0].message.startswith('server "s')
    assert "has 100.0% of the keys, 4.0 times its share by weight; hash" in found[0].message
    assert found[1].message.startswith('servers "s')
    assert " get no keys; hash" in found[1].message


@pytest.mark.parametrize("server", ["h2:1:3", "h2:11211:1", "/run/a:2"])
def test_the_name_that_is_proposed_changes_nothing(server: str) -> None:
    before = config(servers=("h1:1:1 a", server))
    [warning] = warnings(before)
    proposed = warning.message.rpartition(" as in ")[2]
    assert config(servers=("h1:1:1 a", proposed.strip('"'))) == before


def test_many_servers_are_not_all_named() -> None:
    servers = ("h:1:100000 a", *(f"h:{port}:1 s{port}" for port in range(2, 12)))
    message = next(warning.message for warning in warnings(config(servers=servers)) if "no keys" in warning.message)
    assert message == 'servers "s2", "s3", "s4", "s5", "s6" and 5 more get no keys'


def test_warnings_of_the_sample_are_about_names_only() -> None:
    assert {warning.kind for warning in warnings(load(str(SAMPLE)))} == {"unnamed-servers"}
