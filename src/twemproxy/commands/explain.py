"""``nutcracker explain``: on which server a key is, and why."""

import argparse
import os
from collections.abc import Sequence

import msgspec

from twemproxy.api import Location, PlacementError, Ring
from twemproxy.commands.clients import check_silent, document
from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.commands.texts import ejection_text
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.ipc.control import (
    ClientExplained,
    Clients,
    ClientState,
    ExplainClient,
    ListClients,
    ListServers,
    PoolState,
    Servers,
    ServerState,
)
from twemproxy.ipc.messages import ClientWork, UsedConnection

DESCRIPTION = """\
Say on which server a key is, and why: the part that is hashed, the hash, the point of the ring, the server; and where
the key would go if that server were ejected. Without --config it is about the running proxy, with the servers that are
ejected now. A key is any bytes; without --pool it is looked up in every pool. Or, with --client, say which worker
serves a client, why it takes no request now if that is so, which connections to servers the client uses, and how many
requests are in their queues.
"""


class Place(msgspec.Struct, frozen=True):
    """A server that has a key."""

    server: str
    address: str


class KeyPlace(msgspec.Struct, frozen=True):
    """Where a key is in a pool."""

    pool: str
    distribution: str
    hash: str
    """The name of the hash function."""
    hash_tag: str
    hashed: str | None
    """The part of the key that is hashed. This and the next three are None if each request goes to a random server."""
    value: int | None
    """The hash of this part."""
    point: int | None
    """The point of the ring, while no server is ejected."""
    place: Place | None
    """The server of the key while no server is ejected."""
    ejected: dict[str, ServerState] | None
    """The servers of the pool that are ejected now, by their names. None for a file."""
    now: Place | None
    """The server that gets requests for the key now. None if there is none, or for a file."""
    if_ejected: Place | None
    """The server that would get them if the one that gets them now were ejected. None if there is none."""
    on_server_down: str
    """What happens to requests for an ejected server: with ``error`` and ``miss`` the proxy answers them."""
    against: Place | None
    """The server with the file --against; None without this option, without the pool in it, or for a random one."""
    moves: bool
    """Whether that is a server of another name."""


