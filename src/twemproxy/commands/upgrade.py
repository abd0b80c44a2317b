"""``nutcracker upgrade``: a running proxy goes on with the version of the program that is installed now."""

import argparse

import msgspec

from twemproxy.commands.control import add_option, ask
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.ipc.control import Upgrade, Upgraded

DESCRIPTION = """\
Have a running proxy go on with the version of the program that is installed now, at the path from which it was started.
Its process id, sockets, configuration and counters stay, and connected clients are handed over between two of their
requests. If the new version does not come up, the running one goes on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    answer = ask(options.control_socket, Upgrade())
    if not isinstance(answer, Upgraded):
        raise CommandError("the proxy gives another answer: it has another version")
    if options.json:
        print_json(msgspec.to_builtins(answer))
    else:
        print(f"version {answer.version} has taken over from version {answer.former}")
    return 0
