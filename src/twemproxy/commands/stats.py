"""``nutcracker stats``: the figures of a running proxy, by pool."""

import argparse
from typing import Any

from twemproxy.commands.control import add_option, report
from twemproxy.commands.frame import print_json
from twemproxy.commands.servers import ERRORS
from twemproxy.commands.texts import Cell, Colour, table

DESCRIPTION = """\
Show the figures of the pools of a running proxy, added up over their servers and all workers: clients, requests and
replies of the servers, errors of servers, errors that clients got from the proxy, ejections, queues. Counters are sums
since the start. With --json it is the report, the same document as /ui/report.json, with every figure.
"""

HEAD = (
    *("pool", "clients", "servers", "ejected", "requests", "replies", "bytes sent", "bytes received"),
    *("server errors", "proxy errors", "ejections", "to send", "sent"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    found = report(options.control_socket)
    if options.json:
        print_json(found)
        return 0
    colours: list[Colour] = ["red" if _ejected(pool) else "" for pool in found["pools"]]
    print(table(HEAD, [_row(pool) for pool in found["pools"]], colours))
    process = found["process"]
    print(
        f"\n{process['client_requests']} requests of clients, {process['curr_connections']} connections,"
        f" {process['workers']} workers"
    )
    return 0


def _row(pool: dict[str, Any]) -> list[Cell]:
    def total(*names: str) -> int:
        return sum(server[name] for server in pool["servers"] for name in names)

    return [
        *(pool["name"], pool["client_connections"], len(pool["servers"]), _ejected(pool)),
        *(total("requests"), total("responses"), total("request_bytes"), total("response_bytes")),
        *(total(*ERRORS), pool["forward_error"], pool["server_ejects"]),
        *(total("in_queue"), total("out_queue")),
    ]


def _ejected(pool: dict[str, Any]) -> int:
    return sum(server["state"] == "ejected" for server in pool["servers"])
