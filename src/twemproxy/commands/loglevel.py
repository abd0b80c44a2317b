"""``nutcracker loglevel``: show or set the log level of a running proxy."""

import argparse

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.config.numbers import parse_number
from twemproxy.ipc.control import MOST_VERBOSE, LogLevel, LogLevelIs

DESCRIPTION = f"""\
Show the log level of a running proxy, or set it for all its processes: 0 to {MOST_VERBOSE}, as the option -v of its
start does. The level stays after an upgrade, and not after a restart.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", nargs="?", metavar="N", help="the new level")
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    level = None if options.level is None else parse_number(options.level)
    if options.level is not None and (level is None or level > MOST_VERBOSE):
        raise CommandError(f"'{options.level}' is not a number from 0 to {MOST_VERBOSE}")
    answer = ask_for(options.control_socket, LogLevel(level), LogLevelIs)
    if options.json:
        print_json({"level": answer.level})
    else:
        print(f"log level {answer.level}")
    return 0
