"""``nutcracker reload``: a running proxy serves its configuration file as it is now."""

import argparse
import sys
from typing import Any, Final

import msgspec

from twemproxy.commands.comparison import Plan, compare
from twemproxy.commands.control import add_option, ask, describe
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.config.loading import ConfigError, load
from twemproxy.ipc.control import Reload, Reloaded

DESCRIPTION = """\
Have a running proxy serve its configuration file as it is now. No client is closed. A file with an error changes
nothing. When many keys would get another server, a terminal is asked first, and without one the reload is refused.
"""

MOST_MOVED: Final = 50.0
"""Percent of a pool's keys that move without a question."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)
    parser.add_argument(
        "--max-moved",
        metavar="PERCENT",
        type=float,
        help=f"most keys of a pool that may get another server (default: {MOST_MOVED:g}, but a terminal is asked)",
    )


def run(options: argparse.Namespace) -> int:
    served = describe(options.control_socket)
    try:
        config = load(served.conf_file, resolve=False)
    except ConfigError as error:
        raise CommandError("\n".join(error.lines())) from error
    plan = compare(served.config, config)
    _check(plan, options.max_moved)
    answer = ask(options.control_socket, Reload(plan.new_fingerprint))
    if not isinstance(answer, Reloaded):
        raise CommandError("the proxy gives another answer: it has another version")
    if options.json:
        document: dict[str, Any] = msgspec.to_builtins(answer)
        document["moved"] = {pool.name: pool.moved for pool in plan.pools}
        print_json(document)
    else:
        for line in answer.changes or ("nothing differs from the configuration that is served",):
            print(line)
        print(f"generation {answer.status.generation}, fingerprint {answer.status.fingerprint}")
    return 0


def _check(plan: Plan, most: float | None) -> None:
    """Raise CommandError if more than ``most`` percent of a pool's keys would move, unless a terminal agrees."""
    limit = MOST_MOVED if most is None else most
    moving = [f"pool '{pool.name}': {100 * pool.moved:.1f} % of the keys move" for pool in plan.pools]
    moving = [line for line, pool in zip(moving, plan.pools, strict=True) if 100 * pool.moved > limit]
    if not moving:
        return
    if most is None and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        print("\n".join([*plan.changes.lines(), *moving]))
        if input("Reload? [y/N] ").strip().lower() in ("y", "yes"):
            return
        raise CommandError("nothing was changed")
    raise CommandError(
        "\n".join([*moving, f"that is more than {limit:g} %: nothing was changed; --max-moved 100 allows it"])
    )
