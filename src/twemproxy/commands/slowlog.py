"""``nutcracker slowlog``: the latest slow requests of a running proxy."""

import argparse
import time

from twemproxy.commands.control import add_option, inspections
from twemproxy.commands.frame import print_json
from twemproxy.commands.texts import Cell, table
from twemproxy.config.quoting import printable
from twemproxy.ipc.messages import SlowRequest

DESCRIPTION = """\
Show the latest requests that took 'slowlog_ms' of their pool or longer, the latest first, and where the time went:
'waiting' in the proxy until the request was sent to the server, 'server' until its reply arrived, and 'writing' until
the reply was written to the client. Of a request that was slow only because its reply was written late, the arguments
are not known.
"""

DEFAULT_COUNT = 20
HEAD = ("time", "whole", "waiting", "server", "writing", "pool", "at", "client", "request")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)
    parser.add_argument("-p", "--pool", metavar="POOL", default="", help="only requests of this pool")
    parser.add_argument(
        "-n",
        "--count",
        metavar="N",
        type=int,
        default=DEFAULT_COUNT,
        help=f"show up to N requests (default: {DEFAULT_COUNT})",
    )


def run(options: argparse.Namespace) -> int:
    found = [(each.pool, slow) for each in inspections(options.control_socket, options.pool) for slow in each.slow]
    found.sort(key=lambda row: row[1].at, reverse=True)
    found = found[: max(options.count, 0)]
    if options.json:
        print_json([{"pool": pool, **slow.document()} for pool, slow in found])
        return 0
    if not found:
        print("no slow requests")
        return 0
    print(table(HEAD, [_row(pool, slow) for pool, slow in found]))
    print("times in milliseconds")
    return 0


def _row(pool: str, slow: SlowRequest) -> list[Cell]:
    times = [each / 1000 for each in (slow.whole, slow.waiting, slow.server_time, slow.writing)]
    words = (pool, slow.server or "-", slow.client or "-", " ".join(slow.command))
    return [_time(slow.at), *times, *map(printable, words)]


def _time(at: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"
