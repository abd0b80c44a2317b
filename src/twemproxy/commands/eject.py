"""``nutcracker eject``: a running proxy sends no requests to a server."""

import argparse

import msgspec

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import print_json
from twemproxy.commands.texts import time_text
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.ipc.control import Eject, Ejected

DESCRIPTION = """\
Have a running proxy send no requests to a server: its keys go to the other servers of the pool, or what on_server_down
says. All workers follow before they read their next requests. Health checks do not put the server back before the end.
Then, with auto_eject_hosts, it returns after it answers probes, otherwise at once.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", metavar="SERVER", help="the name of the server, or its address")
    parser.add_argument("--pool", metavar="POOL", default="", help="its pool, if several have such a server")
    parser.add_argument("--reason", metavar="TEXT", default="", help="what the log and nutcracker servers show")
    parser.add_argument(
        "--for", metavar="SECONDS", dest="seconds", type=float, default=0.0, help="the end (default: until readmit)"
    )
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    request = Eject(options.server, options.pool, options.reason, options.seconds)
    answer = ask_for(options.control_socket, request, Ejected)
    ejection = answer.ejection
    if options.json:
        print_json({**msgspec.to_builtins(ejection), "address": answer.address})
    else:
        end = time_text(ejection.until) if ejection.until else f"nutcracker readmit {quoted_if_needed(ejection.server)}"
        server = f"server {quoted(ejection.server)} at {quoted_if_needed(answer.address)}"
        print(f"pool {quoted(ejection.pool)}: {server} is ejected until {end}")
    return 0
