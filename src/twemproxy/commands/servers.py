"""``nutcracker servers``: the servers of a running proxy, and how they are."""

import argparse
from typing import Any

import msgspec

from twemproxy.api import PlacementError, Ring
from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.commands.texts import Cell, Colour, ejection_text, table
from twemproxy.config.pools import PoolConfig
from twemproxy.config.quoting import quoted
from twemproxy.ipc.control import ListServers, PoolState, Servers, ServerState

DESCRIPTION = """\
Show the servers of a running proxy: whether they are live, the share of the hash values that each has now, requests,
errors (failed connections, ends of connections, timeouts), requests that wait to be sent and for replies, connections.
The counters are sums since the start. A server that got more than twice its share of the requests over the last minutes
is marked.
"""

HEAD = ("pool", "server", "address", "weight", "share", "requests", "errors", "to send", "sent", "connections", "state")
ERRORS = ("server_err", "server_eof", "server_timedout")
"""The counters whose sum is shown as errors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="POOL", help="only of this pool")
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    found = ask_for(options.control_socket, ListServers(), Servers)
    pairs = [
        (config, state)
        for config, state in zip(found.config.pools, found.pools, strict=True)
        if options.pool in (None, config.name)
    ]
    if not pairs:
        names = ", ".join(quoted(pool.name) for pool in found.pools)
        raise CommandError(f"there is no pool {quoted(options.pool)}: the pools are {names}")
    documents = [document for config, state in pairs for document in _documents(config, state)]
    if options.json:
        print_json({"servers": documents})
        return 0
    rows = [_row(document) for document in documents]
    states = [server for _, state in pairs for server in state.servers]
    colours: list[Colour] = ["red" if server.ejected else "yellow" if server.is_skewed else "" for server in states]
    print(table(HEAD, [[*row, _state(server)] for row, server in zip(rows, states, strict=True)], colours))
    return 0


def _documents(config: PoolConfig, state: PoolState) -> list[dict[str, Any]]:
    """Return what is known about the servers of a pool."""
    shares = _shares(config, state)
    return [
        {
            "pool": config.name,
            "name": server.name,
            "address": configured.pname.rpartition(":")[0],
            "weight": configured.weight,
            "state": "ejected" if server.ejected else "live",
            "ejected_since": server.since or None,
            "by_hand": msgspec.to_builtins(server.by_hand),
            "share": shares.get(server.name, 0.0),
            "excess": server.excess,
            "is_skewed": server.is_skewed,
            **server.figures,
        }
        for configured, server in zip(config.servers, state.servers, strict=True)
    ]


def _shares(config: PoolConfig, state: PoolState) -> dict[str, float]:
    """Return the present share of each server by its name; empty if all are ejected."""
    ejected = [server.name for server in state.servers if server.ejected]
    try:
        return Ring(config, ejected if config.on_server_down == "rehash" else ()).shares()
    except PlacementError:
        return {}


def _row(document: dict[str, Any]) -> list[Cell]:
    return [
        *(document[name] for name in ("pool", "name", "address", "weight")),
        f"{100 * document['share']:.1f} %",
        document["requests"],
        sum(document[name] for name in ERRORS),
        *(document[name] for name in ("in_queue", "out_queue", "server_connections")),
    ]


def _state(server: ServerState) -> str:
    if server.ejected:
        return ejection_text(server)
    if server.is_skewed and server.excess is not None:
        return f"live, gets {server.excess:.1f} times its share of the requests"
    return "live"
