"""``nutcracker workers``: show or change how many workers a running proxy has."""

import argparse

import msgspec

from twemproxy.commands.control import add_option, ask
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.config.options import AUTO, worker_count
from twemproxy.ipc.control import Resize, Resized

DESCRIPTION = f"""\
Show how many workers a running proxy has, or change that while it serves. Connected clients are handed over between two
of their requests. With '{AUTO}' there are as many workers as the system gives processors, also when that changes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", nargs="?", metavar=f"N|{AUTO}", help="how many there should be")
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    wanted = None if options.number is None else worker_count(options.number)
    if options.number is not None and wanted is None:
        raise CommandError(f"'{options.number}' is neither a number from 1 to 256 nor '{AUTO}'")
    answer = ask(options.control_socket, Resize(wanted))
    if not isinstance(answer, Resized):
        raise CommandError("the proxy gives another answer: it has another version")
    if options.json:
        print_json(msgspec.to_builtins(answer))
    else:
        workers = "1 worker" if answer.workers == 1 else f"{answer.workers} workers"
        print(f"{workers}, as many as the system gives processors" if answer.auto else workers)
    return 0
