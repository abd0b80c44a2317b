"""The sub-commands of ``nutcracker``, one module each. This module has their table only, and imports nothing else."""

from typing import NamedTuple


class SubCommand(NamedTuple):
    """A sub-command. Its module in this package has the same name, see ``commands.frame``."""

    name: str
    help: str
    """What it does, in one line."""
    statuses: tuple[tuple[int, str], ...]
    """Exit statuses and their meanings. Every sub-command exits with 1 after an error."""


class StartOption(NamedTuple):
    """An option of a command line that starts the proxy, for help texts; ``twemproxy.cli`` has the options."""

    letter: str
    long: str
    help: str
    argument: str
    """What the argument is, as ``conf file``; empty for an option without an argument."""
    is_path: bool
    """Whether the argument is a path."""


SUB_COMMANDS = (
    SubCommand(
        "check",
        "find all errors in a configuration file, and settings that operators regret",
        (
            (0, "nothing is wrong"),
            (1, "errors in the file; with --connect also: a server cannot be reached"),
            (2, "warnings only"),
        ),
    ),
    SubCommand(
        "doctor",
        "say what becomes different when this proxy takes the place of nutcracker 0.5.0",
        (
            (0, "nothing needs attention"),
            (1, "an error: in the file, of a server, or of the original"),
            (2, "something needs attention, see the lines that do not begin with note"),
        ),
    ),
    SubCommand(
        "plan",
        "show what a new configuration file changes, and which keys move; or how the proxies of a fleet differ",
        (
            (0, "no key moves; with --fleet: all proxies are alike"),
            (1, "an error: nothing is compared, or not everything"),
            (2, "keys move; with --fleet: proxies differ"),
        ),
    ),
    SubCommand(
        "reload",
        "have a running proxy serve its configuration file as it is now",
        (
            (0, "the proxy serves the file"),
            (1, "an error: the former configuration stays in use"),
        ),
    ),
    SubCommand(
        "upgrade",
        "have a running proxy go on with the version of the program that is installed now",
        (
            (0, "the new version serves"),
            (1, "an error: the running version goes on"),
        ),
    ),
    SubCommand(
        "workers",
        "show or change how many workers a running proxy has",
        (
            (0, "the proxy has the number of workers that is shown"),
            (1, "an error: their number is as before, or between that and the new one"),
        ),
    ),
    SubCommand(
        "slowlog",
        "show the latest slow requests of a running proxy",
        (
            (0, "they are shown, or there are none"),
            (1, "an error"),
        ),
    ),
    SubCommand(
        "hotkeys",
        "show the keys of a running proxy with the most requests",
        (
            (0, "they are shown, or there are none"),
            (1, "an error"),
        ),
    ),
    SubCommand(
        "explain",
        "say on which server a key is, why, and where it would be after an ejection or with another file",
        (
            (0, "the key has a place; with --against: the same server"),
            (1, "an error: the file, the pool or the proxy"),
            (2, "with --against: a key gets another server"),
        ),
    ),
    SubCommand(
        "servers",
        "show the servers of a running proxy: state, share of the keys, requests, errors, queues",
        (
            (0, "the servers are shown"),
            (1, "an error: no proxy answers, or it has no such pool"),
        ),
    ),
    SubCommand(
        "stats",
        "show the figures of the pools of a running proxy",
        (
            (0, "the figures are shown"),
            (1, "an error: no proxy answers"),
        ),
    ),
    SubCommand(
        "clients",
        "show the clients of a running proxy, or close one",
        (
            (0, "the clients are shown, or the client is closed"),
            (1, "an error: clients are missing, or there is no such client"),
        ),
    ),
    SubCommand(
        "eject",
        "have a running proxy send no requests to a server, for some time or until it is readmitted",
        (
            (0, "no worker sends it requests any more"),
            (1, "an error: nothing has changed"),
        ),
    ),
    SubCommand(
        "readmit",
        "have a running proxy send requests to an ejected server again",
        (
            (0, "the server gets requests again"),
            (1, "an error: the server is not ejected, or there is no such server"),
        ),
    ),
    SubCommand(
        "loglevel",
        "show or set the log level of a running proxy",
        (
            (0, "the log level is shown"),
            (1, "an error: the level is as before"),
        ),
    ),
    SubCommand(
        "health",
        "say whether a running proxy works",
        (
            (0, "it does"),
            (1, "an error: a worker does nothing, or no proxy answers"),
        ),
    ),
    SubCommand(
        "completion",
        "write the completion of the command line for a shell",
        (
            (0, "the script is written"),
            (1, "an error: there is no completion for this shell"),
        ),
    ),
    SubCommand(
        "ready",
        "say whether a running proxy takes clients",
        (
            (0, "it does"),
            (1, "an error: it does not, or there is no proxy"),
        ),
    ),
    SubCommand(
        "top",
        "show what a running proxy does now: rates, latency, errors, queues",
        (
            (0, "it was shown"),
            (1, "an error: there is no proxy, or no terminal"),
        ),
    ),
)

HELP = "help"
"""The word that explains the sub-commands."""

NAMES = (*(command.name for command in SUB_COMMANDS), HELP)
"""A command line that begins with one of these words is not a start of the proxy."""
