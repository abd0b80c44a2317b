"""``nutcracker health``: whether a running proxy works, for probes that restart it otherwise."""

import argparse

import msgspec

from twemproxy.commands.control import add_option, ask_for
from twemproxy.commands.frame import CommandError, print_json
from twemproxy.ipc.control import LONGEST_CHECK, CheckHealth, Health

DESCRIPTION = """\
Say whether a running proxy works: the supervisor answers, and the event loop of each worker turns in time. It does not
depend on servers or clients. For probes after which the proxy is restarted, as Kubernetes' liveness probe.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--within",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help=f"the time that each worker has, up to {LONGEST_CHECK:g} (default: %(default)g)",
    )
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    if not 0 < options.within <= LONGEST_CHECK:
        raise CommandError(f"--within needs a number of seconds above 0, and up to {LONGEST_CHECK:g}")
    found = ask_for(options.control_socket, CheckHealth(options.within), Health)
    late = [worker for worker in found.workers if not worker.turned]
    if options.json:
        print_json({"healthy": not late, "workers": msgspec.to_builtins(found.workers)})
    elif not late:
        print("healthy")
    if late:
        raise CommandError(
            "\n".join(
                f"worker {worker.number} (process {worker.pid}) has done nothing for {options.within:g} s"
                if worker.pid
                else f"worker {worker.number} has died, and is not replaced yet"
                for worker in late
            )
        )
    return 0
