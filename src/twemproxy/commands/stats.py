"""``nutcracker stats``: the figures of a running proxy, by pool."""

import argparse
from typing import Any

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import print_json
from twemproxy.commands.servers import ERRORS
from twemproxy.commands.texts import Cell, Colour, table
from twemproxy.ipc.control import ListServers, PoolState, Servers

DESCRIPTION = """\
Show the figures of the pools of a running proxy, added up over their servers and all workers: clients, requests and
replies of the servers, errors of servers, errors that clients got from the proxy, ejections, queues. Counters are sums
since the start. With --json it is every figure.
"""

HEAD = (
    *("pool", "clients", "servers", "ejected", "requests", "replies", "bytes sent", "bytes received"),
    *("server errors", "proxy errors", "ejections", "to send", "sent"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    found = ask_for(options.control_socket, ListServers(), Servers)
    if options.json:
        print_json({"process": found.figures, "pools": [_document(pool) for pool in found.pools]})
        return 0
    colours: list[Colour] = ["red" if _ejected(pool) else "" for pool in found.pools]
    print(table(HEAD, [_row(pool) for pool in found.pools], colours))
    process = found.figures
    print(
        f"\n{process['client_requests']} requests of clients, {process['curr_connections']} connections,"
        f" {process['workers']} workers"
    )
    return 0


def _document(pool: PoolState) -> dict[str, Any]:
    servers = [{"name": server.name, "ejected": server.ejected, **server.figures} for server in pool.servers]
    return {"name": pool.name, **pool.figures, "servers": servers}


def _row(pool: PoolState) -> list[Cell]:
    def total(*names: str) -> int:
        return sum(server.figures[name] for server in pool.servers for name in names)

    return [
        *(pool.name, pool.figures["client_connections"], len(pool.servers), _ejected(pool)),
        *(total("requests"), total("responses"), total("request_bytes"), total("response_bytes")),
        *(total(*ERRORS), pool.figures["forward_error"], pool.figures["server_ejects"]),
        *(total("in_queue"), total("out_queue")),
    ]


def _ejected(pool: PoolState) -> int:
    return sum(server.ejected for server in pool.servers)
