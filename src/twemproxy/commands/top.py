"""``nutcracker top``: what a running proxy does now, in a terminal."""

import argparse
import sys
import time
from typing import Any, Final

import msgspec

from twemproxy.commands.control import add_option, report
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.commands.frames import Frame

DESCRIPTION = """\
Show what a running proxy does now: rates, percentiles of latency, errors and queues of its pools and servers. The
frame is drawn anew after each interval. The key h lists the keys.
"""

INTERVAL: Final = 2.0
LEAST_INTERVAL: Final = 0.2
MOST_INTERVAL: Final = 3600.0
WIDTH: Final = 80
"""Characters of a line that goes to no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)
    parser.add_argument(
        "-i",
        "--interval",
        metavar="SECONDS",
        type=float,
        default=INTERVAL,
        help=f"time between two frames, {LEAST_INTERVAL:g} to {MOST_INTERVAL:g} (default: %(default)g)",
    )
    parser.add_argument("--pool", metavar="NAME", default="", help="begin with the servers of this pool")
    parser.add_argument("--once", action="store_true", help="print one frame as text, after one interval")


def run(options: argparse.Namespace) -> int:
    if not LEAST_INTERVAL <= options.interval <= MOST_INTERVAL:
        raise CommandError(f"--interval is a number from {LEAST_INTERVAL:g} to {MOST_INTERVAL:g}")
    is_drawn = not (options.once or options.json)
    if is_drawn and not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise CommandError("needs a terminal; --once prints one frame as text, --json its figures")
    first = report(options.control_socket)
    names = [pool["name"] for pool in first["pools"]]
    if options.pool and options.pool not in names:
        raise CommandError(f"there is no pool '{options.pool}'; there are: {', '.join(names)}")
    if is_drawn:
        try:
            from twemproxy.commands.screen import Screen
        except ImportError as error:
            raise CommandError(f"this Python has no curses ({error}); --once prints one frame as text") from error
        Screen(lambda: report(options.control_socket), options.interval, first, options.pool).run()
        return 0
    time.sleep(options.interval)
    frame = Frame.of(report(options.control_socket), first)
    frame.open(options.pool)
    if options.json:
        print_json(_document(frame))
    else:
        print(frame.text(WIDTH))
    return 0


def _document(frame: Frame) -> dict[str, Any]:
    document = {name: frame.report[name] for name in ("version", "hostname", "pid", "now", "ready")}
    figures: dict[str, Any] = msgspec.to_builtins(frame.now)
    if frame.pool:
        figures["pools"] = [pool for pool in figures["pools"] if pool["name"] == frame.pool]
    return document | figures
