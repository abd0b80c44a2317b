"""``nutcracker hotkeys``: the keys of a running proxy with the most requests."""

import argparse

from twemproxy.commands.control import add_option, inspections
from twemproxy.commands.frame import print_json
from twemproxy.commands.texts import Cell, table
from twemproxy.config.quoting import printable, quoted
from twemproxy.ipc.messages import HotKey

DESCRIPTION = """\
Show the keys with the most requests in about the last twenty seconds, per pool. The figures are estimates by a sample
of the requests; the number of requests may be too large by the number under '±'. 'largest' is the largest request or
reply in the sample. Only the first 512 bytes of a key count.
"""

DEFAULT_COUNT = 20
HEAD = ("pool", "requests/s", "±", "bytes/s", "largest", "server", "key")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)
    parser.add_argument("-p", "--pool", metavar="POOL", default="", help="only keys of this pool")
    parser.add_argument(
        "-n",
        "--count",
        metavar="N",
        type=int,
        default=DEFAULT_COUNT,
        help=f"show up to N keys of each pool (default: {DEFAULT_COUNT}, at most 50)",
    )
    parser.add_argument("--by-size", action="store_true", help="first the keys with the largest requests or replies")


def run(options: argparse.Namespace) -> int:
    found = {
        each.pool: _sorted(each.hot, options.by_size)[: max(options.count, 0)]
        for each in inspections(options.control_socket, options.pool)
    }
    if options.json:
        print_json({pool: [key.document() for key in keys] for pool, keys in found.items()})
        return 0
    rows = [_row(pool, key) for pool, keys in found.items() for key in keys]
    if rows:
        print(table(HEAD, rows))
    for pool, keys in found.items():
        if not keys:
            print(f"pool {quoted(pool)}: no keys")
    return 0


def _row(pool: str, key: HotKey) -> list[Cell]:
    figures = (key.requests, key.error, round(key.size), key.largest)
    return [printable(pool), *figures, printable(key.server or "-"), printable(key.key)]


def _sorted(keys: tuple[HotKey, ...], by_size: bool) -> list[HotKey]:
    return sorted(keys, key=lambda each: each.largest if by_size else each.requests, reverse=True)
