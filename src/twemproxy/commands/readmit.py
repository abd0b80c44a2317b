"""``nutcracker readmit``: a running proxy sends requests to an ejected server again."""

import argparse

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import print_json
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.ipc.control import Readmit, Readmitted

DESCRIPTION = """\
Have a running proxy send requests to an ejected server again, whether it was ejected by hand or because it failed.
All workers follow before they read their next requests. A server that still fails is ejected again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", metavar="SERVER", help="the name of the server, or its address")
    parser.add_argument("--pool", metavar="POOL", default="", help="its pool, if several have such a server")
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    answer = ask_for(options.control_socket, Readmit(options.server, options.pool), Readmitted)
    if options.json:
        print_json({"pool": answer.pool, "server": answer.server, "address": answer.address})
    else:
        server = f"server {quoted(answer.server)} at {quoted_if_needed(answer.address)}"
        print(f"pool {quoted(answer.pool)}: {server} is readmitted")
    return 0
