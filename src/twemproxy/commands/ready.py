"""``nutcracker ready``: whether a running proxy takes clients."""

import argparse

from twemproxy.commands.control import add_option, describe
from twemproxy.commands.frame import CommandError, print_json

DESCRIPTION = """\
Say whether a running proxy takes clients: all its workers accept them, and it has not been told to stop. For probes of
a load balancer or of Kubernetes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_option(parser)


def run(options: argparse.Namespace) -> int:
    served = describe(options.control_socket)
    if options.json:
        print_json({"ready": served.ready, "pid": served.pid, "version": served.version})
    elif served.ready:
        print("ready")
    if not served.ready:
        raise CommandError("the proxy is starting or stopping")
    return 0