class _Pool:
    """A pool in which keys are looked up."""

    def __init__(self, config: PoolConfig, state: PoolState | None, against: PoolConfig | None) -> None:
        """``state``: of the running proxy. ``against``: the pool of the same name in the other file."""
        self.config = config
        self.ring = Ring(config)
        self.against = None if against is None else Ring(against)
        self.ejected = None
        ejected: frozenset[str] = frozenset()
        if state is not None:
            self.ejected = {server.name: server for server in state.servers if server.ejected}
            ejected = frozenset(self.ejected)
        self.keeps_keys = config.on_server_down != "rehash"
        """Whether an ejected server keeps its keys."""
        self.present = self.ring if self.keeps_keys else _without(self.ring, ejected)
        self._next: dict[str, Ring | None] = {}

    def explain(self, key: bytes) -> KeyPlace:
        """Where a key is."""
        pool = self.config
        location = _locate(self.ring, key)
        now = _locate(self.present, key)
        # An ejected server that keeps its keys gets no requests for them.
        serves = self.ejected is not None and now is not None and now.server not in self.ejected
        if_ejected = None
        if now is not None and not self.keeps_keys:
            if now.server not in self._next:
                self._next[now.server] = _without(self.present, {now.server})
            if_ejected = _locate(self._next[now.server], key)
        against = _locate(self.against, key)
        return KeyPlace(
            pool=pool.name,
            distribution=pool.distribution,
            hash=pool.hash,
            hash_tag=pool.hash_tag,
            hashed=None if location is None else location.hashed.decode(errors="surrogateescape"),
            value=None if location is None else location.hash,
            point=None if location is None else location.point,
            place=_place(location),
            ejected=self.ejected,
            now=_place(now) if serves else None,
            if_ejected=_place(if_ejected),
            on_server_down=pool.on_server_down,
            against=_place(against),
            moves=location is not None and against is not None and location.server != against.server,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", metavar="KEY", nargs="*", help="a key")
    parser.add_argument("--client", metavar="ID|ADDRESS", help="a client of the running proxy instead of keys")
    parser.add_argument("--pool", metavar="POOL", help="only in this pool")
    parser.add_argument("--config", metavar="FILE", help="a configuration file in place of the running proxy")
    add_option(parser)
    parser.add_argument("--against", metavar="FILE", help="also say where the key is with this configuration file")


def run(options: argparse.Namespace) -> int:
    if options.client is not None:
        return _explain_client(options)
    if not options.keys:
        raise CommandError("needs a KEY, or --client")
    state: Servers | None = None
    if options.config:
        config = _load(options.config)
    else:
        state = ask_for(options.control_socket, ListServers(), Servers)
        config = state.config
    pools = _pools(config, state, _load(options.against) if options.against else None, options.pool)
    keys = [os.fsencode(key) for key in options.keys]
    found = [(key, [pool.explain(key) for pool in pools]) for key in keys]
    if options.json:
        print_json({"keys": [{"key": _shown(key), "pools": msgspec.to_builtins(places)} for key, places in found]})
    else:
        for key, places in found:
            for place in places:
                print("\n".join(_lines(_shown(key), place, options.against)))
    return 2 if any(place.moves for _, places in found for place in places) else 0


def _explain_client(options: argparse.Namespace) -> int:
    if options.keys or options.config or options.against:
        raise CommandError("--client is about the running proxy, and goes with no key and no file")
    answer = ask_for(options.control_socket, ListClients(options.pool or ""), Clients)
    found = [client for client in answer.clients if options.client in (client.fields["id"], client.fields["addr"])]
    works = [_work(options.control_socket, client) for client in found]
    if options.json:
        documents = [
            {**document(client), "work": msgspec.to_builtins(work)} for client, work in zip(found, works, strict=True)
        ]
        print_json({"clients": documents, "silent_workers": answer.silent})
    else:
        for client, work in zip(found, works, strict=True):
            print("\n".join(_client_lines(client, work)))
    check_silent(answer)
    if not found:
        raise CommandError(f"there is no client {quoted(options.client)}")
    return 0


def _work(control_socket: str, client: ClientState) -> ClientWork:
    """Return what a client waits for."""
    request = ExplainClient(client.pool, int(client.fields["id"]))
    return ask_for(control_socket, request, ClientExplained).work


def _client_lines(client: ClientState, work: ClientWork) -> list[str]:
    """Return the lines for people about a client."""
    fields = client.fields
    rows = [
        ("name", quoted(fields["name"]) if fields["name"] else ""),
        ("library", f"{fields['lib-name']} {fields['lib-ver']}".strip()),
        ("worker", str(client.worker)),
        ("connected", f"for {fields['age']} s, idle for {fields['idle']} s"),
        ("last command", fields["cmd"]),
        ("waits", f"{fields['qbuf']} bytes of input, {fields['oll']} replies, {fields['omem']} bytes of output"),
        ("state", work.state),
        ("takes no request", "; ".join(meaning for _, meaning in work.pauses)),
        ("full send queue", "" if work.full_server is None else f"of server {quoted(work.full_server)}"),
        ("server connections", _connections(fields) if client.redis else "those that all clients of the pool share"),
        *(("", _used(connection)) for connection in work.connections),
    ]
    width = max(len(name) for name, _ in rows) + 1
    title = f"pool {quoted(client.pool)}, client {fields['id']} from {quoted_if_needed(fields['addr'])}"
    return [title, *(f"  {name + ':' if name else '':<{width}}  {text}" for name, text in rows if text)]


def _used(connection: UsedConnection) -> str:
    """Return the line about a connection to a server that a client uses now."""
    kept = ", kept after the next reply" if connection.kept else ""
    endless = ", waits for as long as it takes" if connection.waits_for_ever else ""
    use = {
        "shared": "shared",
        "private": f"its own{kept}{endless}",
        "subscriptions": f"for {connection.topics} of its channels and patterns",
    }[connection.use]
    queues = f"{connection.to_send} requests to send ({connection.to_send_bytes} bytes), {connection.sent} sent"
    return f"{quoted(connection.server)}, {use}, {connection.state}: {queues}, {connection.own} of them of this client"


def _connections(fields: dict[str, str]) -> str:
    """Return which connections to servers a client uses, as far as its state shows that."""
    profile = f"database {fields['db']}, RESP{fields['resp']}"
    texts = {
        "x": f"one of its own for its transaction ({profile})",
        "b": f"one of its own for its blocking command ({profile})",
        "P": "those for subscriptions, one per server",
    }
    used = [text for flag, text in texts.items() if flag in fields["flags"]]
    return "; ".join(used) or f"those that clients with the same settings share ({profile})"


def _load(path: str) -> Config:
    try:
        return load(path, resolve=False)
    except ConfigError as error:
        raise CommandError(str(error)) from error


def _pools(config: Config, state: Servers | None, against: Config | None, name: str | None) -> list[_Pool]:
    """Return the pools in which keys are looked up: that of this name, or all. Raises CommandError."""
    states = {} if state is None else {pool.name: pool for pool in state.pools}
    others = {} if against is None else {pool.name: pool for pool in against.pools}
    wanted = [pool for pool in config.pools if name is None or pool.name == name]
    if not wanted:
        names = ", ".join(quoted(pool.name) for pool in config.pools)
        raise CommandError(f"there is no pool {quoted(name or '')}: the pools are {names}")
    return [_Pool(pool, states.get(pool.name), others.get(pool.name)) for pool in wanted]


def _without(ring: Ring | None, servers: frozenset[str] | set[str]) -> Ring | None:
    """Return the ring after the ejection of these servers, None if no server is left."""
    try:
        return None if ring is None else ring.without(*servers)
    except PlacementError:
        return None


def _locate(ring: Ring | None, key: bytes) -> Location | None:
    try:
        return None if ring is None else ring.locate(key)
    except PlacementError:
        return None


def _place(location: Location | None) -> Place | None:
    return None if location is None else Place(location.server, location.address)


def _shown(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def _lines(key: str, found: KeyPlace, against: str | None) -> Sequence[str]:
    """Return the lines for people about a key in a pool. ``against``: the name of the other file."""
    rows: list[tuple[str, str]] = []
    if found.place is None:
        rows.append(("server", "a random one for each request (distribution random)"))
        if found.ejected:
            rows.append(("ejected", _ejected(found.ejected)))
    else:
        if found.hashed != key:
            rows.append(("hashed part", f"{quoted(found.hashed or '')} (hash_tag {quoted(found.hash_tag)})"))
        rows.append(("hash", f"{found.value} ({found.hash})"))
        rows.append(("point", f"{found.point} ({found.distribution})"))
        rows.append(("server", _named(found.place) + _state(found)))
        rows += _consequences(found)
    if against is not None:
        rows.append((f"with {against}", _against(found)))
    width = max(len(name) for name, _ in rows) + 1
    return [
        f"pool {quoted(found.pool)}, key {quoted(key)}",
        *(f"  {name + ':':<{width}}  {text}" for name, text in rows),
    ]


def _consequences(found: KeyPlace) -> list[tuple[str, str]]:
    """Return rows about the servers that have a key because of ejections."""
    rows: list[tuple[str, str]] = []
    keeps = f"the proxy answers in its place (on_server_down {found.on_server_down})"
    if found.ejected is not None and found.now != found.place:
        if found.now is not None:
            others = ", ".join(quoted(name) for name in found.ejected)
            rows.append(("now", f"{_named(found.now)}, because of the ejection of {others}"))
        else:
            rows.append(("now", keeps if found.on_server_down != "rehash" else "none, all servers are ejected"))
            return rows
    after = _named(found.if_ejected) if found.if_ejected else "none, it is the last server"
    rows.append(("if ejected", keeps if found.on_server_down != "rehash" else after))
    return rows


def _named(place: Place) -> str:
    return f"{quoted(place.server)} at {quoted_if_needed(place.address)}"


def _state(found: KeyPlace) -> str:
    if found.ejected is None or found.place is None:
        return ""
    state = found.ejected.get(found.place.server)
    return ", live" if state is None else f", {ejection_text(state)}"


def _ejected(servers: dict[str, ServerState]) -> str:
    return "; ".join(f"{quoted(name)}, {ejection_text(state)}" for name, state in servers.items())


def _against(found: KeyPlace) -> str:
    if found.against is None:
        return "no server: the file has no such pool, or the distribution random"
    if found.place is None:
        return _named(found.against)
    return f"{_named(found.against)}, {'the key moves' if found.moves else 'the same server'}"
