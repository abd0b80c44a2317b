"""The meaning of ``listen`` and of server entries."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.config.addresses import AddressError, parse_listen, parse_server, resolve_listen
from twemproxy.config.numbers import parse_number
from twemproxy.config.pools import Address


@pytest.mark.parametrize(
    ("text", "address", "permission"),
    [
        ("127.0.0.1:22121", Address(host="127.0.0.1", port=22121), 0),
        ("::1:22121", Address(host="::1", port=22121), 0),
        ("host:080", Address(host="host", port=80), 0),
        ("/run/a", Address(path="/run/a"), 0),
        ("/run/a 0660", Address(path="/run/a"), 0o660),
        ("/run/a 7", Address(path="/run/a"), 0o7),
        ("/run/a b 0600", Address(path="/run/a b"), 0o600),
        ("/run/a  0600", Address(path="/run/a "), 0o600),
        ("/run/a abc", Address(path="/run/a"), 0),
        ("/run/a 0668", Address(path="/run/a"), 0o66),
        ("/run/a:80", Address(path="/run/a:80"), 0),
    ],
)
def test_listen(text: str, address: Address, permission: int) -> None:
    listen = parse_listen(text)
    assert (listen.text, listen.address, listen.permission) == (text, address, permission)


@pytest.mark.parametrize(
    ("text", "name", "pname", "address", "weight"),
    [
        ("10.0.0.1:6379:2", "10.0.0.1:6379", "10.0.0.1:6379:2", Address(host="10.0.0.1", port=6379), 2),
        ("10.0.0.1:06379:2", "10.0.0.1:06379", "10.0.0.1:06379:2", Address(host="10.0.0.1", port=6379), 2),
        ("10.0.0.1:6379:2 a", "a", "10.0.0.1:6379:2", Address(host="10.0.0.1", port=6379), 2),
        ("10.0.0.1:11211:1", "10.0.0.1", "10.0.0.1:11211:1", Address(host="10.0.0.1", port=11211), 1),
        ("10.0.0.1:011211:1", "10.0.0.1", "10.0.0.1:011211:1", Address(host="10.0.0.1", port=11211), 1),
        ("10.0.0.1:11211:1 a", "a", "10.0.0.1:11211:1", Address(host="10.0.0.1", port=11211), 1),
        ("10.0.0.1:6379:2 ", "", "10.0.0.1:6379:2", Address(host="10.0.0.1", port=6379), 2),
        ("::1:6379:1", "::1:6379", "::1:6379:1", Address(host="::1", port=6379), 1),
        (":6379:1", ":6379", ":6379:1", Address(port=6379), 1),
        ("/run/a.sock:3", "/run/a.sock:", "/run/a.sock:3", Address(path="/run/a.sock"), 3),
        ("/run/a.sock:3 b", "b", "/run/a.sock:3", Address(path="/run/a.sock"), 3),
        ("/run/a b:3 n", "n", "/run/a b:3", Address(path="/run/a b"), 3),
    ],
)
def test_server(text: str, name: str, pname: str, address: Address, weight: int) -> None:
    server = parse_server(text)
    assert (server.name, server.pname, server.address, server.weight) == (name, pname, address, weight)


@given(st.text(alphabet="a0129:/ -+\0é", max_size=12))
def test_any_text_is_an_address_or_refused_with_a_reason(text: str) -> None:
    for parse in (parse_listen, parse_server):
        try:
            address = parse(text).address
        except AddressError as error:
            assert str(error).startswith("has a")
        else:
            assert bool(address.path) != bool(address.port)
            assert "\0" not in address.host + address.path


@given(
    host=st.text(alphabet=st.characters(exclude_characters=" :/\0", exclude_categories=["Cs"]), min_size=1),
    port=st.integers(1, 65535).filter(lambda port: port != 11211),
    weight=st.integers(1, 2**31 - 1),
    name=st.text(alphabet=st.characters(exclude_characters=" ", exclude_categories=["Cs"])),
)
def test_server_entry_is_what_its_parts_say(host: str, port: int, weight: int, name: str) -> None:
    server = parse_server(f"{host}:{port}:{weight} {name}")
    assert (server.address, server.weight, server.name) == (Address(host=host, port=port), weight, name)
    assert parse_server(f"{host}:{port}:{weight}").name == f"{host}:{port}"


def test_resolved_addresses_can_be_bound() -> None:
    for address in (Address(host="127.0.0.1", port=1), Address(host="localhost", port=1)):
        family, resolved = resolve_listen(address)
        with socket.socket(family) as bound:
            bound.bind((resolved[0], 0))
    assert resolve_listen(Address(path="/run/a")) == (socket.AF_UNIX, "/run/a")
    assert resolve_listen(Address(host="::1", port=2)) == (socket.AF_INET6, ("::1", 2, 0, 0))


@pytest.mark.parametrize("host", ["", "no.such.host.invalid", "a..b", "x" * 64, "é é", "[::1]"])
def test_host_without_address_is_refused(host: str) -> None:
    with pytest.raises(AddressError, match="has an invalid value: address resolution of node"):
        resolve_listen(Address(host=host, port=1))


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("2147483648", 2**31), ("", None), ("-1", None), ("+1", None), ("1 ", None), ("٣", None)],
)
def test_number(text: str, number: int | None) -> None:
    assert parse_number(text) == number


def test_number_of_any_length_is_only_large() -> None:
    assert parse_number("0" * 5000 + "5") == 5
    assert (parse_number("9" * 100_000) or 0) > 2**63
